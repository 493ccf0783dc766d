"""Listings in all the shapes they have, and answers that are none."""

import contextlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listing_world import SITE, ListingWorld, answer, header_of, source

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.model import Position, key_of
from bucketpull.sources import cycle_detection
from bucketpull.sources.upyun.list_response import read_listing
from bucketpull.sources.upyun.stages import ask_for
from upyun_simulator.cursor import END, RowKeys, Sealed
from upyun_simulator.errors import Refusal
from upyun_simulator.faults import parse_rule
from upyun_simulator.listing import Shapes
from upyun_simulator.overlay import Overlay
from upyun_simulator.page_effects import EFFECTS, Turn
from upyun_simulator.spec import parse_spec

_ITER = {"x-upyun-list-iter": END}
_FILE = {"name": "a.jpg", "type": "image/jpeg", "length": 5, "last_modified": 9}


def _read(body, position=None, status=200, limit=10_000, **headers):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return source(list_limit=limit).read_page(position or Position(b"d"), answer(status, body, named), 1e9)


def _reason(body, position=None, status=200, **headers):
    with pytest.raises(AnswerError) as caught:
        _read(body, position, status, **headers)
    return caught.value.reason


def test_a_page_is_asked_for_as_the_contract_says():
    request = source(prefix="/photos/").list_request(Position(b"a b/\xe4"), SITE, 1e9)

    assert request.url == "https://v0.api.upyun.com/demo/a%20b/%E4/"
    assert request.url.startswith("https://v0.api.upyun.com/")
    assert header_of(request, "x-list-limit") == "10000"
    assert header_of(request, "x-upyun-folder") == "true"
    assert header_of(request, "accept") == "application/json"
    assert header_of(request, "x-list-iter") == header_of(request, "x-list-order") == ""
    assert header_of(source().list_request(Position(b"", "abc="), SITE, 1e9), "x-list-iter") == "abc="


def test_a_prefix_is_the_folder_where_the_listing_begins():
    assert source().root() == Position(b"")
    assert source(prefix="/photos/2016/").root() == Position(b"photos/2016")
    assert source().list_request(Position(b""), SITE, 1e9).url == "https://v0.api.upyun.com/demo/"


def test_files_and_folders_are_told_apart():
    folder = {"name": "sub", "type": "folder", "length": 423404, "last_modified": 1}
    page = _read({"files": [_FILE, folder], "iter": END})

    assert (page.part.names, page.part.sizes, page.part.mtimes) == ([b"a.jpg"], [5], [9])
    assert page.directories == [b"sub"]
    assert page.following == []


@pytest.mark.parametrize("body", [{"files": [], "iter": END}, {"files": {}, "iter": END}, {"files": None, "iter": END}, {"iter": END + "=="}])  # fmt: skip
def test_an_empty_folder_has_many_shapes(body):
    page = _read(body)

    assert (page.part.names, page.directories, page.following) == ([], [], [])


@pytest.mark.parametrize("body", [b"", b"\n", b"{}", b'{"files":{}}'])
def test_an_empty_body_is_an_empty_folder_if_the_header_says_that_it_ends(body):
    assert _read(body, **_ITER).following == []


def test_a_listing_by_lines_is_read_too():
    page = _read(b"foo.jpg\tN\t4237\t1415096225\nbar\tF\t423404\t1415096260\r\nta\tb.jpg\tN\t1\t2\n", **_ITER)

    assert page.part.names == [b"foo.jpg", b"ta\tb.jpg"]
    assert page.part.sizes == [4237, 1]
    assert page.directories == [b"bar"]


def test_names_that_begin_with_a_brace_make_no_json_of_a_listing_by_lines():
    assert _read(b"{x}.jpg\tN\t1\t2", **_ITER).part.names == [b"{x}.jpg"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"files":[{"name":"a"',
        b'{"files":[{"type":"image/jpeg","length":1,"last_modified":1}],"iter":"x"}',
        b'{"files":[1,[],null],"iter":"x"}',
        b'{"files":"many","iter":"x"}',
        b'{"other":1}',
        b"[]",
        b"<html>busy</html>",
        b"\xff\xd8\xff\xe0 an image",
        b"foo.jpg\tN\t4237\t1415096225",
    ],
)
def test_what_is_no_listing_is_garbage_and_never_an_empty_folder(body):
    assert _reason(body) is Reason.GARBAGE


def test_a_web_page_is_garbage_even_with_a_cursor():
    assert _reason(b"<html>\n<body>\nbusy\n</body>", **_ITER) is Reason.GARBAGE


def test_an_error_in_a_200_is_that_error():
    assert _reason({"msg": "too many requests", "code": 42900001}) is Reason.THROTTLED
    assert _reason({"files": [], "iter": END}, x_error_code="50300044") is Reason.SERVER_ERROR


def test_numbers_may_be_texts_and_names_may_be_no_utf_8():
    page = _read(
        b'{"files":[{"name":"bad\xff\xfe","type":"t","length":"7","last_modified":8.0}],"iter":"%s"}'
        % END.encode()
    )

    assert (page.part.names, page.part.sizes, page.part.mtimes) == ([b"bad\xff\xfe"], [7], [8])


ODD_NUMBERS = [
    b"-1",
    b"-86400",
    b"null",
    b"true",
    b'"x"',
    b"[]",
    b"{}",
    b"NaN",
    b"Infinity",
    b"1e400",
    b"9" * 5000,
    b"-0.5",
    None,
]


def _page_with(name=b'"odd"', kind=b'"t"', length=b"7", last_modified=b"8"):
    """Write a listing of three entries of which the second has these fields; None leaves one out."""
    fields = {b"name": name, b"type": kind, b"length": length, b"last_modified": last_modified}
    odd = b",".join(b'"%b":%b' % each for each in fields.items() if each[1] is not None)
    usual = b'{"name":"%b","type":"t","length":5,"last_modified":9}'
    return b'{"files":[%b,{%b},%b],"iter":"%b"}' % (usual % b"a", odd, usual % b"z", END.encode())


@pytest.mark.parametrize("value", ODD_NUMBERS)
def test_an_entry_with_an_odd_size_has_an_unknown_one_and_the_others_are_as_they_are(value):
    page = _read(_page_with(length=value))

    assert (page.part.names, page.part.sizes, page.part.mtimes) == (
        [b"a", b"odd", b"z"],
        [5, -1, 5],
        [9, 8, 9],
    )
    assert not page.odd


@pytest.mark.parametrize("value", [*ODD_NUMBERS, b"1600000000000"])
def test_an_entry_with_an_odd_time_has_an_unknown_one_and_the_others_are_as_they_are(value):
    page = _read(_page_with(last_modified=value))

    assert (page.part.names, page.part.sizes, page.part.mtimes) == (
        [b"a", b"odd", b"z"],
        [5, 7, 5],
        [9, -1, 9],
    )


def test_a_time_with_a_fraction_is_that_of_its_second():
    assert _read(_page_with(last_modified=b"1600000000.5")).part.mtimes == [9, 1_600_000_000, 9]


@pytest.mark.parametrize("kind", [None, b"null", b"7", b"[]"])
def test_an_entry_of_unknown_type_is_taken_for_a_file_and_for_a_folder(kind):
    page = _read(_page_with(kind=kind))

    assert (page.part.names, page.directories) == ([b"a", b"odd", b"z"], [b"odd"])


@pytest.mark.parametrize("name", [None, b"null", b"7", b"{}"])
def test_an_entry_without_a_name_is_told_and_the_others_are_listed(name):
    page = _read(_page_with(name=name))

    assert page.part.names == [b"a", b"z"]
    assert len(page.odd) == 1
    assert "last_modified" in page.odd[0]


def test_an_odd_line_costs_only_itself():
    lines = b"a\tN\t5\t9\nodd\tN\t-1\tnever\nno entry at all\nz\tN\t5\t9"
    page = _read(lines, **_ITER)

    assert (page.part.names, page.part.sizes, page.part.mtimes) == (
        [b"a", b"odd", b"z"],
        [5, -1, 5],
        [9, -1, 9],
    )
    assert page.odd == ("an entry without a name: no entry at all",)


@pytest.mark.parametrize("kind", ["image/jpeg", "folder"])
def test_a_name_longer_than_any_costs_only_its_entry(kind):
    name = "n" * 65_536
    lines = _read(b"a\tN\t5\t9\n%s\t%s\t5\t9" % (name.encode(), b"F" if kind == "folder" else b"N"), **_ITER)
    page = _read({"files": [_FILE, _FILE | {"name": name, "type": kind}], "iter": "abc="})

    for found in (lines, page):
        assert (len(found.part.names), found.directories, len(found.odd)) == (1, [], 1)
    assert lines.odd[0].startswith("an entry with a name longer than any: nnn")


def test_a_file_with_an_empty_name_has_none():
    lines = _read(b"a\tN\t5\t9\n\tN\t5\t9", **_ITER)
    page = _read({"files": [_FILE, _FILE | {"name": ""}], "iter": "abc="})

    assert (len(lines.part.names), len(lines.odd)) == (1, 1)
    assert (len(page.part.names), len(page.odd)) == (1, 1)


@pytest.mark.parametrize("where", ["body", "header"])
def test_the_cursor_is_in_the_body_or_in_the_header(where):
    body = {"files": [_FILE]} | ({"iter": "abc="} if where == "body" else {})

    page = _read(body, **({"x_upyun_list_iter": "abc="} if where == "header" else {}))

    assert [position.cursor for position in page.following] == ["abc="]


def test_pages_without_an_entry_that_lead_on_and_on_are_followed_only_so_far(monkeypatch):
    monkeypatch.setattr(cycle_detection, "MOST_EMPTY", 20)
    position = Position(b"d")
    for number in range(20):
        (position,) = _read({"files": [], "iter": f"c{number}="}, position).following

    with pytest.raises(AnswerError, match="cursor: 21 pages in a row have no entry"):
        _read({"files": [], "iter": "c20="}, position)


def test_a_cursor_that_leads_to_itself_or_cannot_be_sent_is_refused():
    assert _reason({"files": [_FILE], "iter": "abc="}, Position(b"d", "abc=")) is Reason.CURSOR
    assert _reason({"files": [_FILE], "iter": "a\r\nX: y"}) is Reason.CURSOR
    assert _reason({"files": [_FILE], "iter": 7}) is Reason.CURSOR


def test_a_page_that_says_nothing_of_its_end_ends_only_if_it_stays_so_and_is_short():
    assert _reason({"files": [_FILE]}) is Reason.CURSOR
    assert _read({"files": [_FILE]}, Position(b"d", passes=1)).following == []
    assert _reason({"files": [_FILE]}, Position(b"d", passes=1), limit=1) is Reason.CURSOR


def test_an_empty_page_before_the_end_goes_on():
    assert _read({"files": [], "iter": "abc="}).following[0].cursor == "abc="


def test_more_than_any_listing_can_be_is_garbage():
    response = answer(200, b"x")
    response.failure, response.received = Reason.INTERRUPTED, 10**9

    with pytest.raises(AnswerError) as caught:
        source().read_page(Position(b"d"), response, 1e9)

    assert caught.value.reason is Reason.GARBAGE


def test_a_failure_on_the_way_is_that_failure():
    response = answer(200, b"")
    response.failure = Reason.STALLED

    with pytest.raises(AnswerError) as caught:
        source().read_page(Position(b"d"), response, 1e9)

    assert caught.value.reason is Reason.STALLED


def test_entries_given_twice_are_taken_once():
    sub = {"name": "s", "type": "folder", "length": 0, "last_modified": 0}
    page = _read({"files": [_FILE, _FILE, sub, sub], "iter": END})

    assert (page.part.names, page.part.sizes, page.directories) == ([b"a.jpg"], [5], [b"s"])
    assert page.duplicates == 2


def test_hostile_names_stay_what_they_are():
    names = ["../../x", "..", ".", "/etc/passwd", "a/b", "nul\0"]
    page = _read({"files": [_FILE | {"name": name} for name in names], "iter": END})

    assert page.part.names == [name.encode() for name in names]


def test_folders_that_lie_in_themselves_come_to_an_end():
    body = {"files": [{"name": "..", "type": "folder", "length": 0, "last_modified": 0}], "iter": END}

    assert _read(body, Position(b"a/../..")).directories == [b".."]
    page = _read(body, Position(b"a" + b"/.." * 8))
    assert (page.directories, page.odd) == ([], ("the folder '..' lies deeper than any real one",))


def _all_of(spec, **options):
    world = ListingWorld(source(split_listing=False), parse_spec(spec), **options)
    world.run()
    assert world.failed == []
    return world


@pytest.mark.parametrize("limit", [3, 7, 60, 10_000])
def test_every_odd_name_is_found_whatever_the_size_of_a_page(limit):
    expected = {item.key.encode() for item in parse_spec("odd").walk()}

    world = ListingWorld(source(list_limit=limit), parse_spec("odd"))
    world.run()

    assert world.failed == []
    assert sorted(world.objects) == sorted(expected)


@pytest.mark.parametrize("empty", ["array", "object", "absent", "nothing"])
def test_empty_folders_are_found_in_each_shape(empty):
    world = _all_of("odd", shapes=Shapes(empty, folder_noise=True))

    assert {b"empty", b"empty/nested", b"nothing here"} <= set(world.directories)
    assert world.vanished == []


def _spoiler(name, contents, cursors, times=None):
    rule = parse_rule(name, EFFECTS, frozenset())
    overlay, chance = Overlay(contents), random.Random(times)

    def spoil(ask, page):
        folder = contents.folder(ask.folder)
        if times is not None and chance.random() > 1 / times:
            return page
        try:
            return EFFECTS[name].act(Turn(rule, overlay, ask, folder, cursors))
        except Refusal as refusal:
            code = refusal.code
            return answer(code // 100_000, b'{"msg":"refused","code":%d,"id":"1"}' % code)

    return spoil


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    "fault",
    ["body-cursor", "header-cursor", "padded-end", "bare-cursor", "short-page", "empty-page", "end-page", "duplicate", "tsv",
     "unordered", "forged-fails", "forged-restarts", "forged-skips"],
)  # fmt: skip
def test_what_only_looks_odd_loses_nothing_and_repeats_nothing(fault, split):
    contents, cursors = parse_spec("flat:5000"), RowKeys("demo")
    world = ListingWorld(
        source(list_limit=100, split_listing=split), contents, cursors, _spoiler(fault, contents, cursors)
    )

    world.run(most=3000)

    assert world.failed == []
    assert len(set(world.objects)) == 5000
    assert len(world.objects) == 5000


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    "fault", ["same-cursor", "older-cursor", "no-cursor", "garbage", "blank", "file-instead", "bad-cursor", "forged-restarts", "forged-fails"]
)  # fmt: skip
@pytest.mark.parametrize("times", [2, 3, 5])
def test_what_goes_wrong_now_and_then_is_tried_again_and_loses_nothing(fault, split, times):
    contents, cursors = parse_spec("flat:5000"), RowKeys("demo")
    spoil = _spoiler(fault, contents, cursors, times)
    world = ListingWorld(source(list_limit=100, split_listing=split), contents, cursors, spoil)

    world.run(most=3000)

    assert world.failed == []
    assert len(world.objects) == len(set(world.objects)) == 5000


@pytest.mark.parametrize(
    "fault", ["same-cursor", "older-cursor", "garbage", "blank", "file-instead", "bad-cursor", "no-cursor"]
)
def test_what_stays_wrong_is_a_failure_and_never_an_end(fault):
    contents, cursors = parse_spec("flat:5000"), RowKeys("demo")
    world = ListingWorld(source(list_limit=100), contents, cursors, _spoiler(fault, contents, cursors))

    world.run(most=3000)

    assert world.failed


def test_a_folder_that_goes_away_between_its_pages_vanishes():
    contents, cursors = parse_spec("flat:500,dir=d"), RowKeys("demo")
    world = ListingWorld(
        source(list_limit=100), contents, cursors, _spoiler("folder-gone", contents, cursors)
    )

    world.run(start=Position(b"d"))

    assert world.vanished == [b"d"]


def test_hostile_listings_are_read_exactly():
    contents, cursors = parse_spec("flat:3"), RowKeys("demo")
    world = ListingWorld(source(), contents, cursors, _spoiler("hostile", contents, cursors))

    world.run()

    assert world.failed == []
    assert {b"bad\xff\xfe.jpg", b"../../escape.jpg", b"nul\0byte.jpg", b"/etc/passwd"} <= set(world.objects)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_directory_of_folders_and_files_is_listed_whole(sealed):
    contents = parse_spec("tree:dirs=700,files=2,depth=1")
    cursors = Sealed(RowKeys("demo")) if sealed else RowKeys("demo")
    world = ListingWorld(source(list_limit=60), contents, cursors)

    world.run()

    assert world.failed == []
    assert sorted(world.objects) == sorted(item.key.encode() for item in contents.walk())


_NAMES = st.text(max_size=8)
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([END, "folder"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["files", "iter", "name", "type", "length", "last_modified", "code", "msg"]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
_BODIES = st.binary(max_size=200) | _ANY_JSON.map(lambda value: json.dumps(value).encode())


@given(_BODIES, st.sampled_from([{}, _ITER, {"x-upyun-list-iter": "abc"}]), st.integers(0, 2), st.booleans())
def test_any_body_is_a_page_or_an_answer_error(body, headers, passes, later):
    position = Position(b"d", "xyz" if later else "", passes=passes)

    try:
        page = source().read_page(position, answer(200, body, headers), 1e9)
    except AnswerError:
        return
    if not page.part.names and not page.directories and not page.following:
        assert headers or b"iter" in body or b"files" in body


@given(st.binary(max_size=100), st.text(max_size=30), st.text(max_size=60))
def test_any_position_that_is_read_back_can_be_asked_for(body, cursor, until):
    position = Position(b"d", cursor, until)

    source().list_request(position, SITE, 1e9)
    with contextlib.suppress(AnswerError):
        source().read_page(position, answer(200, body, _ITER), 1e9)


@given(
    st.lists(
        st.tuples(_NAMES.filter(bool), st.integers(0, 2**46), st.integers(0, 253_402_300_799)), max_size=20
    )
)
def test_what_is_listed_comes_out_as_it_went_in(entries):
    files = [
        {"name": name, "type": "image/jpeg", "length": size, "last_modified": mtime}
        for name, size, mtime in entries
    ]
    listing = read_listing(json.dumps({"files": files, "iter": END}).encode(), {})

    assert listing.names == [name.encode("utf-8", "surrogatepass") for name, _, _ in entries]
    assert (listing.sizes, listing.mtimes) == (
        [entry[1] for entry in entries],
        [entry[2] for entry in entries],
    )


def test_keys_of_a_folder_without_a_name_begin_with_a_slash():
    page = _read(
        {"files": [{"name": "", "type": "folder", "length": 0, "last_modified": 0}], "iter": END},
        Position(b""),
    )
    assert page.directories == []
    position = page.following[0]

    assert source().list_request(position, SITE, 1e9).url == "https://v0.api.upyun.com/demo//"
    inside = _read({"files": [_FILE], "iter": END}, position)
    assert key_of(inside.part.directory, inside.part.names[0]) == b"/a.jpg"


@pytest.mark.parametrize("order", ["names", "times"])
def test_entries_that_slip_onto_the_next_page_are_taken_once_whatever_the_order(order):
    names = [f"{number if order == 'names' else number * 37 % 50:02}.jpg" for number in range(50)]
    listed, duplicates, waiting = [], 0, [Position(b"")]
    while waiting:
        position = waiting.pop(0)
        start = int(ask_for(position).cursor or 0)
        files = [_FILE | {"name": name} for name in names[max(0, start - 2) : start + 10]]
        page = _read({"files": files, "iter": str(start + 10) if start < 40 else END}, position)
        listed += page.part.names
        duplicates += page.duplicates
        waiting += page.following

    assert sorted(listed) == sorted(name.encode() for name in names)
    assert duplicates == 8
