import json
import time
from itertools import chain

import pytest

from upyun_simulator.cursor import END, Position, RowKeys

TWO_KINDS = {"a.jpg": 10, "b.jpg": 20, "é.jpg": 30, "Z.jpg": 5, "x/1": 1, "b/1": 1, "中/1": 1}


@pytest.fixture
def two_kinds(tmp_path, host):
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps({"objects": TWO_KINDS, "folders": ["void"]}))

    def start(**options):
        return host(spec=f"manifest:{manifest}", **options)

    return start


def pages(hosted, folder="", **headers):
    """Follow the cursors to the end; return the pages."""
    found, cursor = [], None
    while cursor is None or cursor.rstrip("=") != END:
        names, cursor = hosted.page(folder, **headers, **({} if cursor is None else {"x-list-iter": cursor}))
        found.append(names)
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 8, 100])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_files_by_bytes_then_folders_by_bytes_whatever_the_page(two_kinds, limit, order):
    found = pages(two_kinds(), **{"x-list-limit": str(limit), "x-list-order": order})

    everything = ["Z.jpg", "a.jpg", "b.jpg", "é.jpg", "b", "void", "x", "中"]
    assert [*chain.from_iterable(found)] == (everything if order == "asc" else everything[::-1])
    assert all(len(page) == limit for page in found[:-1])


def test_a_json_page_has_the_contracts_fields_and_both_cursors(two_kinds):
    reply = two_kinds().rest("", accept="application/json", x_list_limit="1")

    page = json.loads(reply.body)
    assert set(page["files"][0]) == {"name", "type", "length", "last_modified"}
    assert (
        page["iter"]
        == reply.headers["x-upyun-list-iter"]
        == RowKeys("demo-bucket").encode("", Position(False, "Z.jpg"))
    )


def test_without_accept_the_page_is_tab_separated(two_kinds):
    reply = two_kinds().rest("", x_list_order="desc", x_list_limit="5")

    rows = [line.split("\t") for line in reply.body.decode().split("\n")]
    assert [row[:2] for row in rows] == [["中", "F"], ["x", "F"], ["void", "F"], ["b", "F"], ["é.jpg", "N"]]
    assert rows[-1][2] == "30"
    assert not reply.body.endswith(b"\n")


def test_the_default_page_has_100_entries_and_the_biggest_10000(host):
    hosted = host(spec="flat:10500,size=1")

    assert len(hosted.page()[0]) == 100
    assert len(hosted.page(**{"x-list-limit": "99999"})[0]) == 10_000
    assert [len(page) for page in pages(hosted, **{"x-list-limit": "10000"})] == [10_000, 500]


def test_a_smaller_greatest_page_can_be_set(host):
    assert len(host(spec="flat:5000,size=1", max_limit=4096).page(**{"x-list-limit": "10000"})[0]) == 4096


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"x-list-order": "up"}, 403, 40300014),
        ({"x-list-limit": "0"}, 400, 40000000),
        ({"x-list-limit": "-5"}, 400, 40000000),
        ({"x-list-limit": "many"}, 400, 40000000),
        ({"x-list-iter": "%%%"}, 400, 40001005),
        ({"x-list-iter": RowKeys("demo-bucket").encode("other/", Position(False, "a"))}, 400, 40001005),
        ({"x-list-iter": RowKeys("bucket").encode("", Position(False, "a"))}, 400, 40001005),
    ],
)
def test_wrong_listing_headers_have_their_codes(two_kinds, headers, status, code):
    reply = two_kinds().rest("", **headers)

    assert (reply.status, reply.code) == (status, code)


def test_an_empty_cursor_is_the_first_page_and_the_end_token_an_empty_one(two_kinds):
    hosted = two_kinds()

    assert hosted.page(**{"x-list-iter": ""}) == hosted.page()
    assert hosted.page(**{"x-list-iter": END}) == ([], END)
    assert hosted.page(**{"x-list-iter": END + "=="}) == ([], END)


def test_a_forged_cursor_seeks(host):
    hosted = host(spec="flat:1000000,size=1")
    cursors = RowKeys("demo-bucket")

    for name, following in (
        ("img-500000", "img-500000.jpg"),
        ("img-500000.jpg", "img-500001.jpg"),
        ("a", "img-000000.jpg"),
    ):
        assert hosted.page(**{"x-list-limit": "1", "x-list-iter": cursors.encode("", Position(False, name))})[
            0
        ] == [following]
    assert hosted.page(**{"x-list-iter": cursors.encode("", Position(False, "z"))}) == ([], END)


def test_a_cursor_whose_entry_was_deleted_still_works(host):
    hosted = host()
    names, cursor = hosted.page(**{"x-list-limit": "3"})
    hosted.order("POST", "/objects", {"delete": [names[-1]], "put": {"img-25.jpg": 1}})

    assert hosted.page(**{"x-list-iter": cursor})[0][:2] == ["img-25.jpg", "img-3.jpg"]


def test_sealed_cursors_page_as_well_but_cannot_be_forged(two_kinds):
    hosted = two_kinds(cursors="sealed")

    assert len([*chain.from_iterable(pages(hosted, **{"x-list-limit": "3"}))]) == 8
    assert (
        hosted.rest("", x_list_iter=RowKeys("demo-bucket").encode("", Position(False, "a"))).code == 40001005
    )


def test_cursors_may_come_without_padding(two_kinds):
    hosted = two_kinds(cursor_padding=False)

    assert not hosted.page(**{"x-list-limit": "1"})[1].endswith("=")
    assert len([*chain.from_iterable(pages(hosted, **{"x-list-limit": "1"}))]) == 8


def test_a_full_last_page_may_be_followed_by_an_empty_one(host):
    assert [len(p) for p in pages(host(eof_page=True), **{"x-list-limit": "5"})] == [5, 5, 0]
    assert [len(p) for p in pages(host(), **{"x-list-limit": "5"})] == [5, 5]


@pytest.mark.parametrize(
    ("empty", "body"),
    [
        ("array", b'{"files":[],"iter":"%b"}'),
        ("object", b'{"files":{},"iter":"%b"}'),
        ("absent", b'{"iter":"%b"}'),
        ("nothing", b""),
    ],
)
def test_an_empty_folder_has_every_shape(two_kinds, empty, body):
    reply = two_kinds(empty=empty).rest("void/", accept="application/json")

    assert reply.body == (body % END.encode() if body else b"")
    assert reply.headers["x-upyun-list-iter"] == END


def test_an_empty_folder_is_an_empty_text(two_kinds):
    assert two_kinds().rest("void/").body == b""


@pytest.mark.parametrize("noise", [False, True])
def test_folders_have_a_length_of_zero_or_noise(two_kinds, noise):
    reply = two_kinds(folder_noise=noise).rest("", accept="application/json")

    lengths = [entry["length"] for entry in json.loads(reply.body)["files"] if entry["type"] == "folder"]
    assert any(lengths) == noise


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("", None, "list"),
        ("/demo-bucket", None, "list"),
        ("b/", None, "list"),
        ("b", None, "list"),
        ("b", "true", "list"),
        ("b", "false", 40400001),
        ("b.jpg", None, "content"),
        ("b.jpg", "false", "content"),
        ("b.jpg", "true", 40400001),
        ("b.jpg/", None, 40400001),
        ("missing", None, 40400001),
        ("missing/", None, 40400001),
        ("missing", "true", 40400001),
        ("b//", None, 40400001),
    ],
)
def test_what_a_path_is(two_kinds, path, folder, expected):
    reply = two_kinds().rest(path, **({"x-upyun-folder": folder} if folder else {}))

    if isinstance(expected, int):
        assert reply.code == expected
    else:
        assert reply.status == 200
        assert ("x-upyun-list-iter" in reply.headers) == (expected == "list")


def test_a_folder_taken_for_a_file_may_have_the_other_code(two_kinds):
    assert two_kinds(folder_false_code=40300015).rest("b", **{"x-upyun-folder": "false"}).code == 40300015


def test_a_file_and_a_folder_of_one_name_are_both_there(host):
    hosted = host(spec="odd")

    assert hosted.page("twice/")[0] == ["inside.jpg", "twice"]
    assert hosted.rest("twice").headers["etag"]
    assert hosted.rest("twice", **{"x-upyun-folder": "true"}).headers["x-upyun-list-iter"]
    assert [*chain.from_iterable(pages(hosted))].count("twice") == 2


def test_a_page_of_ten_million_is_quick(host):
    hosted = host(spec="flat:10000000")
    cursor = RowKeys("demo-bucket").encode("", Position(False, "img-8000000.jpg"))
    headers = {"x-list-limit": "10000", "x-list-iter": cursor}
    began = time.process_time()

    names = hosted.page(**headers)[0]

    assert names[0] == "img-8000001.jpg"
    assert len(names) == 10_000
    assert time.process_time() - began < 1
