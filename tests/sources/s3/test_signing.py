"""Signature Version 4: the same as botocore for any key, query, region and header."""

import datetime as dt
from unittest.mock import patch
from urllib.parse import quote

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.keys import quoted
from bucketpull.sources.s3.signing import Anonymous, Credentials, Signer


def test_a_request_says_who_signed_what_and_when():
    signer = Signer(Credentials("AKIAIOSFODNN7EXAMPLE", "secret"), "us-east-1", "b.s3.amazonaws.com")
    lines = signer.lines("/test.txt", "", 1369353600.0)
    assert lines[0].startswith(
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
    )
    assert lines[1:] == ("x-amz-content-sha256: UNSIGNED-PAYLOAD", "x-amz-date: 20130524T000000Z")


def _botocore(url: str, credentials: Credentials, region: str, headers, now: float) -> str:
    """Sign with botocore, its clock set to `now`."""
    request = AWSRequest(method="GET", url=url, headers=dict(headers))
    request.context["payload_signing_enabled"] = False
    request.context["client_config"] = None
    signer = auth.S3SigV4Auth(
        BotoCredentials(credentials.access_key, credentials.secret_key, credentials.session_token or None),
        "s3",
        region,
    )
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    with (
        patch.object(auth, "get_current_datetime", lambda *_args, **_kw: moment.replace(tzinfo=None)),
        patch.object(signer, "_should_sha256_sign_payload", lambda _: False),
    ):
        signer.add_auth(request)
    return request.headers["Authorization"]


_keys = st.binary(min_size=1, max_size=60) | st.text(
    st.sampled_from("ab/.+% ~*é中😀&=?#;\\'\"\n"), min_size=1, max_size=40
).map(str.encode)


@given(
    key=_keys,
    query=st.dictionaries(
        st.sampled_from(["list-type", "start-after", "prefix", "max-keys"]), st.text(max_size=20)
    ),
    region=st.sampled_from(["us-east-1", "cn-north-1", "auto", ""]),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=50),
    token=st.sampled_from(["", "FwoGZXIvYXdzEJr//////////wEaDA=="]),
    pays=st.booleans(),
    now=st.integers(0, 4_000_000_000),
)
def test_a_signature_is_that_of_botocore(key, query, region, secret, token, pays, now):
    credentials = Credentials("AKID", secret, token)
    headers = (("x-amz-request-payer", "requester"),) if pays else ()
    path = "/bucket/" + quoted(key)
    # surrogates cannot be sent; the query's text is UTF-8
    pairs = sorted((name, quote(value, safe="~")) for name, value in query.items())
    text = "&".join(f"{name}={value}" for name, value in pairs)
    url = "http://127.0.0.1:9000" + path + (f"?{text}" if text else "")

    signer = Signer(credentials, region, "127.0.0.1:9000", headers)
    ours = signer.lines(path, text, float(now))

    assert ours[0].removeprefix("Authorization: ") == _botocore(url, credentials, region, headers, now)


def test_the_key_is_derived_once_a_day_and_again_the_next():
    signer = Signer(Credentials("AKID", "secret"), "us-east-1", "h")
    day = 1_700_000_000 // 86_400 * 86_400
    for now in (day, day + 1, day + 86_399, day + 86_400, day):
        fresh = Signer(Credentials("AKID", "secret"), "us-east-1", "h")
        assert signer.lines("/b/k", "", float(now)) == fresh.lines("/b/k", "", float(now))


def test_who_is_anonymous_signs_nothing():
    assert Anonymous().lines("/b/k", "", 1.0) == ()
    assert Anonymous((("x-amz-request-payer", "requester"),)).lines("/b", "", 1.0) == (
        "x-amz-request-payer: requester",
    )


def test_credentials_do_not_show_their_secret():
    shown = repr(Credentials("AKID", "hush", "token"))
    assert "hush" not in shown
    assert "token" not in shown
