import gzip
import hashlib
import json
from urllib.parse import quote

import pytest

from upyun_simulator import content


@pytest.fixture
def manifest(tmp_path, host):
    path = tmp_path / "m.json"
    objects = {
        "pic.jpg": 800, "text.txt": 1000, "short.txt": 10, "empty.jpg": 0, "a!b.jpg": 9, "a!": 5, "a": 3, "dir!x/b.jpg": 7,
        "dir/pic.jpg": 1, "目录/pic 1.jpg": 2, "private.jpg": {"size": 50, "secret": "s3cret"},
    }  # fmt: skip
    path.write_text(json.dumps({"objects": objects}))
    return lambda **options: host(spec=f"manifest:{path}", **options)


def test_an_edges_headers(manifest):
    headers = manifest().get("pic.jpg").headers

    assert headers["x-source"] == "U/200"
    assert headers["cache-control"] == "max-age=691200"
    assert headers["accept-ranges"] == "bytes"
    assert headers["server"].startswith("marco/")
    assert {"x-cache", "via", "expires", "age", "etag", "last-modified"} <= {name.lower() for name in headers}


@pytest.mark.parametrize("version", ["s400", "small", "/fw/400", "small/fw/500"])
def test_a_thumbnail_is_other_and_smaller(manifest, version):
    reply = manifest().get(f"pic.jpg!{version}")

    assert reply.status == 200
    assert reply.body == content(f"pic.jpg!{version}", 101)
    assert reply.headers["content-length"] == "101"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("pic.jpg!nope", 40400010),
        ("text.txt!s400", 40500002),
        ("empty.jpg!s400", 40500002),
        ("missing.jpg!s400", 40400001),
        ("a!b.jpg", 40400010),
        ("a!", 40400010),
        ("dir!x/b.jpg", 40400010),
        ("dir/", 40400001),
        ("dir", 40400001),
        ("", 40400001),
    ],
)
def test_what_the_separator_and_the_missing_are_answered(manifest, path, code):
    assert manifest().get(path).code == code


def test_the_separator_has_no_meaning_to_rest_and_can_be_another(manifest):
    hosted = manifest(separator="_")

    assert hosted.rest("a!b.jpg").body == content("a!b.jpg", 9)
    assert hosted.get("a!b.jpg").body == content("a!b.jpg", 9)
    assert hosted.get("pic.jpg_s400").status == 200


def test_an_object_with_a_secret_is_refused_without_it(manifest):
    hosted = manifest()

    assert hosted.get("private.jpg").status == 404
    assert hosted.get("private.jpg!s3cret").body == content("private.jpg", 50)
    assert hosted.get("private.jpg!s400").status == 200
    assert hosted.rest("private.jpg").headers["x-upyun-meta-secret"] == "s3cret"


def token(path, secret="secret", etime=9999999999):
    return hashlib.md5(f"{secret}&{etime}&{path}".encode()).hexdigest()[12:20] + str(etime)


def test_the_contracts_tokens():
    assert token("/dir/pic.jpg", etime=1370000600) == "0c74625e1370000600"
    assert token("/目录/pic 1.jpg", etime=1370000600) == "e1f30dba1370000600"
    assert token("/%E7%9B%AE%E5%BD%95/pic%201.jpg", etime=1370000600) == "fbb891a51370000600"


@pytest.mark.parametrize("signed", ["decoded", "encoded"])
@pytest.mark.parametrize("key", ["dir/pic.jpg", "目录/pic 1.jpg"])
def test_a_protected_domain_wants_its_token(manifest, signed, key):
    hosted = manifest(token_secret="secret", path_signed=signed)
    path = quote(key)
    right = token(f"/{key if signed == 'decoded' else path}")

    assert hosted.get(f"{path}?_upt={right}").status == 200
    assert hosted.get(path, cookie=f"x=1; _upt={right}").status == 200
    for wrong in (
        "",
        "?_upt=",
        f"?_upt={right}1",
        f"?_upt={token('/' + key, 'other')}",
        f"?_upt={token('/' + key, etime=1370000600)}",
    ):
        assert hosted.get(path + wrong).code == 40310013


def test_other_queries_are_ignored(manifest):
    assert manifest().get("pic.jpg?v=2").body == content("pic.jpg", 800)


def test_referer_and_user_agent_rules(manifest):
    hosted = manifest(referers=["good.example"], blocked_agents=["*curl*"])

    assert hosted.get("pic.jpg").status == 200
    assert hosted.get("pic.jpg", referer="https://good.example/page").status == 200
    assert hosted.get("pic.jpg", referer="https://bad.example/").code == 40310014
    assert hosted.get("pic.jpg", **{"user-agent": "Curl/8"}).code == 40310011


def test_text_is_compressed_for_those_who_let_it(manifest):
    hosted = manifest()

    packed = hosted.get("text.txt", **{"accept-encoding": "gzip, br"})

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["etag"].startswith('W/"')
    assert gzip.decompress(packed.body) == content("text.txt", 1000)
    for path, accepted in (("text.txt", "identity"), ("short.txt", "gzip"), ("pic.jpg", "gzip")):
        assert hosted.get(path, **{"accept-encoding": accepted}).headers["content-encoding"] is None


def test_images_become_webp_for_those_who_accept_it(manifest):
    hosted = manifest()

    assert hosted.get("pic.jpg", accept="image/webp,*/*").headers["content-type"] == "image/webp"
    assert hosted.get("pic.jpg", accept="*/*").body == content("pic.jpg", 800)
