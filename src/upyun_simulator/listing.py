"""Directory listings: which entries a page has, and how it is written (docs/reference/upyun.md)."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from zlib import crc32

import msgspec

from upyun_simulator.contents import FOLDER, Entry, Folder
from upyun_simulator.cursor import END, Cursors, Position
from upyun_simulator.errors import Refusal
from upyun_simulator.message import Request

DEFAULT_LIMIT = 100
MAX_LIMIT = 10_000
_CACHED_BYTES = 48 * 1024 * 1024


class Ask(msgspec.Struct, frozen=True):
    """What a listing request asks for; faults change it before the page is made."""

    folder: str
    cursor: str
    limit: int
    desc: bool
    json: bool


@dataclass(slots=True)
class Page:
    """One page before it is written; faults change it. `raw` replaces the whole body."""

    entries: list[Entry]
    body_cursor: str | None
    header_cursor: str | None
    json: bool
    raw: bytes | None = None
    content_type: str = ""
    extra: list[bytes] = field(
        default_factory=list
    )  # rows already written, for entries that no encoder would write


def read_ask(request: Request, folder: str, max_limit: int = MAX_LIMIT) -> Ask:
    """Read the listing headers; Refusal for a limit that is no positive number and for an unknown order."""
    order = request.header(b"x-list-order") or "asc"
    if order not in {"asc", "desc"}:
        raise Refusal(40300014)
    accept = request.header(b"accept") or ""
    return Ask(
        folder,
        request.header(b"x-list-iter") or "",
        _limit(request, max_limit),
        order == "desc",
        "application/json" in accept,
    )


def _limit(request: Request, max_limit: int) -> int:
    text = request.header(b"x-list-limit")
    if text is None:
        return min(DEFAULT_LIMIT, max_limit)
    if not text.strip().isdecimal() or len(text) > 18 or int(text) == 0:
        raise Refusal(40000000)
    return min(int(text), max_limit)


def select(folder: Folder, after: Position | None, limit: int, *, desc: bool) -> tuple[list[Entry], bool]:
    """Return a page's entries, and whether more follow: files by bytes, then folders by bytes; `desc` reverses all."""
    rows: list[Entry] = []
    for folders in (True, False) if desc else (False, True):
        if after is not None and folders != after.folders and folders == desc:
            continue  # this sort lies wholly before the position
        start = after.name if after is not None and folders == after.folders else None
        rows += folder.scan(folders=folders, after=start, limit=limit + 1 - len(rows), desc=desc)
        if len(rows) > limit:
            return rows[:limit], True
    return rows, False


def make_page(folder: Folder, ask: Ask, cursors: Cursors, *, eof_page: bool = False) -> Page:
    """Return the page asked for. With `eof_page` a full last page has an ordinary cursor, and an empty page follows.

    Raises `cursor.BadCursor` for a cursor of elsewhere.
    """
    if ask.cursor.rstrip("=") == END:
        return Page([], END, END, ask.json)
    after = cursors.decode(ask.folder, ask.cursor) if ask.cursor else None
    rows, more = select(folder, after, ask.limit, desc=ask.desc)
    more = more or (eof_page and len(rows) == ask.limit)
    following = cursors.encode(ask.folder, position_of(rows[-1])) if more else END
    return Page(rows, following, following, ask.json)


def position_of(entry: Entry) -> Position:
    """Return the position of an entry."""
    return Position(entry.type == FOLDER, entry.name)


@dataclass(frozen=True)
class Shapes:
    """How pages look where the sources disagree.

    empty: `array`, `object`, `absent` or `nothing` (an empty body); folder_noise: folders have a meaningless length.
    """

    empty: str = "array"
    folder_noise: bool = False


def write_page(page: Page, shapes: Shapes) -> bytes:
    """Return the body of a page."""
    if page.raw is not None:
        return page.raw
    if shapes.folder_noise:
        page.entries = [_noisy(entry) for entry in page.entries]
    return _write_json(page, shapes) if page.json else _write_tsv(page)


def _noisy(entry: Entry) -> Entry:
    if entry.type != FOLDER:
        return entry
    return Entry(entry.name, FOLDER, crc32(entry.name.encode()) % 1_000_000, entry.last_modified)


def _write_json(page: Page, shapes: Shapes) -> bytes:
    rows = msgspec.json.encode(page.entries) if page.entries else b"[]"
    if page.extra:
        rows = b"[" + b",".join(filter(None, [rows[1:-1], *page.extra])) + b"]"
    tail = b"" if page.body_cursor is None else b'"iter":' + msgspec.json.encode(page.body_cursor)
    if rows == b"[]" and shapes.empty != "array":
        if shapes.empty == "nothing":
            return b""
        rows = b"{}" if shapes.empty == "object" else b""
    parts = [b'"files":' + rows if rows else b"", tail]
    return b"{" + b",".join(filter(None, parts)) + b"}"


def _write_tsv(page: Page) -> bytes:
    rows = [
        f"{entry.name}\t{'F' if entry.type == FOLDER else 'N'}\t{entry.length}\t{entry.last_modified}"
        for entry in page.entries
    ]
    return b"\n".join(["\n".join(rows).encode("utf-8", "surrogatepass"), *page.extra] if rows else page.extra)


class PageCache:
    """Bodies written before, up to 48 MiB of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, tuple[bytes, str]] = OrderedDict()
        self._bytes = 0

    def get(self, key: object, make: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """Return body and cursor kept under a key, made now where there is none."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        found = self._kept[key] = make()
        self._bytes += len(found[0])
        while self._bytes > _CACHED_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1][0])
        return found
