"""Faults that spoil a page of a listing."""

from collections.abc import Callable
from dataclasses import replace
from json import dumps
from typing import Final

import msgspec

from bucketpull.simulator.contents import Entry, Folder
from bucketpull.simulator.cursor import END, Cursors, Position
from bucketpull.simulator.errors import Refusal
from bucketpull.simulator.faults import Call, Rule
from bucketpull.simulator.listing import Ask, Page, make_page, position_of

HOSTILE: Final = (
    "../../escape.jpg", "..", ".", "", "/etc/passwd", "a/b.jpg", "nul\x00byte.jpg", "tab\there.jpg", "line\nfeed.jpg",
    "\ud800 lone surrogate.jpg",
)  # fmt: skip


def _folder_gone(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """the folder is deleted between its pages: 404 from the second page on"""
    if ask.cursor:
        raise Refusal(40400001)
    return make_page(folder, ask, cursors)


def _same_cursor(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """the page's cursor is the one that was sent (for a first page: the first entry's)"""
    page = make_page(folder, ask, cursors)
    same = ask.cursor or (cursors.encode(ask.folder, position_of(page.entries[0])) if page.entries else END)
    page.body_cursor = page.header_cursor = same
    return page


def _older_cursor(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """the page's cursor goes back to the folder's first entry"""
    page = make_page(folder, ask, cursors)
    first = make_page(folder, replace(ask, cursor="", limit=1), cursors).entries
    if first and page.body_cursor != END:
        page.body_cursor = page.header_cursor = cursors.encode(ask.folder, position_of(first[0]))
    return page


def _no_cursor(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """no cursor, neither in the body nor in the header"""
    page = make_page(folder, ask, cursors)
    page.body_cursor = page.header_cursor = None
    return page


def _body_cursor(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """the cursor is only in the body"""
    page = make_page(folder, ask, cursors)
    page.header_cursor = None
    return page


def _header_cursor(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """the cursor is only in the header"""
    page = make_page(folder, ask, cursors)
    page.body_cursor = None
    return page


def _padded_end(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """the end token comes with base64 padding"""
    page = make_page(folder, ask, cursors)
    if page.body_cursor == END:
        page.body_cursor = page.header_cursor = END + "=="
    return page


def _bare_cursor(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """the cursor comes without base64 padding"""
    page = make_page(folder, ask, cursors)
    page.body_cursor = page.header_cursor = (page.body_cursor or "").rstrip("=")
    return page


def _short_page(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """fewer entries than asked for: entries= (a third of the limit)"""
    limit = int(rule.number("entries", max(1, ask.limit // 3)))
    return make_page(folder, replace(ask, limit=max(1, limit)), cursors)


def _empty_page(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """no entries, and a cursor that goes on where the request was (use it with first=1 or nth=)"""
    here = ask.cursor or cursors.encode(ask.folder, Position(folders=ask.desc, name="\U0010ffff" if ask.desc else ""))
    if here.rstrip("=") == END:
        return make_page(folder, ask, cursors)
    other = here.rstrip("=") if here.endswith("=") else here
    return Page([], other, other, ask.json)


def _end_page(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """a full last page has an ordinary cursor, and an empty page follows"""
    return make_page(folder, ask, cursors, eof_page=True)


def _duplicate(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """a page repeats the last entry of the page before it"""
    page = make_page(folder, ask, cursors)
    if ask.cursor and ask.cursor.rstrip("=") != END:
        after = cursors.decode(ask.folder, ask.cursor)
        path = ask.folder + after.name
        item = call.contents.item(path)
        if item is not None and not after.folders:
            page.entries.insert(0, Entry(after.name, item.type, item.size, item.mtime))
    return page


def _garbage(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """JSON that breaks off in the middle, with the right Content-Length"""
    page = make_page(folder, ask, cursors)
    rows = msgspec.json.encode(page.entries)
    page.raw = b'{"files":' + rows[: max(1, len(rows) // 2)]
    return page


def _blank(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """200 with neither body nor cursor, for a folder that is not empty"""
    return Page([], None, None, ask.json, raw=b"")


def _file_instead(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """a file's content instead of a listing, without a cursor"""
    return Page([], None, None, ask.json, raw=b"\xff\xd8\xff\xe0" + bytes(2000), content_type="image/jpeg")


def _tsv(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """tab-separated text although JSON was asked for"""
    page = make_page(folder, ask, cursors)
    page.json, page.content_type = False, "application/octet-stream"
    return page


def _unordered(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """the entries of the page in another order, the cursor unchanged"""
    page = make_page(folder, ask, cursors)
    page.entries = page.entries[::2] + page.entries[1::2]
    return page


def _inclusive(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:
    """a cursor starts the page at its own entry, not behind it"""
    return _duplicate(rule, call, ask, folder, cursors)


def _forged_fails(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """a cursor that names no entry of the folder is refused: 40001005"""
    if ask.cursor and ask.cursor.rstrip("=") != END:
        after = cursors.decode(ask.folder, ask.cursor)
        path = ask.folder + after.name
        known = call.contents.folder(path + "/") if after.folders else call.contents.item(path)
        if known is None:
            raise Refusal(40001005)
    return make_page(folder, ask, cursors)


def _forged_restarts(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:
    """a cursor that names no entry of the folder starts it from the beginning"""
    try:
        return _forged_fails(rule, call, ask, folder, cursors)
    except Refusal:
        return make_page(folder, replace(ask, cursor=""), cursors)


def _bad_cursor(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """any cursor is refused: 40001005"""
    if ask.cursor:
        raise Refusal(40001005)
    return make_page(folder, ask, cursors)


def _hostile(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:  # noqa: ARG001
    """entries with names that no service should have: `..`, slashes, NUL, an empty name, bytes that are no UTF-8"""
    page = make_page(folder, ask, cursors)
    page.extra = [_row(name, ask) for name in HOSTILE]
    bad = b'{"name":"bad\xff\xfe.jpg","type":"image/jpeg","length":10,"last_modified":1400000000}'
    page.extra.append(bad if ask.json else b"bad\xff\xfe.jpg\tN\t10\t1400000000")
    if rule.options.get("utf8") == "1":
        page.extra.pop()
    return page


def _row(name: str, ask: Ask) -> bytes:
    if not ask.json:
        return f"{name}\tN\t10\t1400000000".encode("utf-8", "surrogatepass")
    return b'{"name":%b,"type":"image/jpeg","length":10,"last_modified":1400000000}' % dumps(name).encode()


Effect = Callable[[Rule, Call, Ask, Folder, Cursors], Page]
EFFECTS: Final[dict[str, Effect]] = {
    "folder-gone": _folder_gone,
    "same-cursor": _same_cursor,
    "older-cursor": _older_cursor,
    "no-cursor": _no_cursor,
    "body-cursor": _body_cursor,
    "header-cursor": _header_cursor,
    "padded-end": _padded_end,
    "bare-cursor": _bare_cursor,
    "short-page": _short_page,
    "empty-page": _empty_page,
    "end-page": _end_page,
    "duplicate": _duplicate,
    "inclusive": _inclusive,
    "garbage": _garbage,
    "blank": _blank,
    "file-instead": _file_instead,
    "tsv": _tsv,
    "unordered": _unordered,
    "forged-fails": _forged_fails,
    "forged-restarts": _forged_restarts,
    "bad-cursor": _bad_cursor,
    "hostile": _hostile,
}
