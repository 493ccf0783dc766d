"""What a source learns from answers: the server's clock, newer temporary keys; and which requests it makes."""

from email.utils import formatdate

import msgspec
import pytest

from bucketpull.domain.errors import AnswerError, Reason, Remedy
from bucketpull.domain.http_exchange import Response, Wanted
from bucketpull.domain.model import Position
from bucketpull.domain.retry import BOUNDS
from bucketpull.sources.s3.config import S3Config
from bucketpull.sources.s3.source import CDN, ORIGIN, S3Source

NOW = 1_700_000_000.0
SITE = "http://127.0.0.1:9000"


def _source(**options) -> S3Source:
    keys = {"access_key": "AKID", "secret_key": "secret"}
    return S3Source(S3Config.of("//photos/a", {"api_url": SITE, **keys, **options}).checked())


def _refusal(status: int, code: str, **headers: str) -> Response:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
    return Response(status, [b"HTTP/1.1 %d X\r\n" % status, *lines], [body], len(body), 0.1)


def _reason(source: S3Source, response: Response, now: float = NOW) -> Reason:
    with pytest.raises(AnswerError) as caught:
        source.read_page(source.root(), response, now)
    return caught.value.reason


def _date(request) -> str:
    return next(line for line in request.headers if line.startswith("x-amz-date"))


def test_a_key_is_sent_as_it_is_but_percent_encoded():
    wanted = Wanted(b"a", b"b/../c+d%/\xc3\xa9 .", 1, 0, "", "")
    request = _source().object_request(wanted, ORIGIN, SITE, NOW)
    assert request.url == SITE + "/photos/a/b/../c%2Bd%25/%C3%A9%20."


def test_a_page_is_asked_for_by_name_in_the_order_that_the_signature_wants():
    request = _source().list_request(Position(b"a", "b%2Fc"), SITE, NOW)
    path, _, query = request.url.partition("?")
    assert path == SITE + "/photos"
    assert query == "encoding-type=url&list-type=2&max-keys=1000&prefix=a%2F&start-after=a%2Fb%2Fc"


def test_the_cdn_is_asked_first_and_unsigned():
    source = _source(cdn_url="https://img.example.com/base/")
    wanted = Wanted(b"a", b"b.jpg", 1, 0, "", "")
    assert source.routes(b"a", b"b.jpg", 1) == (CDN, ORIGIN)
    request = source.object_request(wanted, CDN, "https://img.example.com", NOW)
    assert request.url == "https://img.example.com/base/a/b.jpg"
    assert not any("Authorization" in line for line in request.headers)


def test_the_rest_of_an_object_is_asked_for_of_one_version():
    wanted = Wanted(b"a", b"b", 10, 0, "", "")
    request = _source().object_request(wanted, ORIGIN, SITE, NOW, 5, '"v1"')
    assert request.headers[-2:] == ("Range: bytes=5-", 'If-Match: "v1"')


@pytest.mark.parametrize("options", [{}, {"access_key": "", "secret_key": "", "anonymous": True}])
def test_an_objects_checksum_is_asked_for_under_the_signature(options):
    source = _source(**options)
    request = source.object_request(Wanted(b"", b"k", 1, 0, "", ""), ORIGIN, SITE, NOW)
    assert "x-amz-checksum-mode: ENABLED" in request.headers
    assert options or ";x-amz-checksum-mode;x-amz-content-sha256;" in request.headers[0]
    assert not any("checksum" in line for line in source.list_request(source.root(), SITE, NOW).headers)


def test_who_pays_says_so_under_the_signature():
    request = _source(request_payer=True).object_request(Wanted(b"", b"k", 1, 0, "", ""), ORIGIN, SITE, NOW)
    assert "x-amz-request-payer: requester" in request.headers
    assert "x-amz-request-payer, Signature" in request.headers[0]


def test_a_clock_that_is_off_is_corrected_by_the_servers_date():
    source = _source()
    skewed = _refusal(403, "RequestTimeTooSkewed", Date=formatdate(NOW + 3600, usegmt=True))
    assert _reason(source, skewed) is Reason.CLOCK
    assert _date(source.list_request(source.root(), SITE, NOW)) == "x-amz-date: 20231114T231320Z"
    assert _reason(source, skewed) is Reason.SKEW


@pytest.mark.parametrize("date", [{}, {"Date": "now"}, {"Date": formatdate(NOW, usegmt=True)}])
def test_where_the_clock_cannot_be_corrected_it_is_the_clock_all_the_same_and_the_job_ends(date):
    source = _source()
    skewed = _refusal(403, "RequestTimeTooSkewed", **date)
    assert _reason(source, skewed) is Reason.SKEW
    assert source.judge(Wanted(b"a", b"b", 1, 0, "", ""), ORIGIN, skewed, NOW).reason is Reason.SKEW
    assert BOUNDS[Reason.SKEW].remedy is Remedy.STOP


def _keys_of_a_profile(home, token: str) -> None:
    (home / ".aws").mkdir(exist_ok=True)
    (home / ".aws/credentials").write_text(
        f"[default]\naws_access_key_id=B\naws_secret_access_key=C\naws_session_token={token}\n"
    )


def test_an_expired_token_is_renewed_where_there_is_a_newer_one(monkeypatch, tmp_path):
    monkeypatch.setattr("os.environ", {"HOME": str(tmp_path)})
    source = _source(session_token="old")
    expired = _refusal(400, "ExpiredToken")
    assert _reason(source, expired) is Reason.CREDENTIALS
    _keys_of_a_profile(tmp_path, "new")
    assert _reason(source, expired) is Reason.CLOCK
    request = source.list_request(source.root(), SITE, NOW)
    assert "x-amz-security-token: new" in request.headers
    assert _reason(source, expired, NOW + 2) is Reason.CREDENTIALS


def test_what_was_on_its_way_with_the_old_token_is_sent_again_with_the_new_one(monkeypatch, tmp_path):
    """Their pages were lost: the newer keys are those in use, so they were taken for refused."""
    monkeypatch.setattr("os.environ", {"HOME": str(tmp_path)})
    source = _source(session_token="old")
    _keys_of_a_profile(tmp_path, "new")
    expired = _refusal(400, "ExpiredToken")
    assert _reason(source, expired) is Reason.CLOCK
    slow = msgspec.structs.replace(expired, seconds=10.0)
    assert _reason(source, slow, NOW + 10) is Reason.CLOCK
    wanted = Wanted(b"a", b"b", 1, 0, "", "")
    assert source.judge(wanted, ORIGIN, slow, NOW + 10).reason is Reason.CLOCK
    assert source.judge(wanted, ORIGIN, slow, NOW + 20).reason is Reason.CREDENTIALS


ERROR = b'<?xml version="1.0"?>\n<Error><Code>%b</Code><Message>m</Message></Error>'


@pytest.mark.parametrize("listed", [9000, -1])
@pytest.mark.parametrize(
    ("code", "reason"),
    [(b"InternalError", Reason.SERVER_ERROR), (b"SlowDown", Reason.THROTTLED), (b"X", Reason.GARBAGE)],
)
def test_an_error_that_comes_with_status_200_is_no_object(code, reason, listed):
    """Two that were alike were taken for the object, and so was the first one where no length is listed."""
    body = ERROR % code
    response = Response(200, [b"HTTP/1.1 200 OK\r\n"], [body], len(body), 0.1)
    verdict = _source().judge(Wanted(b"", b"a", listed, 0, "", ""), ORIGIN, response, NOW)
    assert (verdict.reason, code.decode() in verdict.detail) == (reason, True)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (b"InternalError", Reason.SERVER_ERROR),
        (b"SlowDown", Reason.THROTTLED),
        (b"NoSuchBucket", Reason.NO_BUCKET),
        (b"X", Reason.GARBAGE),
    ],
)
def test_an_error_that_comes_with_status_200_in_place_of_a_page_is_that_error(code, reason):
    body = ERROR % code
    response = Response(200, [b"HTTP/1.1 200 OK\r\n"], [body], len(body), 0.1)
    assert _reason(_source(), response) is reason


@pytest.mark.parametrize(
    ("headers", "listed", "reason"),
    [
        ([], 9000, Reason.GARBAGE),
        (
            [b'ETag: "abc-2"\r\n'],
            9000,
            None,
        ),  # a later state of the object, perhaps: compared with another answer
        ([b'ETag: "abc-2"\r\n'], -1, None),
        ([], len(ERROR), None),
        ([], -1, Reason.GARBAGE),
    ],
)
def test_a_body_of_another_length_has_a_version_or_is_no_object(headers, listed, reason):
    response = Response(200, [b"HTTP/1.1 200 OK\r\n", *headers], [ERROR], len(ERROR), 0.1)
    assert _source().judge(Wanted(b"", b"a", listed, 0, "", ""), ORIGIN, response, NOW).reason is reason


@pytest.mark.parametrize(
    ("listed", "etag", "reason"),
    [
        (9000, 'W/"abc"', Reason.TRANSFORMED),
        (9000, '"abc-2"', Reason.TRANSFORMED),
        (-1, 'W/"abc"', Reason.TRANSFORMED),
        (-1, '"abc-2"', None),
        (30, 'W/"abc"', None),
        (9000, '"0123456789abcdef0123456789abcdef"', None),  # compared with the body's own
    ],
)
def test_what_a_proxy_has_compressed_is_not_the_object_and_what_was_stored_so_is(listed, etag, reason):
    headers = [b"HTTP/1.1 200 OK\r\n", b"Content-Encoding: gzip\r\n", f"ETag: {etag}\r\n\r\n".encode()]
    response = Response(200, headers, [b"x" * 30], 30, 0.1)
    assert _source().judge(Wanted(b"", b"a", listed, 0, "", ""), ORIGIN, response, NOW).reason is reason


@pytest.mark.parametrize(
    ("length", "changed", "reason"),
    [
        (30, NOW, Reason.TRUNCATED),
        (30, NOW + 1, None),  # a later state of the object
        (30, None, None),
        (
            9001,
            NOW,
            None,
        ),  # the list may state what a gateway stores, compressed: two answers that are alike decide
    ],
)
def test_what_has_not_changed_and_is_shorter_than_listed_is_cut(length, changed, reason):
    """Two such answers were alike, and stored, with exit 0: a body that a failing disk cut, under an ETag that is no MD5."""
    headers = [b"HTTP/1.1 200 OK\r\n", b'ETag: "abc-2"\r\n']
    if changed is not None:
        headers.append(f"Last-Modified: {formatdate(changed, usegmt=True)}\r\n".encode())
    response = Response(200, headers, [b"x" * length], length, 0.1)
    verdict = _source().judge(Wanted(b"", b"a", 9000, int(NOW), "", ""), ORIGIN, response, NOW)
    assert verdict.reason is reason
    assert reason is None or verdict.detail == "30 bytes came, 9000 are listed, and it has not changed since"


@pytest.mark.parametrize(
    ("name", "listed", "kind", "reason"),
    [
        (b"a.jpg", 9000, "text/html; charset=utf-8", Reason.GARBAGE),
        (b"a.HTML", 9000, "text/html", None),
        (b"a.jpg", 9000, "image/jpeg", None),
        (b"a.jpg", 30, "text/html", None),
        (b"a.jpg", -1, "text/html", None),
    ],
)
def test_a_web_servers_page_is_not_the_object_though_it_has_an_etag_and_a_date(name, listed, kind, reason):
    """A maintenance page was stored in place of each object, in doubt, and with exit 0: each time it was alike."""
    date = formatdate(NOW + 9, usegmt=True).encode()
    headers = [b'ETag: "5f-6"\r\n', b"Last-Modified: %b\r\n" % date, f"Content-Type: {kind}\r\n".encode()]
    response = Response(200, [b"HTTP/1.1 200 OK\r\n", *headers], [b"<" * 30], 30, 0.1)
    verdict = _source().judge(Wanted(b"", name, listed, int(NOW), "", ""), ORIGIN, response, NOW)
    assert verdict.reason is reason


@pytest.mark.parametrize("etag", ['"5f-6"', '"0123456789abcdef0123456789abcdef"'])
def test_an_answer_that_other_objects_get_too_is_none_of_them_unless_it_has_the_listed_length(etag):
    """A page without a type, or nothing at all, came twice alike for each object, and was stored for each."""
    source = _source()
    lines = [b"HTTP/1.1 200 OK\r\n", f"ETag: {etag}\r\n".encode()]
    answer = Response(200, lines, [b"x" * 30], 30, 0.1)

    def reason(name, listed=9000):
        return source.judge(Wanted(b"d", name, listed, 0, "", ""), ORIGIN, answer, NOW).reason

    assert [reason(name) for name in (b"a", b"a", b"b", b"a")] == [None, None, Reason.GARBAGE, Reason.GARBAGE]
    assert [reason(b"c", 30), reason(b"c", -1)] == [None, None]


def test_a_signature_that_only_an_odd_key_gets_wrong_is_that_keys_trouble():
    source = _source()
    wrong = _refusal(403, "SignatureDoesNotMatch")
    odd, plain = (Wanted(b"", name, 1, 0, "", "") for name in (b"a b", b"ab"))
    assert source.judge(odd, ORIGIN, wrong, NOW).reason is Reason.FORBIDDEN
    assert source.judge(plain, ORIGIN, wrong, NOW).reason is Reason.CREDENTIALS


def test_a_page_with_keys_of_another_folder_is_refused():
    body = (
        b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>z/1</Key><LastModified></LastModified>"
        b"<ETag></ETag><Size>1</Size></Contents></ListBucketResult>"
    )
    response = Response(200, [b"HTTP/1.1 200 OK\r\n"], [body], len(body), 0.1)
    assert _reason(_source(), response) is Reason.GARBAGE


def test_a_key_of_another_folder_is_that_entrys_failure():
    """It cost the page, and all keys behind it, after a quarter of an hour."""
    entry = b"<Contents><Key>%b</Key><LastModified></LastModified><ETag></ETag><Size>%d</Size></Contents>"
    body = b"".join(entry % pair for pair in ((b"a/1", 1), (b"z/1", 2), (b"a/2", 3)))
    source = _source(lists_versions=True)
    page = source.read_page(source.root(), _page(body), NOW)
    assert (page.part.names, page.part.sizes) == ([b"1", b"2"], [1, 3])
    assert page.odd == ("keys that are not below 'a/', such as 'z/1': 1",)


def _page(entries: bytes = b"", truncated: bytes = b"false") -> Response:
    body = b"<ListBucketResult><IsTruncated>%b</IsTruncated><NextContinuationToken>t</NextContinuationToken>%b</ListBucketResult>"
    body %= truncated, entries
    return Response(200, [b"HTTP/1.1 200 OK\r\n"], [body], len(body), 0.1)


def test_a_folder_that_no_key_begins_with_is_not_there():
    source = _source()
    assert _reason(source, _page()) is Reason.NO_BUCKET
    assert source.read_page(source.root(), _page(truncated=b"true"), NOW).following
    assert source.read_page(Position(b"a", "k"), _page(), NOW).part.names == []
    whole = S3Source(S3Config.of("//photos", {"api_url": SITE, "anonymous": True}).checked())
    assert whole.read_page(whole.root(), _page(), NOW).part.names == []
