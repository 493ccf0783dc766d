"""Faults that spoil a page of a listing."""

from collections.abc import Callable
from dataclasses import dataclass
from json import dumps
from typing import Final

import msgspec

from upyun_simulator.contents import FOLDER, Entry, Folder
from upyun_simulator.cursor import END, Cursors, Position
from upyun_simulator.errors import Refusal
from upyun_simulator.faults import LISTS, Effect, Rule
from upyun_simulator.listing import Ask, Page, make_page, position_of
from upyun_simulator.overlay import Overlay


@dataclass(frozen=True)
class Turn:
    """One listing request that suffers a rule."""

    rule: Rule
    contents: Overlay
    ask: Ask
    folder: Folder
    cursors: Cursors

    def page(self, *, eof_page: bool = False, **changes: str | int) -> Page:
        """Return the right page, of the request with some of its fields changed."""
        ask = msgspec.structs.replace(self.ask, **changes)
        return make_page(self.folder, ask, self.cursors, eof_page=eof_page)

    def cursor_of(self, position: Position) -> str:
        """Return the cursor behind a position of this folder."""
        return self.cursors.encode(self.ask.folder, position)

    def position(self) -> Position | None:
        """Return the position asked for, None for a first page and behind the end."""
        cursor = self.ask.cursor
        return self.cursors.decode(self.ask.folder, cursor) if cursor and cursor.rstrip("=") != END else None


_NEXT: Final = "\x01"  # added to a name it makes a position just behind it
HOSTILE: Final = (
    "../../escape.jpg", "..", ".", "", "/etc/passwd", "a/b.jpg", "nul\x00byte.jpg", "tab\there.jpg", "line\nfeed.jpg",
    "\ud800 lone surrogate.jpg",
)  # fmt: skip


def _folder_gone(turn: Turn) -> Page:
    if turn.ask.cursor:
        raise Refusal(40400001)
    return turn.page()


def _same_cursor(turn: Turn) -> Page:
    page = turn.page()
    if turn.ask.cursor:
        page.body_cursor = page.header_cursor = turn.ask.cursor
    return page


def _older_cursor(turn: Turn) -> Page:
    page = turn.page()
    first = turn.page(cursor="", limit=1).entries
    if first and page.body_cursor != END:
        page.body_cursor = page.header_cursor = turn.cursor_of(position_of(first[0]))
    return page


def _same_page(turn: Turn) -> Page:
    page, after = turn.page(cursor=""), turn.position() or Position(folders=False, name="")
    page.body_cursor = page.header_cursor = turn.cursor_of(Position(after.folders, after.name + _NEXT))
    return page


def _overlap(turn: Turn) -> Page:
    page, after = turn.page(), turn.position()
    if after is not None and not after.folders and not turn.ask.desc:
        count = int(turn.rule.number("entries", 15))
        before = turn.folder.scan(folders=False, after=None, limit=1 << 30)
        place = [entry.name for entry in before].index(after.name) + 1 if after.name else 0
        page.entries[:0] = before[max(0, place - count) : place]
    return page


def _no_cursor(turn: Turn) -> Page:
    page = turn.page()
    page.body_cursor = page.header_cursor = None
    return page


def _body_cursor(turn: Turn) -> Page:
    page = turn.page()
    page.header_cursor = None
    return page


def _header_cursor(turn: Turn) -> Page:
    page = turn.page()
    page.body_cursor = None
    return page


def _padded_end(turn: Turn) -> Page:
    page = turn.page()
    if page.body_cursor == END:
        page.body_cursor = page.header_cursor = END + "=="
    return page


def _bare_cursor(turn: Turn) -> Page:
    page = turn.page()
    page.body_cursor = page.header_cursor = (page.body_cursor or "").rstrip("=")
    return page


def _short_page(turn: Turn) -> Page:
    limit = int(turn.rule.number("entries", max(1, turn.ask.limit // 3)))
    return turn.page(limit=max(1, limit))


def _empty_page(turn: Turn) -> Page:
    page, after = turn.page(), turn.position() or Position(folders=False, name="")
    if turn.ask.desc or not page.entries or after.name.endswith(_NEXT):
        return page
    cursor = turn.cursor_of(Position(after.folders, after.name + _NEXT))
    return Page([], cursor, cursor, turn.ask.json)


def _end_page(turn: Turn) -> Page:
    return turn.page(eof_page=True)


def _duplicate(turn: Turn) -> Page:
    page, after = turn.page(), turn.position()
    item = None if after is None or after.folders else turn.contents.item(turn.ask.folder + after.name)
    if after is not None and item is not None:
        page.entries.insert(0, Entry(after.name, item.type, item.size, item.mtime))
    return page


def _garbage(turn: Turn) -> Page:
    page = turn.page()
    rows = msgspec.json.encode(page.entries)
    page.raw = b'{"files":' + rows[: max(1, len(rows) // 2)]
    return page


def _blank(turn: Turn) -> Page:
    return Page([], None, None, turn.ask.json, raw=b"")


def _file_instead(turn: Turn) -> Page:
    return Page(
        [], None, None, turn.ask.json, raw=b"\xff\xd8\xff\xe0" + bytes(2000), content_type="image/jpeg"
    )


def _tsv(turn: Turn) -> Page:
    page = turn.page()
    page.json, page.content_type = False, "application/octet-stream"
    return page


def _unordered(turn: Turn) -> Page:
    page = turn.page()
    page.entries = page.entries[::2] + page.entries[1::2]
    return page


def _forged_fails(turn: Turn) -> Page:
    if _is_forged(turn):
        raise Refusal(40001005)
    return turn.page()


def _is_forged(turn: Turn) -> bool:
    after = turn.position()
    if after is None:
        return False
    path = turn.ask.folder + after.name
    return (turn.contents.folder(path + "/") if after.folders else turn.contents.item(path)) is None


def _forged_restarts(turn: Turn) -> Page:
    return turn.page(cursor="") if _is_forged(turn) else turn.page()


def _forged_skips(turn: Turn) -> Page:
    page = turn.page()
    if _is_forged(turn) and not turn.ask.desc:
        del page.entries[: int(turn.rule.number("entries", 3))]
    return page


def _bad_cursor(turn: Turn) -> Page:
    if turn.ask.cursor:
        raise Refusal(40001005)
    return turn.page()


def _hostile(turn: Turn) -> Page:
    page = turn.page()
    page.extra = [_row(name, turn.ask) for name in HOSTILE]
    bad = b'{"name":"bad\xff\xfe.jpg","type":"image/jpeg","length":10,"last_modified":1400000000}'
    page.extra.append(bad if turn.ask.json else b"bad\xff\xfe.jpg\tN\t10\t1400000000")
    if turn.rule.options.get("utf8") == "1":
        page.extra.pop()
    return page


def _row(name: str, ask: Ask) -> bytes:
    if not ask.json:
        return f"{name}\tN\t10\t1400000000".encode("utf-8", "surrogatepass")
    return b'{"name":%b,"type":"image/jpeg","length":10,"last_modified":1400000000}' % dumps(name).encode()


def _odd_entry(turn: Turn) -> Page:
    """Spoil one field of the entry in the middle of the page; a listing by lines stays as it is."""
    page, options = turn.page(), turn.rule.options
    files = [place for place, entry in enumerate(page.entries) if entry.type != FOLDER]
    if not files or not page.json:
        return page
    rows = [msgspec.to_builtins(entry) for entry in page.entries]
    row = rows[files[len(files) // 2]]
    if options.get("value", "missing") == "missing":
        del row[options["field"]]
    else:
        row[options["field"]] = msgspec.Raw(options["value"].encode())
    page.raw = msgspec.json.encode({"files": rows, "iter": page.body_cursor})
    return page


EFFECTS: Final[dict[str, Effect[Callable[[Turn], Page]]]] = {
    "folder-gone": Effect(
        LISTS, _folder_gone, "the folder is deleted between its pages: 404 from the second page on"
    ),
    "same-cursor": Effect(
        LISTS,
        _same_cursor,
        "the page's cursor is the one that was sent (for a first page: the first entry's)",
    ),
    "older-cursor": Effect(LISTS, _older_cursor, "the page's cursor goes back to the folder's first entry"),
    "same-page": Effect(LISTS, _same_page, "always the folder's first page, with a new cursor each time"),
    "overlap": Effect(LISTS, _overlap, "a page begins with the last entries= (15) of the page before it"),
    "no-cursor": Effect(LISTS, _no_cursor, "no cursor, neither in the body nor in the header"),
    "body-cursor": Effect(LISTS, _body_cursor, "the cursor is only in the body"),
    "header-cursor": Effect(LISTS, _header_cursor, "the cursor is only in the header"),
    "padded-end": Effect(LISTS, _padded_end, "the end token comes with base64 padding"),
    "bare-cursor": Effect(LISTS, _bare_cursor, "the cursor comes without base64 padding"),
    "short-page": Effect(LISTS, _short_page, "fewer entries than asked for: entries= (a third of the limit)"),
    "empty-page": Effect(
        LISTS, _empty_page, "before each page comes one with no entries and a cursor that goes on"
    ),
    "end-page": Effect(
        LISTS, _end_page, "a full last page has an ordinary cursor, and an empty page follows"
    ),
    "duplicate": Effect(
        LISTS, _duplicate, "a page repeats the last entry of the page before it, as if cursors were inclusive"
    ),
    "garbage": Effect(LISTS, _garbage, "JSON that breaks off in the middle, with the right Content-Length"),
    "blank": Effect(LISTS, _blank, "200 with neither body nor cursor, for a folder that is not empty"),
    "file-instead": Effect(LISTS, _file_instead, "a file's content instead of a listing, without a cursor"),
    "tsv": Effect(LISTS, _tsv, "tab-separated text although JSON was asked for"),
    "unordered": Effect(LISTS, _unordered, "the entries of the page in another order, the cursor unchanged"),
    "forged-fails": Effect(
        LISTS, _forged_fails, "a cursor that names no entry of the folder is refused: 40001005"
    ),
    "forged-restarts": Effect(
        LISTS, _forged_restarts, "a cursor that names no entry of the folder starts it from the beginning"
    ),
    "forged-skips": Effect(
        LISTS,
        _forged_skips,
        "a cursor that names no entry of the folder leaves out what follows it: entries= (3)",
    ),
    "bad-cursor": Effect(LISTS, _bad_cursor, "any cursor is refused: 40001005"),
    "odd-entry": Effect(
        LISTS,
        _odd_entry,
        "one entry in the middle of the page has an odd field=, value= as JSON (missing)",
    ),
    "hostile": Effect(
        LISTS,
        _hostile,
        "entries with names that no service should have: `..`, slashes, NUL, an empty name, bytes that are no UTF-8 (utf8=1: without these)",
    ),
}
