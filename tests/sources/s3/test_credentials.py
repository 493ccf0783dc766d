"""Keys, region and endpoint are found where AWS's tools find them, in the same order (held against botocore)."""

import os
from pathlib import Path

import botocore.session
import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.sources.s3.credentials import find_environment, find_keys
from bucketpull.sources.s3.signing import Credentials


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = D\naws_secret_access_key = ds%ecret\n"
        "[work]\naws_access_key_id=W\naws_secret_access_key=ws\naws_session_token=wt\n"
    )
    (folder / "config").write_text(
        "[default]\nregion = eu-west-1\n[profile work]\nregion=cn-north-1\n"
        "endpoint_url = https://s3.example.com\n"
        "[profile only-config]\naws_access_key_id = C\naws_secret_access_key = cs\n"
        "[profile keyless]\nregion = x\n[profile half]\naws_access_key_id = H\n"
        "[profile sso]\nsso_session = s\n[profile login]\nlogin_session = arn:aws:iam::1:user/u\n"
        "[profile program]\ncredential_process = /bin/false\n"
        "[profile nested]\nservices = mine\nendpoint_url = https://all.example.com\n"
        "[services mine]\ns3 =\n  endpoint_url = https://s3.nested.example.com\n  addressing_style = path\n"
        "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = default\n"
    )
    return tmp_path


KEYS = {"AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "es"}


@pytest.mark.parametrize(
    ("environ", "found", "region"),
    [
        ({}, Credentials("D", "ds%ecret"), "eu-west-1"),
        ({"AWS_PROFILE": "work"}, Credentials("W", "ws", "wt"), "cn-north-1"),
        ({"AWS_PROFILE": "only-config"}, Credentials("C", "cs"), ""),
        (KEYS, Credentials("E", "es"), "eu-west-1"),
        (KEYS | {"AWS_SESSION_TOKEN": "t", "AWS_PROFILE": "work"}, Credentials("E", "es", "t"), "cn-north-1"),
        ({"AWS_DEFAULT_REGION": "us-west-2"}, Credentials("D", "ds%ecret"), "us-west-2"),
    ],
)
def test_they_are_those_that_botocore_finds(home, monkeypatch, environ, found, region):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {"HOME": str(home), **environ}.items():
        monkeypatch.setenv(name, value)

    assert find_keys(os.environ) == found
    assert find_environment(os.environ).region == region
    session = botocore.session.Session()
    theirs = session.get_credentials()
    assert found == Credentials(theirs.access_key, theirs.secret_key, theirs.token or "")
    assert (session.get_config_variable("region") or "") == region


def test_the_endpoint_is_that_of_the_environment_or_the_profile(home):
    assert find_environment({"HOME": str(home), "AWS_PROFILE": "work"}).endpoint == "https://s3.example.com"
    nested = find_environment({"HOME": str(home), "AWS_PROFILE": "nested"})
    assert nested.endpoint == "https://s3.nested.example.com"
    assert (
        find_environment({"HOME": str(home), "AWS_ENDPOINT_URL_S3": "http://h:9000"}).endpoint
        == "http://h:9000"
    )


def test_the_files_can_lie_elsewhere(home):
    environ = {"HOME": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": str(home / ".aws/credentials")}
    assert find_keys(environ) == Credentials("D", "ds%ecret")


def test_no_keys_anywhere_is_no_error_here(tmp_path):
    assert find_keys({"HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"AWS_PROFILE": "absent"}, "profile 'absent' is neither in"),
        ({"AWS_PROFILE": "default", "HOME": "/nowhere"}, "profile 'default' is neither in"),
        ({"AWS_PROFILE": "keyless"}, "profile 'keyless' has no aws_access_key_id; write it to .*credentials"),
        ({"AWS_PROFILE": "half"}, "profile 'half' has no aws_secret_access_key"),
        ({"AWS_PROFILE": "role"}, "by role_arn, which is not supported; run eval"),
        ({"AWS_PROFILE": "sso"}, "by sso_session, which is not supported; run eval"),
        ({"AWS_PROFILE": "login"}, "by login_session, which is not supported; run eval"),
        ({"AWS_PROFILE": "program"}, "by credential_process, which is not supported; run eval"),
        (
            {"HOME": "/nowhere", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"},
            "keys by AWS_WEB_IDENTITY_TOKEN_FILE are not",
        ),
        (
            {"HOME": "/nowhere", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://h"},
            "_FULL_URI are not supported",
        ),
        ({"AWS_ACCESS_KEY_ID": "E"}, "AWS_SECRET_ACCESS_KEY is not set"),
        ({"AWS_SECRET_ACCESS_KEY": "E"}, "AWS_ACCESS_KEY_ID is not set"),
    ],
)
def test_what_cannot_work_is_said_with_its_remedy(home, environ, words):
    with pytest.raises(ConfigError, match=words):
        find_keys({"HOME": str(home), **environ})


@pytest.mark.parametrize(
    ("text", "line"),
    [("aws_secret_access_key = hush\n", 1), ("[default]\nregion = x\nhush\n", 3), ("\n\nhush", 3)],
)
def test_a_broken_file_is_named_by_its_line_without_what_may_be_a_secret(tmp_path, text, line):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(text)
    with pytest.raises(ConfigError, match=rf"\.aws/config: line {line} is neither") as caught:
        find_keys({"HOME": str(tmp_path)})
    assert "hush" not in str(caught.value)


def test_a_mark_before_a_file_and_quotes_around_a_profile_are_not_part_of_them(tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "\ufeff[my work]\naws_access_key_id=A\naws_secret_access_key=s\n"
    )
    (tmp_path / ".aws/config").write_text('[profile "my work"]\nregion=eu-west-1\n')
    environ = {"HOME": str(tmp_path), "AWS_PROFILE": "my work"}
    assert (find_keys(environ), find_environment(environ).region) == (Credentials("A", "s"), "eu-west-1")


@pytest.mark.parametrize("environ", [{}, {"AWS_ENDPOINT_URL": "http://h"}])
def test_endpoints_that_are_to_be_ignored_are(home, environ):
    environ |= {"HOME": str(home), "AWS_PROFILE": "work", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    assert find_environment(environ).endpoint == ""


def test_a_word_that_says_neither_whether_endpoints_are_ignored_is_refused(home):
    environ = {"HOME": str(home), "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "maybe"}
    with pytest.raises(
        ConfigError, match=r"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS, .* is 'maybe'; write true or"
    ):
        find_environment(environ)


@pytest.mark.parametrize("name", ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"])
def test_a_pipe_is_refused_before_it_is_waited_for_and_no_file_at_all_is_none(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ConfigError, match=f"{path} is not a regular file; write what it says to one, or"):
            find_keys({"HOME": str(tmp_path), name: str(path)})
    assert find_keys({"HOME": str(tmp_path), name: os.devnull}) is None


@pytest.mark.parametrize(
    ("token", "found"), [("", "by role_arn, which is not supported"), ("aws_session_token = t\n", "")]
)
def test_keys_beside_a_role_are_those_of_the_role_only_with_a_token(tmp_path, token, found):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(
        f"[default]\nrole_arn = arn:r\naws_access_key_id = A\naws_secret_access_key = s\n{token}"
    )
    environ = {"HOME": str(tmp_path)}
    if found:
        with pytest.raises(ConfigError, match=found):
            find_keys(environ)
    else:
        assert find_keys(environ) == Credentials("A", "s", "t")


@pytest.mark.parametrize("environ", [{"AWS_ACCESS_KEY_ID": "Ä"}, {"AWS_SESSION_TOKEN": "t\nX: 1"}])
def test_keys_that_no_header_can_hold_are_refused(home, environ):
    [name] = environ
    with pytest.raises(ConfigError, match=f"{name}, or that of the profile, has a blank, a line break or"):
        find_keys({"HOME": str(home)} | KEYS | environ)
