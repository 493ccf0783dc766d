import hashlib
import json

import pytest

from upyun_simulator import content
from upyun_simulator.objects import http_date

KEY = "img-3.jpg"
WHOLE = content(KEY, 1000)
ETAG = f'"{hashlib.md5(WHOLE).hexdigest()}"'


@pytest.fixture(scope="module")
def hosted(host_for_module):
    return host_for_module()


def both(hosted, path, method="GET", **headers):
    return hosted.rest(path, method, **headers), hosted.get(path, method, **headers)


def test_an_object_comes_with_its_headers(hosted):
    item = hosted.world.contents.item(KEY)
    for reply in both(hosted, KEY):
        assert (reply.status, reply.body) == (200, WHOLE)
        assert reply.headers["etag"] == ETAG
        assert reply.headers["content-length"] == "1000"
        assert reply.headers["content-type"] == "image/jpeg"
        assert reply.headers["last-modified"] == http_date(item.mtime)
        assert reply.headers["x-request-id"]
    assert hosted.rest(KEY).headers["content-md5"] == ETAG.strip('"')


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=990-", 990, 1000), ("bytes=-10", 990, 1000), ("bytes=999-999", 999, 1000),
     ("bytes=0-5000", 0, 1000), ("bytes=-5000", 0, 1000), ("bytes=500-500", 500, 501)],
)  # fmt: skip
def test_a_range_is_partial_content(hosted, wanted, start, stop):
    for reply in both(hosted, KEY, range=wanted):
        assert reply.status == 206
        assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/1000"
        assert reply.body == WHOLE[start:stop]


@pytest.mark.parametrize(
    "wanted", ["bytes=1000-", "bytes=1000-1001", "bytes=5-4", "bytes=-", "bytes=x", "lines=1-2", "bytes=-0"]
)
def test_a_wrong_range_has_each_listeners_code(hosted, wanted):
    rest, cdn = both(hosted, KEY, range=wanted)

    assert (rest.status, rest.code) == (400, 40001161)
    assert (cdn.status, cdn.code) == (416, 41610003)


def test_several_ranges_are_refused(hosted):
    rest, cdn = both(hosted, KEY, range="bytes=0-1,5-6")

    assert (rest.code, cdn.code) == (40001161, 41610002)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": f'"x", W/{ETAG}'}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-modified-since": "MODIFIED"}, 304),
        ({"if-modified-since": http_date(0)}, 200),
        ({"if-match": ETAG}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-match": ETAG, "range": "bytes=0-9"}, 206),
        ({"if-match": '"x"', "range": "bytes=0-9"}, 412),
        ({"if-unmodified-since": "MODIFIED"}, 200),
        ({"if-unmodified-since": http_date(0)}, 412),
        ({"if-range": ETAG, "range": "bytes=0-9"}, 206),
        ({"if-range": '"x"', "range": "bytes=0-9"}, 200),
    ],
)
def test_conditions(hosted, headers, status):
    modified = http_date(hosted.world.contents.item(KEY).mtime)
    headers = {name: modified if value == "MODIFIED" else value for name, value in headers.items()}

    for reply in both(hosted, KEY, **headers):
        assert reply.status == status
        assert status != 304 or reply.body == b""
        assert status != 412 or reply.code == 41200001


def test_head_of_an_object_tells_all_without_a_body(hosted):
    reply = hosted.rest(KEY, "HEAD")

    item = hosted.world.contents.item(KEY)
    assert reply.body == b""
    assert reply.headers["x-upyun-file-type"] == "file"
    assert reply.headers["x-upyun-file-size"] == "1000"
    assert reply.headers["x-upyun-file-date"] == str(item.mtime)
    assert reply.headers["content-md5"] == ETAG.strip('"')
    assert reply.headers["etag"] == ETAG
    assert hosted.get(KEY, "HEAD").headers["content-length"] == "1000"


@pytest.mark.parametrize("path", ["", "/demo-bucket"])
def test_head_of_the_root_is_a_folder(hosted, path):
    assert hosted.rest(path, "HEAD").headers["x-upyun-file-type"] == "folder"


def test_head_of_what_is_missing_has_a_code_but_no_body(hosted):
    reply = hosted.rest("missing", "HEAD")

    assert (reply.status, reply.headers["x-error-code"], reply.body) == (404, "40400001", b"")


def test_usage_is_decimal_text(hosted):
    assert hosted.rest("?usage").body == b"10000"
    assert hosted.rest("some/folder/?usage").body == b"10000"


def test_errors_have_each_listeners_form(hosted):
    rest, cdn = (json.loads(reply.body) for reply in both(hosted, "missing"))

    assert rest.keys() == {"msg", "code", "id"}
    assert rest["code"] == 40400001
    assert cdn == {"code": "40400001", "msg": "file or directory not found"}


def test_a_path_that_is_no_utf8_is_refused(hosted):
    for reply in both(hosted, "%ff.jpg"):
        assert (reply.status, reply.code) == (400, 40000030)


def test_writing_is_not_offered(hosted):
    assert hosted.rest(KEY, "DELETE").code == 40500001


@pytest.mark.parametrize(("target", "key"), [("a+b.jpg", "a+b.jpg"), ("a%2Bb.jpg", "a+b.jpg"), ("a%20b.jpg", "a b.jpg"), ("a%2520b.jpg", "a%20b.jpg"), ("%5Bx%5D.jpg", "[x].jpg"), ("dots/./here.jpg", "dots/./here.jpg"), ("dots/../up.jpg", "dots/../up.jpg"), ("/leading%20slash.jpg", "/leading slash.jpg"), ("a//b.jpg", "a//b.jpg")])  # fmt: skip
def test_paths_are_decoded_once_and_never_normalised(host, target, key):
    hosted = host(spec="odd")
    item = hosted.world.contents.item(key)

    for reply in (hosted.rest(f"/demo-bucket/{target}"), hosted.get(target)):
        assert reply.body == content(key, item.size)


def test_big_objects_are_sparse_and_have_no_md5(host):
    hosted = host(spec="flat:2,size=5GiB")

    for reply in both(hosted, "img-1.jpg", range=f"bytes={(5 << 30) - 20}-"):
        assert reply.status == 206
        assert len(reply.body) == 20
        assert reply.headers["etag"].endswith('-80"')
        assert reply.headers["content-md5"] is None
    assert hosted.rest("img-1.jpg", "HEAD").headers["x-upyun-file-size"] == str(5 << 30)


def test_a_body_of_tens_of_mebibytes_comes_whole(host):
    hosted = host(spec="flat:1,size=30MiB")

    reply = hosted.get("img-0.jpg")

    assert reply.body == content("img-0.jpg", 30 << 20)
    assert reply.headers["etag"] == f'"{hashlib.md5(reply.body).hexdigest()}"'


def test_a_touched_object_is_another_one(host):
    hosted = host()
    hosted.order("POST", "/objects", {"touch": [KEY], "put": {"new.png": 5}})

    assert hosted.get(KEY).body == content(KEY, 1000, 1)
    assert hosted.get(KEY).headers["etag"] != ETAG
    assert hosted.get("new.png").body == content("new.png", 5)
