"""What a worker takes of a source from its coordinator, and what its own operator alone says."""

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.sources.registry import pack, unpack
from bucketpull.sources.upyun.config import UpyunConfig

API = "https://api.example.com"


def config(**changes):
    usual = {"bucket": "photos", "api_url": API, "operator": "boss", "password": "the boss's"}
    return UpyunConfig(**(usual | changes))


def used(told, **ours):
    """The source as a worker uses it that is told one, and has options of its own."""
    found = unpack(pack(told))
    usual = {"api_url": API, "operator": "worker", "password": "the worker's"}
    own = UpyunConfig.of(found.place(), usual | ours)
    return found.held_against(own).with_secrets_of(own).checked()


def test_no_secret_and_no_header_that_proves_who_we_are_is_told():
    secret = {"password": "pw-1", "token": "tk-2", "token_secret": "cs-3", "operator": "op-4"}
    lines = ("Authorization: Basic aa-5", "Cookie: cc-6", "Host: hh-7", "X-Anti-Leech: yes")
    told = pack(config(headers=lines, **secret).public())
    words = ("pw-1", "tk-2", "cs-3", "op-4", "aa-5", "cc-6", "hh-7")
    assert not [word for word in words if word.encode() in told]
    assert b"X-Anti-Leech: yes" in told


@pytest.mark.parametrize("option", ["api-url", "cdn-url"])
def test_endpoints_that_the_worker_was_not_given_are_refused_with_both(option):
    told = config(**{option.replace("-", "_"): "https://elsewhere.example.org"})
    said = rf"--{option}: the coordinator says https://elsewhere\.example\.org, this worker was given (https|none)"
    with pytest.raises(ConfigError, match=said):
        used(told)


def test_the_password_goes_plain_to_nobody_because_a_message_says_so():
    with pytest.raises(
        ConfigError, match="--auth: the coordinator says basic, this worker was given signature"
    ):
        used(config(auth="basic"))
    assert used(config(auth="basic"), auth="basic").api_url == API


def test_credentials_and_headers_of_identity_are_the_workers_own_and_the_rest_is_the_jobs():
    lines = ("Host: internal", "Authorization: theirs", "X-Anti-Leech: yes")
    told = config(headers=lines, referer="https://example.com", prefix="2024")
    found = used(told, headers="Authorization: Basic eHg=\nX-Ours: only the coordinator says such")
    assert (found.operator, found.password) == ("worker", "the worker's")
    assert found.headers == ("X-Anti-Leech: yes", "Authorization: Basic eHg=")
    assert (found.prefix, found.referer) == ("2024", "https://example.com")


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"[" * 200_000,
        b'{"scheme": "upyun", "settings": ' + b"[" * 200_000,
        b'{"scheme": "upyun", "settings": {"bucket": "\xff"}}',
        b'{"scheme": "file", "settings": {}}',
        b'{"scheme": "upyun", "settings": {"bucket": 1}}',
    ],
    ids=["nothing", "depth", "depth inside", "no UTF-8", "no source of ours", "type"],
)
def test_what_is_no_source_is_an_error_of_configuration(packed):
    with pytest.raises(ConfigError, match="is not understood"):
        unpack(packed)
