"""The REST listener: `/<bucket>/<path>` with authorization (docs/reference/upyun.md)."""

from upyun_simulator import effects
from upyun_simulator.contents import Folder, Item
from upyun_simulator.cursor import BadCursor
from upyun_simulator.errors import Refusal, rest_error
from upyun_simulator.faults import Call, Hit
from upyun_simulator.listing import Ask, make_page, read_ask, write_page
from upyun_simulator.message import Reply, Request
from upyun_simulator.objects import REST_CODES, etag_of, http_date, object_reply, plain_md5
from upyun_simulator.service import Pace, Service
from upyun_simulator.settings import Settings

_MISSING = 40400001


class RestService(Service):
    """Listings, objects, heads and the usage of one bucket."""

    name = "rest"
    server = "vivi/0.6"
    over_limit = 42900001

    def paces(self, settings: Settings) -> dict[str, Pace]:
        """See `Service.paces`."""
        return {
            "list": Pace(settings.list_latency, settings.list_slots, settings.list_rate),
            "get": Pace(settings.api_latency, settings.api_slots, settings.api_rate),
        }

    def classify(self, request: Request) -> Call:
        """See `Service.classify`. A folder is what ends in a slash, what the header says, or what is no object."""
        if request.method not in {"GET", "HEAD"}:
            raise Refusal(40500001)
        _, key = split_bucket(request.path())
        return Call(self.name, self._kind(request, key), key, request, self.world.contents)

    def _kind(self, request: Request, key: str) -> str:
        if request.method == "HEAD":
            return "head"
        if b"usage" in request.query.split(b"&"):
            return "usage"
        header = (request.header(b"x-upyun-folder") or "").lower()
        if header == "false":
            return "get"
        if header == "true" or not key or key.endswith("/"):
            return "list"
        contents = self.world.contents
        return "list" if contents.item(key) is None and contents.folder(key + "/") is not None else "get"

    def answer(self, call: Call, hit: Hit | None) -> Reply:
        """See `Service.answer`."""
        bucket, _ = split_bucket(call.request.path())
        self.world.gatekeeper.check(call.request, bucket)
        answers = {"list": self._list, "get": self._get, "head": self._head, "usage": self._usage}
        return answers[call.kind](call, hit)

    def refuse(self, code: int, request_id: str) -> Reply:
        """See `Service.refuse`."""
        return rest_error(code, request_id)

    def _usage(self, _call: Call, _hit: Hit | None) -> Reply:
        return Reply(200, [("Content-Type", "text/plain")], str(self.world.contents.usage()).encode())

    def _get(self, call: Call, hit: Hit | None) -> Reply:
        item = self.item(call.key, hit)
        if item is None:
            is_folder = self.world.contents.folder(_as_folder(call.key)) is not None
            raise Refusal(self.world.settings.folder_false_code if is_folder else _MISSING)
        reply = object_reply(call.request, item, REST_CODES)
        if item.secret:
            reply.headers.append(("x-upyun-meta-secret", item.secret))
        return reply

    def _head(self, call: Call, hit: Hit | None) -> Reply:
        item = None if call.key == "" else self.item(call.key, hit)
        if item is not None:
            return _file_head(item)
        if self.world.contents.folder(_as_folder(call.key)) is None:
            raise Refusal(_MISSING)
        return Reply(
            200, [("x-upyun-file-type", "folder"), ("x-upyun-file-date", "1400000000")], no_body=True
        )

    def _list(self, call: Call, hit: Hit | None) -> Reply:
        path = _as_folder(call.key)
        folder = self.world.contents.folder(path)
        if folder is None:
            raise Refusal(_MISSING)
        try:
            ask = read_ask(call.request, path, self.world.settings.max_limit)
            body, cursor, kind = self._page(folder, ask, hit)
        except BadCursor:
            raise Refusal(40001005) from None
        headers = [("Content-Type", kind)]
        if cursor is not None:
            headers.append(("x-upyun-list-iter", cursor))
        return Reply(200, headers, body)

    def _page(self, folder: Folder, ask: Ask, hit: Hit | None) -> tuple[bytes, str | None, str]:
        kind = "application/json" if ask.json else "application/octet-stream"
        world, eof_page = self.world, self.world.settings.eof_page
        spoilt = hit and effects.page(hit, ask, folder, world.cursors)
        if spoilt:
            return write_page(spoilt, world.shapes), spoilt.header_cursor, spoilt.content_type or kind

        def make() -> tuple[bytes, str]:
            page = make_page(folder, ask, world.cursors, eof_page=eof_page)
            return write_page(page, world.shapes), page.header_cursor or ""

        mark = (world.contents.revision, ask.folder, ask.cursor, ask.limit, ask.desc, ask.json)
        body, cursor = world.pages.get(mark, make)
        return body, cursor, kind


def _as_folder(key: str) -> str:
    return key if not key or key.endswith("/") else key + "/"


def _file_head(item: Item) -> Reply:
    headers = [
        ("x-upyun-file-type", "file"),
        ("x-upyun-file-size", str(item.size)),
        ("x-upyun-file-date", str(item.mtime)),
        ("Content-Type", item.type),
        ("ETag", etag_of(item)),
        ("Last-Modified", http_date(item.mtime)),
    ]
    md5 = plain_md5(item.key, item.size, item.version)
    if md5 is not None:
        headers.append(("Content-Md5", md5))
    headers += [(f"x-upyun-meta-{name}", value) for name, value in item.meta]
    return Reply(200, headers, no_body=True)


def split_bucket(path: str) -> tuple[str, str]:
    """Split a decoded path into bucket and key."""
    bucket, _, key = path.removeprefix("/").partition("/")
    return bucket, key
