"""Lists a simulated bucket through the source, without a network: requests in, answers out, time as a number."""

import heapq
from collections.abc import Callable
from urllib.parse import unquote_to_bytes, urlsplit

from bucketpull.domain.errors import AnswerError, Reason, Remedy
from bucketpull.domain.http_exchange import Request, Response, Verdict, Wanted
from bucketpull.domain.model import Page, Position, key_of
from bucketpull.domain.retry import BOUNDS
from bucketpull.sources.upyun.source import UpyunSource
from upyun_simulator.contents import Contents
from upyun_simulator.cursor import BadCursor, Cursors, RowKeys
from upyun_simulator.listing import Ask, Shapes, make_page, write_page
from upyun_simulator.listing import Page as SimulatedPage

SITE = "https://v0.api.upyun.com"
Spoil = Callable[[Ask, SimulatedPage], SimulatedPage | Response]


def answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    """Make a whole answer."""
    lines = [b"HTTP/1.1 %d Some\r\n" % status]
    lines += [f"{name}: {value}\r\n".encode() for name, value in (headers or {}).items()]
    return Response(status, [*lines, b"\r\n"], [body] if body else [], len(body), 0.05)


def header_of(request: Request, name: str) -> str:
    """Return a request's header, "" if it has none."""
    found = [
        line.partition(": ")[2] for line in request.headers if line.lower().startswith(name.lower() + ":")
    ]
    return found[0] if found else ""


class ListingWorld:
    """Everything that is listed goes to `objects` (with repetitions) and `directories`."""

    def __init__(
        self,
        source: UpyunSource,
        contents: Contents,
        cursors: Cursors | None = None,
        spoil: Spoil | None = None,
        shapes: Shapes | None = None,
        highest: int = 64,
    ) -> None:
        self.source = source
        self.contents = contents
        self.cursors = cursors or RowKeys("demo")
        self.spoil = spoil
        self.shapes = shapes or Shapes()
        self.highest = highest
        self.objects: list[bytes] = []
        self.directories: list[bytes] = []
        self.failed: list[tuple[Position, AnswerError]] = []
        self.vanished: list[bytes] = []
        self.retries: list[Reason] = []
        self.tries: dict[int, int] = {}
        self.duplicates = 0
        self.pages = 0
        self.requests = 0

    def serve(self, request: Request) -> Response:
        self.requests += 1
        path = unquote_to_bytes(urlsplit(request.url.replace("?", "%3F")).path)
        folder_path = path.removeprefix(b"/demo/").decode("utf-8", "surrogateescape")
        folder = self.contents.folder(folder_path)
        if folder is None:
            return answer(404, b'{"msg":"file or directory not found","code":40400001,"id":"1"}')
        limit = int(header_of(request, "x-list-limit"))
        ask = Ask(
            folder_path,
            header_of(request, "x-list-iter"),
            limit,
            header_of(request, "x-list-order") == "desc",
            True,
        )
        try:
            page = make_page(folder, ask, self.cursors)
        except BadCursor:
            return answer(400, b'{"msg":"iter args invalid","code":40001005,"id":"1"}')
        spoilt = self.spoil(ask, page) if self.spoil else page
        if isinstance(spoilt, Response):
            return spoilt
        headers = {"X-Request-Id": "1"}
        if spoilt.header_cursor is not None:
            headers["x-upyun-list-iter"] = spoilt.header_cursor
        return answer(200, write_page(spoilt, self.shapes), headers)

    def run(self, page_seconds: float = 0.05, start: Position | None = None, most: int = 100_000) -> float:
        """List everything, `highest` requests at once; return the seconds it would have taken."""
        waiting = [start or self.source.root()]
        flying: list[tuple[float, int, Position]] = []
        now, count = 0.0, 0
        while waiting or flying:
            while waiting and len(flying) < self.highest:
                heapq.heappush(flying, (now + page_seconds, count := count + 1, waiting.pop(0)))
            now, _, position = heapq.heappop(flying)
            waiting += self._read(position)
            assert self.requests < most, "the listing does not end"
        return now

    def _read(self, position: Position) -> list[Position]:
        response = self.serve(self.source.list_request(position, SITE, 1e9))
        try:
            page = self.source.read_page(position, response, 1e9)
        except AnswerError as error:
            return self._again(position, error)
        return self._take(page)

    def _again(self, position: Position, error: AnswerError) -> list[Position]:
        remedy = BOUNDS[error.reason].remedy
        if remedy is Remedy.VANISH:
            self.vanished.append(position.directory)
            return []
        if remedy in {Remedy.RETRY, Remedy.SLOW} and position.passes < 12:
            self.retries.append(error.reason)
            tries = self.tries[id(position)] = self.tries.get(id(position), 0) + 1
            position.passes += tries % BOUNDS[error.reason].tries == 0
            return [position]
        self.failed.append((position, error))
        return []

    def _take(self, page: Page) -> list[Position]:
        self.pages += 1
        self.duplicates += page.duplicates
        part = page.part
        if page.broken:
            self.failed.append(
                (Position(part.directory, part.cursor), AnswerError(Reason.CURSOR, page.broken))
            )
        assert len(part.names) == len(part.sizes) == len(part.mtimes)
        self.objects += [key_of(part.directory, name) for name in part.names]
        self.directories += [key_of(part.directory, name) for name in page.directories]
        return [*page.following, *(Position(key_of(part.directory, name)) for name in page.directories)]


def ask_for(
    bucket: UpyunSource,
    directory: bytes,
    name: bytes,
    size: int,
    endpoint: str,
    now: float,
    start: int = 0,
    version: str = "",
) -> Request:
    """Ask for an object from the first address of an endpoint."""
    spec = next(spec for spec in bucket.endpoints if spec.name == endpoint)
    wanted = Wanted(directory, name, size, -1, "", "")
    return bucket.object_request(wanted, endpoint, spec.sites[0], now, start, version)


def judge_of(
    bucket: UpyunSource,
    name: bytes,
    size: int,
    endpoint: str,
    response: Response,
    now: float,
    start: int = 0,
    version: str = "",
    mtime: int = -1,
) -> Verdict:
    """Judge an answer to a request for an object in the root."""
    wanted = Wanted(b"", name, size, mtime, "", "")
    return bucket.judge(wanted, endpoint, response, now, start, version)


def source(**options: object) -> UpyunSource:
    """Make a source with the defaults of the tests."""
    from bucketpull.sources.upyun.config import UpyunConfig

    given = {"bucket": "demo", "operator": "op", "password": "secret"} | options
    return UpyunSource(UpyunConfig(**given))
