"""Requests for objects, and which answers are taken for them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listing_world import SITE, answer, ask_for, header_of, judge_of, source

from bucketpull.domain.errors import AnswerError, ConfigError, Reason
from bucketpull.domain.http_exchange import Response, Wanted
from bucketpull.sources.upyun.config import UpyunConfig
from bucketpull.sources.upyun.signing import cdn_token
from bucketpull.sources.upyun.source import UpyunSource

_MD5 = "7ac66c0f148de9519b8bd264312c4d64"
_JPEG = b"\xff\xd8" + b"x" * 98


def _cdn(**options):
    return source(cdn_url="https://cdn.example.com", **options)


def _judge(response, endpoint="cdn", name=b"a.jpg", size=100, start=0, version="", mtime=-1, **options):
    return judge_of(_cdn(**options), name, size, endpoint, response, 1e9, start, version, mtime)


def _good(body=_JPEG, **headers):
    return answer(
        200,
        body,
        {"Content-Type": "image/jpeg", "ETag": f'"{_MD5}"'}
        | {k.replace("_", "-"): v for k, v in headers.items()},
    )


def test_urls_hold_the_key_byte_for_byte():
    request = ask_for(_cdn(), "目".encode(), b"a b+c#?%2F~.jpg", 1, "cdn", 1e9)

    assert request.url == "https://cdn.example.com/%E7%9B%AE/a%20b%2Bc%23%3F%252F~.jpg"
    assert (
        ask_for(_cdn(), b"a/..//.", b"\xff\n", 1, "cdn", 1e9).url == "https://cdn.example.com/a/..//./%FF%0A"
    )


def test_requests_to_the_cdn_share_their_headers_and_carry_no_credentials():
    bucket = _cdn(referer="https://me.example", headers=("X-Who: me",), user_agent="ua")
    first, second = (ask_for(bucket, b"", name, 1, "cdn", 1e9) for name in (b"a", b"b"))

    assert first.headers is second.headers
    assert set(first.headers) == {
        "Accept: */*",
        "Accept-Encoding: identity",
        "User-Agent: ua",
        "Referer: https://me.example",
        "X-Who: me",
    }


def test_requests_to_the_origin_are_signed_and_say_that_a_file_is_wanted():
    request = ask_for(source(), b"d", b"a.jpg", 1, "rest", 1e9)

    assert request.url == "https://v0.api.upyun.com/demo/d/a.jpg"
    assert header_of(request, "Authorization").startswith("UPYUN op:")
    assert header_of(request, "x-upyun-folder") == "false"
    assert header_of(request, "Accept-Encoding") == "identity"


def test_a_worker_with_a_token_needs_no_password():
    secrets = UpyunConfig(bucket="demo", operator="op", password="secret").worker_secrets(1_600_000_000)
    token, expires = secrets["UPYUN_TOKEN"], int(secrets["UPYUN_TOKEN_EXPIRES"])
    config = UpyunConfig(bucket="demo", operator="op", token=token, token_expires=expires)
    request = ask_for(UpyunSource(config), b"", b"a", 1, "rest", 1e9)

    assert config.password == ""
    assert header_of(request, "X-Upyun-Uri-Prefix") == "/demo/"
    assert header_of(request, "X-Upyun-Expire") == "1600000000"
    assert request.headers[:3] == ask_for(UpyunSource(config), b"", b"b", 1, "rest", 2e9).headers[:3]


def test_a_protected_domain_gets_a_token_of_the_decoded_path_that_stays_the_same():
    bucket = _cdn(token_secret="secret")

    first, later = (
        ask_for(bucket, "目录".encode(), b"pic 1.jpg", 1, "cdn", now).url for now in (1.6e9, 1.6e9 + 9999)
    )

    assert first == later
    address, _, told = first.partition("?_upt=")
    assert address.endswith("/pic%201.jpg")
    assert told == cdn_token("secret", int(told[8:]), "/目录/pic 1.jpg".encode())
    assert 1.6e9 + 300 * 86_400 < int(told[8:]) < 1.6e9 + 400 * 86_400


def test_the_cdn_is_asked_first_but_not_for_keys_with_the_separator_anywhere():
    assert source().routes(b"d", b"a", 1) == ("rest",)
    assert _cdn().routes(b"d", b"a", 1) == ("cdn", "rest")
    assert _cdn().routes(b"d", b"a!b", 1) == ("rest",)
    assert _cdn().routes(b"d!e/f", b"a", 1) == ("rest",)
    assert _cdn(separator="_").routes(b"d!e", b"a_b", 1) == ("rest",)
    assert _cdn(style="!s400").routes(b"d", b"a", 1) == ("cdn",)


@pytest.mark.parametrize(
    ("directory", "name"),
    [(b"a/", b"b.jpg"), (b"a//c", b"b.jpg"), (b"./a", b"b.jpg"), (b"a/..", b"b.jpg"), (b"..", b"b.jpg"), (b"", b".."),
     (b"", b"/b.jpg"), (b"a", b""), (b"a", b"."), (b"a", b"c/../b.jpg")],
)  # fmt: skip
def test_a_key_that_means_another_object_once_it_is_normalised_is_had_from_the_origin(directory, name):
    assert _cdn().routes(directory, name, 1) == ("rest",)
    assert _cdn().routes(b"a/...", b".hidden", 1) == ("cdn", "rest")


@pytest.mark.parametrize("key", [(b"x!s400", b"z.jpg"), (b"d", b"z!s400.jpg"), (b"d/..", b"z.jpg")])
def test_an_image_version_of_a_key_with_the_separator_cannot_be_asked_for(key):
    with pytest.raises(AnswerError, match="'!' or an empty segment") as refused:
        _cdn(style="!s400").routes(*key, 1)

    assert refused.value.reason is Reason.REJECTED


def test_a_style_is_part_of_the_url_and_any_length_is_its_length():
    bucket = _cdn(style="!s400")

    assert ask_for(bucket, b"", b"a.jpg", 100, "cdn", 1e9).url == "https://cdn.example.com/a.jpg!s400"
    verdict = judge_of(bucket, b"a.jpg", 9999, "cdn", _good(), 1e9)
    assert (verdict.reason, verdict.size, verdict.md5) == (None, 100, "")


@pytest.mark.parametrize(
    ("body", "kind"), [(b"", "image/jpeg"), (b"login required", "text/plain")], ids=["empty", "text"]
)
def test_nothing_and_a_text_are_no_image_version(body, kind):
    """A version has a length of its own, so any was taken, and stored for each object."""
    response = _good(body, Content_Type=kind)

    assert _judge(response, style="!s400").reason is Reason.WRONG_CONTENT
    assert _judge(response, style="!s400", name=b"empty", size=0).reason is None


def test_a_whole_object_is_taken_with_the_md5_that_its_answer_states():
    verdict = _judge(_good())

    assert (verdict.reason, verdict.size, verdict.md5) == (None, 100, _MD5)


@pytest.mark.parametrize(
    ("headers", "md5"),
    [
        ({"ETag": '"abc-2"', "Content-MD5": _MD5}, _MD5),
        ({"ETag": '"abc-2"'}, ""),
        ({"Content-MD5": _MD5.upper()}, _MD5),
        ({"etag": f'"{_MD5.upper()}"'}, _MD5),
        ({}, ""),
        ({"ETag": _MD5}, ""),
        ({"Content-MD5": "esZsDxSN6VGbi9JkMSxNZA=="}, ""),
    ],
)
@pytest.mark.parametrize("endpoint", ["cdn", "rest"])
def test_an_md5_is_32_hexadecimal_digits_or_none(headers, md5, endpoint):
    assert _judge(answer(200, _JPEG, headers), endpoint).md5 == md5


@pytest.mark.parametrize(
    ("headers", "size", "reason"),
    [
        ({}, 100, Reason.GARBAGE),
        ({"Last-Modified": "Mon, 14 Sep 2020 12:26:40 GMT"}, 100, Reason.SIZE),
        ({"ETag": '"x"'}, 100, Reason.SIZE),
        ({}, -1, Reason.SIZE),
    ],
)
def test_what_is_longer_than_memory_should_hold_is_worth_reading_only_if_it_states_a_version(
    headers, size, reason
):
    response = answer(200, b"", headers)
    response.failure, response.detail = Reason.SIZE, "20971520 bytes are declared"
    verdict = _judge(response, "rest", size=size)

    assert verdict.reason is reason
    assert verdict.detail.startswith("20971520 bytes are declared")


def test_an_empty_object_is_an_object():
    assert _judge(answer(200, b""), size=0).reason is None


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (_good(_JPEG[:50]), Reason.SIZE),
        (_good(Content_Encoding="gzip"), Reason.TRANSFORMED),
        (_good(ETag=f'W/"{_MD5}"'), Reason.TRANSFORMED),
        (_good(X_Error_Code="50300006"), Reason.WRONG_CONTENT),
        (_good(X_Error_Code="42900001"), Reason.THROTTLED),
        (_good(b"<html>" + b" " * 94, Content_Type="text/html"), Reason.WRONG_CONTENT),
        (_good(b"<html>" + b" " * 94), Reason.WRONG_CONTENT),
        (_good(b'{"msg":"too many requests","code":42900001}', Content_Type="application/json"), Reason.THROTTLED),
        (_good(b'{"msg":"too many requests"}'.ljust(100)), Reason.THROTTLED),
        (_good(b"x" * 100, Content_Type="text/html; charset=utf-8"), Reason.WRONG_CONTENT),
        (answer(302, b"", {"Location": "/error.jpg"}), Reason.REDIRECTED),
        (answer(206, _JPEG, {"Content-Range": "bytes 7-106/107"}), Reason.RANGE),
        (_good(Content_Range="bytes 7-106/107"), Reason.RANGE),
        (answer(204, b""), Reason.GARBAGE),
    ],
)  # fmt: skip
def test_the_cdn_s_doubtful_answers_are_not_taken(response, reason):
    assert _judge(response).reason is reason


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (_good(x_upyun_list_iter="abc="), Reason.NOT_A_FILE),
        (_good(X_Error_Code="50300006"), Reason.SERVER_ERROR),
        (answer(200, b"<html>" + b" " * 40, {"Content-Type": "text/html"}), Reason.GARBAGE),
        (answer(200, b"<html>" + b" " * 94, {"Content-Type": "text/html"}), Reason.GARBAGE),
        (_good(b"<html>" + b" " * 94, Content_Type="text/html"), Reason.GARBAGE),
        (_good(_JPEG[:50]), None),
        (_good(ETag=f'W/"{_MD5}"'), None),
    ],
)
def test_the_origin_is_believed_where_it_speaks_of_the_object(response, reason):
    assert _judge(response, "rest").reason is reason


@pytest.mark.parametrize(
    "response",
    [
        _good(Content_Encoding="aws-chunked"),
        _good(Content_Encoding="utf-8"),
        _good(ETag=f'W/"{_MD5}"'),
        _good(Content_Type="text/html"),
        _good(b"<svg>" + b" " * 95),
        _good(b"{" + b" " * 99),
        _good(b"<svg>" + b" " * 40),
    ],
)
def test_a_whole_body_that_only_looks_odd_may_be_the_object_and_its_md5_is_told(response):
    verdict = _judge(response)

    assert (verdict.doubtful, verdict.md5) == (True, _MD5)
    assert verdict.reason in {Reason.TRANSFORMED, Reason.WRONG_CONTENT}


@pytest.mark.parametrize(
    "response",
    [
        _good(x_upyun_list_iter="abc="),
        _good(X_Error_Code="50300006"),
        answer(403, _JPEG, {"ETag": f'"{_MD5}"'}),
        answer(206, _JPEG, {"Content-Range": "bytes 7-106/107", "ETag": f'"{_MD5}"'}),
    ],
)
@pytest.mark.parametrize("endpoint", ["cdn", "rest"])
def test_a_refusal_is_never_the_object_whatever_its_body_holds(response, endpoint):
    assert _judge(response, endpoint).doubtful is False


@pytest.mark.parametrize(
    ("listed", "stated", "other"),
    [
        (1_600_000_000, "Sun, 13 Sep 2020 12:26:40 GMT", False),
        (1_600_000_000, "Sun, 13 Sep 2020 12:26:41 GMT", True),
        (1_600_000_000, "Sun, 13 Sep 99999999999999 12:26:41 GMT", False),
        (1_600_000_000, "yesterday", False),
        (-1, "Sun, 13 Sep 2020 12:26:41 GMT", False),
    ],
)
def test_only_the_origin_s_own_date_says_that_an_object_of_another_size_changed(listed, stated, other):
    response = _good(_JPEG[:50], Last_Modified=stated)

    assert _judge(response, "rest", mtime=listed).other_size is other


def test_a_page_in_place_of_any_object_at_the_origin_is_passing_trouble():
    page = answer(200, b"<html>busy</html>", {"Content-Type": "text/html"})

    assert _judge(page, "rest", b"notes.txt").reason is Reason.GARBAGE
    assert _judge(page, "rest", b"no-extension").reason is Reason.GARBAGE


def test_an_answer_that_other_objects_get_too_is_none_of_them_unless_it_has_the_listed_length():
    """A proxy's image or text, or nothing at all, with a date or an ETag of its own, was stored in place of every object."""
    bucket = _cdn()
    response = answer(
        200, b"x" * 30, {"Content-Type": "image/png", "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    )

    def reason(name, endpoint="rest", size=100):
        return judge_of(bucket, name, size, endpoint, response, 1e9, 0, "", 1_600_000_000).reason

    assert [reason(name) for name in (b"a", b"a", b"b", b"a")] == [None, None, Reason.GARBAGE, Reason.GARBAGE]
    assert [reason(b"c", size=30), reason(b"c", size=-1)] == [None, None]


def test_what_the_cdn_gives_for_several_objects_is_none_of_them_by_rest_either():
    bucket = _cdn()
    response = answer(200, b"x" * 30, {"ETag": f'"{_MD5}"'})

    def reason(name, endpoint):
        return judge_of(bucket, name, 100, endpoint, response, 1e9, 0, "", 1_600_000_000).reason

    assert [reason(name, "cdn") for name in (b"a", b"b")] == [Reason.SIZE, Reason.SIZE]
    assert reason(b"a", "rest") is Reason.GARBAGE


def test_markup_is_taken_where_the_name_promises_none_else():
    page = _good(b"<html>" + b" " * 94, Content_Type="text/html")

    assert _judge(page, name=b"index.html").reason is None
    assert _judge(page, name=b"noext").reason is None


def test_headers_of_a_redirect_before_are_not_the_object_s():
    lines = [
        b"HTTP/1.1 302 Found\r\n",
        b'ETag: "' + b"0" * 32 + b'"\r\n',
        b"\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"\r\n",
    ]
    response = Response(200, lines, [_JPEG], 100, 0.1)

    assert _judge(response, "rest").md5 == ""


def test_a_transfer_that_broke_off_keeps_its_reason_and_names_its_version():
    response = _good()
    response.failure, response.received = Reason.RESET, 40

    verdict = _judge(response)

    assert (verdict.reason, verdict.version) == (Reason.RESET, f'"{_MD5}"')


def test_the_rest_of_an_object_is_asked_for_in_the_version_that_was_begun():
    request = ask_for(_cdn(), b"", b"a", 100, "cdn", 1e9, 40, f'"{_MD5}"')
    assert request.headers[-2:] == ("Range: bytes=40-", f'If-Match: "{_MD5}"')

    dated = ask_for(_cdn(), b"", b"a", 100, "cdn", 1e9, 40, "date:Wed, 09 Nov 2016 14:26:58 GMT")
    assert dated.headers[-1] == "If-Unmodified-Since: Wed, 09 Nov 2016 14:26:58 GMT"


def _part(begin=40, total=100, etag=f'"{_MD5}"', length=60):
    return answer(
        206, b"x" * length, {"Content-Range": f"bytes {begin}-{begin + length - 1}/{total}", "ETag": etag}
    )


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (_part(), None),
        (_part(etag='"other"'), Reason.RANGE),
        (_part(begin=41, length=59), Reason.RANGE),
        (_part(length=50), Reason.TRUNCATED),
        (_part(total=200), Reason.TRUNCATED),
        (answer(206, b"x" * 60, {"ETag": f'"{_MD5}"'}), Reason.RANGE),
        (_good(), Reason.RANGE),
        (answer(416, b""), Reason.RANGE),
        (answer(412, b'{"msg":"precondition failed","code":41200001,"id":"1"}'), Reason.RANGE),
        (answer(400, b'{"msg":"wrong range","code":40001161,"id":"1"}'), Reason.RANGE),
    ],
)
def test_a_part_is_taken_only_if_it_fits_what_is_there(response, reason):
    for endpoint in ("rest", "cdn"):
        if response.status == 400 and endpoint == "cdn":
            continue
        verdict = _judge(response, endpoint, start=40, version=f'"{_MD5}"')
        assert verdict.reason is reason
        assert reason is not None or verdict.size == 100


_VALUES = st.sampled_from([
    "", '"x"', "w/", 'W/"abc"', "9" * 400, "-1", "gzip", "text/html", "bytes 1-", "bytes 7-16/17", "bytes " + "9" * 30 + "-/*",
    f'"{_MD5}"', "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999999999999999999 08:49:37 GMT", "Sun, 99 Nov 1994 99:99:99 GMT",
    "42900001", "42900001x", "é", "\x00", "NaN",
])  # fmt: skip
_HEADERS = st.sampled_from([
    "ETag", "etag", "Content-MD5", "Content-Type", "Content-Encoding", "Content-Range", "Content-Length", "Last-Modified", "Date",
    "Location", "Retry-After", "x-error-code", "x-upyun-list-iter", "X",
])  # fmt: skip
_LINES = st.lists(
    st.builds(lambda name, value: f"{name}: {value}\r\n".encode("latin-1"), _HEADERS, _VALUES)
    | st.sampled_from(
        [b":\r\n", b"\xff\r\n", b"HTTP/1.1 200 x\r\n", b"HTTP/1.1 103 Early Hints\r\n", b"\r\n"]
    )
    | st.binary(max_size=30),
    max_size=8,
)
_BODIES = st.binary(max_size=50) | st.sampled_from(
    [
        b"<html>",
        b'{"code":42900001}',
        b'{"code":' + b"9" * 5000 + b"}",
        b"[" * 4000,
        b'{"msg":7,"code":null}',
        b"\xef\xbb\xbf{",
    ]
)


@settings(max_examples=400)
@given(
    _LINES,
    _BODIES,
    st.sampled_from([0, 103, 200, 204, 206, 302, 304, 400, 401, 403, 404, 416, 429, 499, 503, 999]),
    st.sampled_from(["cdn", "rest"]),
    st.sampled_from([-1, 0, 6, 17, 60]),
    st.sampled_from([-1, 0, 784_111_777, 2**40]),
    st.sampled_from([None, Reason.RESET, Reason.TRUNCATED, Reason.SIZE]),
)
def test_any_answer_can_be_judged_and_is_good_only_if_it_is_whole(
    lines, body, status, endpoint, size, mtime, failure
):
    response = Response(status, lines, [body] if body else [], len(body), 0.1, failure)

    for start in (0, 7):
        verdict = _judge(response, endpoint, size=size, start=start, version='"x"', mtime=mtime)
        assert verdict.reason is None or isinstance(verdict.reason, Reason)
        assert verdict.reason is not None or (failure is None and status in {200, 206})
        assert verdict.reason is None or not (verdict.doubtful and failure)
        assert (verdict.md5 == "") or len(bytes.fromhex(verdict.md5)) == 16
        if verdict.reason is None and size >= 0 and not verdict.other_size and endpoint == "cdn":
            assert verdict.start + len(body) == size
        assert verdict.retry_after_seconds is None or 0 <= verdict.retry_after_seconds <= 3600


def test_the_headers_of_an_early_hint_are_not_the_object_s():
    lines = [
        b"HTTP/1.1 103 Early Hints\r\n", b'ETag: "' + b"0" * 32 + b'"\r\n', b"\r\n", b"HTTP/1.1 200 OK\r\n",
        b"Content-Type: image/jpeg\r\n", b"\r\n",
    ]  # fmt: skip
    for endpoint in ("cdn", "rest"):
        verdict = _judge(Response(200, lines, [_JPEG], 100, 0.1), endpoint)

        assert (verdict.reason, verdict.md5) == (None, "")


def test_usage_is_a_number_of_bytes():
    usage = source().usage_query(SITE, 1e9)

    assert usage.request.url == "https://v0.api.upyun.com/demo/?usage"
    assert usage.read(answer(200, b" 280\n")) == 280
    for response in (answer(200, b"{}"), answer(200, b""), answer(401, b'{"code":40100006}')):
        with pytest.raises(AnswerError):
            usage.read(response)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bucket": ""}, "bucket"),
        ({"bucket": "a/b"}, "bucket"),
        ({"operator": ""}, "UPYUN_OPERATOR"),
        ({"password": ""}, "UPYUN_PASSWORD"),
        ({"auth": "basic", "api_url": "http://v0.api.upyun.com"}, "not https"),
        ({"api_url": "ftp://x"}, "--api-url"),
        ({"cdn_url": "https://u@x/"}, "--cdn-url"),
        ({"cdn_url": "https://x ftp://y"}, "--cdn-url 'ftp://y'"),
        ({"cdn_url": "https://x/a https://y/b"}, "the same path"),
        (
            {"auth": "basic", "api_url": "https://v0.api.upyun.com http://v1.api.upyun.com"},
            "http://v1.api.upyun.com is not https",
        ),
        ({"style": "!s"}, "--cdn-url"),
        ({"headers": ("a: b", "s3cret")}, "source: header 2 has no colon; write 'Name: value'$"),
        ({"headers": ("a: b\r\nc: d",)}, "printable ASCII"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(options, words):
    with pytest.raises(ConfigError, match=words):
        source(**options)


def test_several_urls_are_the_sites_of_one_endpoint():
    several = source(api_url="auto", cdn_url="https://a.example.com/base/ http://b.example.com:8080/base")
    listing, copies, origin = several.endpoints

    assert listing.sites == origin.sites
    assert origin.sites == tuple(f"https://v{number}.api.upyun.com" for number in range(4))
    assert copies.sites == ("https://a.example.com", "http://b.example.com:8080")
    assert copies.title == "the CDN a.example.com, b.example.com:8080"
    wanted = Wanted(b"d", b"a.jpg", 5, 0, "", "")
    assert (
        several.object_request(wanted, "cdn", copies.sites[1], 1e9).url
        == "http://b.example.com:8080/base/d/a.jpg"
    )


def test_secrets_are_not_shown():
    shown = repr(
        UpyunConfig(
            bucket="b", operator="o", password="pw-secret", token_secret="cs-secret", token="tk-secret"
        )
    )

    assert "secret" not in shown.replace("token_secret", "")
    assert "bucket='b'" in shown


def test_a_part_that_comes_with_status_200_is_put_where_its_header_says():
    headers = {"Content-Range": "bytes 40-99/100", "ETag": f'"{_MD5}"'}
    verdict = _judge(answer(200, b"x" * 60, headers), start=40, version=f'"{_MD5}"')

    assert (verdict.reason, verdict.start) == (None, 40)
