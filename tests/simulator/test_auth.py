import base64
import hashlib
import hmac
import time

import pytest

from upyun_simulator import auth
from upyun_simulator.auth import Gatekeeper, Operator
from upyun_simulator.errors import Refusal
from upyun_simulator.message import Request
from upyun_simulator.objects import http_date

WHEN = "Wed, 09 Nov 2016 14:26:58 GMT"


def key_of(password):
    return hashlib.md5(password.encode()).hexdigest().encode()


def signed(method, target, password="password", name="operator", when=None, **headers):
    date = http_date(time.time()) if when is None else when
    text = "&".join([method, target, date, *([headers["content_md5"]] if "content_md5" in headers else [])])
    digest = base64.b64encode(hmac.digest(key_of(password), text.encode(), "sha1")).decode()
    return {"authorization": f"UPYUN {name}:{digest}", "date": date, **headers}


@pytest.mark.parametrize(
    ("method", "target", "md5", "signature"),
    [
        ("PUT", "/upyun-temp/demo.jpg", "7ac66c0f148de9519b8bd264312c4d64", "YUaAZX+WNAcJdNGHS5SBlITME5A="),
        ("GET", "/demo-bucket/", None, "9pu/aAjEmqEhAgaF7GW+80wQh44="),
        ("GET", "/demo-bucket/?usage", None, "fTzLM2ll1z4MXn3jTB56ptul7Cs="),
        ("GET", "/demo-bucket/%E4%B8%AD%E6%96%87%20a%2Bb.jpg", None, "YN/bRN4V57Wn7263qzWbpn7kyn4="),
        ("HEAD", "/demo-bucket/a.jpg", None, "AAGCecz9h0EKwlWjc1JGaELf3K8="),
    ],
)
def test_the_contracts_signatures_are_accepted_at_their_time(monkeypatch, method, target, md5, signature):
    bucket = target.split("/")[1]
    gatekeeper = Gatekeeper(bucket, [Operator("op", "password123")])
    monkeypatch.setattr(gatekeeper, "now", lambda: 1478701618.0)
    headers = {b"authorization": f"UPYUN op:{signature}".encode(), b"date": WHEN.encode()}
    if md5:
        headers[b"content-md5"] = md5.encode()

    gatekeeper.check(Request(method, target.encode(), headers), bucket)

    for wrong in (target + "x", target.replace("%2B", "+").replace("%E4", "%e4") + "/"):
        with pytest.raises(Refusal, match="40100005"):
            gatekeeper.check(Request(method, wrong.encode(), headers), bucket)


def test_the_contracts_vector_of_another_key():
    key = b"4758a92de3f4dd368c01e0dad8578481"
    text = b"POST&/api/v1/echo&Fri, 20 Jan 2017 08:46:20 GMT&d36489794822f8d33fd28217d8a5bed4"

    assert auth._hmac(key, text) == "kfIIHZ+vY9qwp+cZXE2m7jGWzcE="


def test_the_old_signature_is_accepted(monkeypatch):
    gatekeeper = Gatekeeper("bucket", [Operator("op", "password")])
    monkeypatch.setattr(gatekeeper, "now", lambda: 1414549618.0)
    headers = {
        b"authorization": b"UpYun op:03db45e2904663c5c9305a9c6ed62af3",
        b"date": b"Wed, 29 Oct 2014 02:26:58 GMT",
    }

    gatekeeper.check(Request("GET", b"/bucket/sub", headers), "bucket")


def test_the_contracts_token_is_accepted_until_it_expires(monkeypatch):
    text = b"PUT&/bucket/client_37ascii&1528531186"
    gatekeeper = Gatekeeper("bucket", [Operator("op", "password123"), Operator("other", "x")])
    token = auth._hmac(key_of("password123"), text)
    headers = {
        b"authorization": f"UPYUN op:{token}".encode(),
        b"x-upyun-uri-prefix": b"/bucket/client_37ascii",
        b"x-upyun-expire": b"1528531186",
    }
    monkeypatch.setattr(gatekeeper, "now", lambda: 1528531185.0)

    gatekeeper.check(Request("PUT", b"/bucket/client_37ascii/file", headers), "bucket")

    monkeypatch.setattr(gatekeeper, "now", lambda: 1528531187.0)
    with pytest.raises(Refusal, match="40100024"):
        gatekeeper.check(Request("PUT", b"/bucket/client_37ascii/file", headers), "bucket")


def token(prefix=None, postfix=None, password="password", expire=None):
    expire = str(int(time.time()) + 1000 if expire is None else expire)
    parts = ["GET", *filter(None, (prefix, postfix)), expire]
    digest = base64.b64encode(hmac.digest(key_of(password), "&".join(parts).encode(), "sha1")).decode()
    headers = {"authorization": f"UPYUN operator:{digest}", "x-upyun-expire": expire}
    return headers | {f"x-upyun-uri-{n}": v for n, v in (("prefix", prefix), ("postfix", postfix)) if v}


PATH = "/demo-bucket/img-1.jpg"


def minutes(count):
    return http_date(time.time() + count * 60)


def cases():
    """Return headers and the expected answer by name. Dates count from now: the tests may begin long after collection."""
    return {
        "basic": ({"authorization": "Basic b3BlcmF0b3I6cGFzc3dvcmQ="}, 200),
        "basic in lower case": ({"authorization": "basic b3BlcmF0b3I6cGFzc3dvcmQ="}, 200),
        "signature": (signed("GET", PATH), 200),
        "scheme in other case": (
            {
                **signed("GET", PATH),
                "authorization": signed("GET", PATH)["authorization"].replace("UPYUN", "UpYun"),
            },
            200,
        ),
        "x-date": ({("x-date" if k == "date" else k): v for k, v in signed("GET", PATH).items()}, 200),
        "29 minutes old": (signed("GET", PATH, when=minutes(-29)), 200),
        "token of a prefix": (token("/demo-bucket/"), 200),
        "token of a postfix": (token(postfix=".jpg"), 200),
        "token of both": (token("/demo-bucket/", ".jpg"), 200),
        "no authorization": ({}, 40100004),
        "unknown scheme": ({"authorization": "Bearer x"}, 40100003),
        "no date": ({"authorization": signed("GET", PATH)["authorization"]}, 40100001),
        "bad date": (signed("GET", PATH, when="yesterday"), 40100016),
        "31 minutes old": (signed("GET", PATH, when=minutes(-31)), 40100002),
        "31 minutes ahead": (signed("GET", PATH, when=minutes(31)), 40100002),
        "other password": (signed("GET", PATH, password="x"), 40100005),
        "other path": (signed("GET", "/demo-bucket/img-2.jpg"), 40100005),
        "other method": (signed("HEAD", PATH), 40100005),
        "unknown operator": (signed("GET", PATH, name="nobody"), 40100006),
        "basic with a bad password": (
            {"authorization": "Basic " + base64.b64encode(b"operator:x").decode()},
            40100009,
        ),
        "basic of nobody": ({"authorization": "Basic " + base64.b64encode(b"nobody:x").decode()}, 40100006),
        "basic that is no base64": ({"authorization": "Basic ***"}, 40100009),
        "operator without read": (signed("GET", PATH, name="writer", password="w"), 40100017),
        "operator that is blocked": (signed("GET", PATH, name="blocked", password="b"), 40100008),
        "token of another prefix": (token("/demo-bucket/photos/"), 40100022),
        "token of another postfix": (token("/demo-bucket/", ".png"), 40100023),
        "token that has expired": (token("/demo-bucket/", expire=1500000000), 40100024),
        "token of another password": (token("/demo-bucket/", password="x"), 40100025),
    }


@pytest.fixture(scope="module")
def guarded(host_for_module):
    return host_for_module(operators=["operator:password", "writer:w:write", "blocked:b:40100008"])


@pytest.mark.parametrize("case", cases())
def test_each_form_of_authorization(guarded, case):
    headers, expected = cases()[case]

    reply = guarded.rest(PATH, auth=False, **headers)

    assert reply.status == (expected if expected == 200 else 401)
    assert reply.headers["x-request-id"]
    if expected != 200:
        assert reply.code == expected


def test_an_unknown_bucket_is_refused(guarded):
    assert guarded.rest("/other-bucket/").code == 40100012


@pytest.mark.parametrize("target", ["/demo-bucket/?usage", "/demo-bucket/"])
def test_usage_may_be_signed_with_or_without_the_query(guarded, target):
    assert guarded.rest("/demo-bucket/?usage", auth=False, **signed("GET", target)).body == b"10000"


def test_the_raw_path_is_what_is_signed(host):
    hosted = host(spec="odd")
    for target in (
        "/demo-bucket/a%2Bb.jpg",
        "/demo-bucket/a+b.jpg",
        "/demo-bucket/dots/../up.jpg",
        "/demo-bucket/a//b.jpg",
    ):
        assert hosted.rest(target, auth=False, **signed("GET", target)).status == 200
    assert (
        hosted.rest("/demo-bucket/a+b.jpg", auth=False, **signed("GET", "/demo-bucket/a%2Bb.jpg")).code
        == 40100005
    )


def test_a_clock_that_is_ahead_refuses_what_is_signed_now_and_tells_its_time(host):
    hosted = host(clock_offset=7200)

    reply = hosted.rest(PATH, auth=False, **signed("GET", PATH))

    assert reply.code == 40100002
    assert hosted.rest(PATH, auth=False, **signed("GET", PATH, when=reply.headers["date"])).status == 200


@pytest.mark.parametrize("text", ["", "name", "name:"])
def test_an_operator_without_password_is_a_wrong_setting(text):
    from upyun_simulator import Settings

    with pytest.raises(ValueError, match="NAME:PASSWORD"):
        Settings(operators=(text,)).accounts()
