"""Signatures and tokens: vectors of documents and of clients in use."""

import pytest

from bucketpull.sources.upyun.signing import (
    SignedAuthorization,
    by_password,
    by_token,
    cdn_token,
    password_key,
    read_token,
    signature,
)

_DATE = "Wed, 09 Nov 2016 14:26:58 GMT"
_SECOND = 1478701618.0


@pytest.mark.parametrize(
    ("parts", "signed"),
    [
        (
            ("PUT", "/upyun-temp/demo.jpg", _DATE, "7ac66c0f148de9519b8bd264312c4d64"),
            "YUaAZX+WNAcJdNGHS5SBlITME5A=",
        ),
        (("GET", "/demo-bucket/", _DATE, ""), "9pu/aAjEmqEhAgaF7GW+80wQh44="),
        (("GET", "/demo-bucket/?usage", _DATE), "fTzLM2ll1z4MXn3jTB56ptul7Cs="),
        (("GET", "/demo-bucket/%E4%B8%AD%E6%96%87%20a%2Bb.jpg", _DATE), "YN/bRN4V57Wn7263qzWbpn7kyn4="),
        (("HEAD", "/demo-bucket/a.jpg", _DATE), "AAGCecz9h0EKwlWjc1JGaELf3K8="),
    ],
)
def test_signatures_are_those_of_the_contract(parts, signed):
    assert signature(password_key("password123"), *parts) == signed


def test_a_token_is_that_of_the_contract():
    assert (
        signature(
            b"4758a92de3f4dd368c01e0dad8578481",
            "POST",
            "/api/v1/echo",
            "Fri, 20 Jan 2017 08:46:20 GMT",
            "d36489794822f8d33fd28217d8a5bed4",
        )
        == "kfIIHZ+vY9qwp+cZXE2m7jGWzcE="
    )
    assert signature(password_key("password123"), "GET", "/b/", "5") == read_token("password123", "/b/", 5)


def test_a_request_is_signed_with_the_date_of_its_second():
    authorization = SignedAuthorization("op", "password123")

    assert authorization.lines("/demo-bucket/", _SECOND + 0.9) == (
        "Authorization: UPYUN op:9pu/aAjEmqEhAgaF7GW+80wQh44=",
        f"Date: {_DATE}",
    )
    assert authorization.lines("/demo-bucket/", _SECOND + 1.0)[1] == "Date: Wed, 09 Nov 2016 14:26:59 GMT"


def test_basic_and_token_give_the_same_lines_every_time():
    for authorization in (by_password("op", "pw"), by_token("op", "t", "/b/", 9)):
        assert authorization.lines("/a", 1.0) is authorization.lines("/b", 2.0)
    assert by_password("op", "pw").lines("/", 0.0) == ("Authorization: Basic b3A6cHc=",)


@pytest.mark.parametrize(
    ("path", "token"),
    [
        ("/dir/pic.jpg", "0c74625e1370000600"),
        ("/目录/pic 1.jpg", "e1f30dba1370000600"),
        ("/%E7%9B%AE%E5%BD%95/pic%201.jpg", "fbb891a51370000600"),
    ],
)
def test_cdn_tokens_are_those_of_the_contract(path, token):
    assert cdn_token("secret", 1370000600, path.encode()) == token
