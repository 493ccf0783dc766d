"""Credentials, region and endpoint as AWS's tools take them: environment first, then the files of a profile.

From AWS's "Configuration and credential file settings": `~/.aws/credentials` has sections [NAME], `~/.aws/config` has
[profile NAME] and [default]; the places are moved by AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE. Keys in the environment
win over those of a profile.
"""

import configparser
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bucketpull.domain.errors import ConfigError
from bucketpull.sources.s3.signing import Credentials

_INDIRECT: Final = (
    "role_arn",
    "sso_session",
    "sso_start_url",
    "credential_process",
    "web_identity_token_file",
)
_LONGEST: Final = 1 << 20


class Environment(NamedTuple):
    """What is said beside the keys: region and endpoint, "" where neither environment nor files say it."""

    region: str
    endpoint: str


def find_environment(environ: Mapping[str, str]) -> Environment:
    """Look for region and endpoint."""
    profile = _Profile(environ)
    return Environment(
        environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or profile.get("region"),
        environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or profile.get("endpoint_url"),
    )


def find_keys(environ: Mapping[str, str]) -> Credentials | None:
    """Look for keys; None if there are none anywhere.

    Raises:
        ConfigError: A profile is named that does not exist, or that gets its keys in a way that is not supported.

    """
    return _from_environment(environ) or _Profile(environ).credentials()


def _from_environment(environ: Mapping[str, str]) -> Credentials | None:
    access, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
    if bool(access) != bool(secret):
        missing = "AWS_SECRET_ACCESS_KEY" if access else "AWS_ACCESS_KEY_ID"
        raise ConfigError(f"source: {missing} is not set, but its counterpart is; set both")
    return Credentials(access, secret, environ.get("AWS_SESSION_TOKEN", "")) if access else None


class _Profile:
    """The sections of one profile, of the credentials file and then of the config file."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
        home = Path(environ.get("HOME") or "~").expanduser()
        credentials = Path(
            environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws/credentials"
        ).expanduser()
        config = Path(environ.get("AWS_CONFIG_FILE") or home / ".aws/config").expanduser()
        section = self._name if self._name == "default" else f"profile {self._name}"
        found = [_section(credentials, self._name), _section(config, section)]
        self._sections = [values for values in found if values is not None]
        self._places = f"{credentials} nor in {config}"

    def get(self, name: str) -> str:
        """Return a value; "" if neither file has it."""
        return next((values[name] for values in self._sections if values.get(name)), "")

    def credentials(self) -> Credentials | None:
        """Return the profile's keys; None if it has none."""
        if not self._sections and self._name != "default":
            raise ConfigError(
                f"source: profile {self._name!r} is neither in {self._places}; correct AWS_PROFILE"
            )
        access, secret = self.get("aws_access_key_id"), self.get("aws_secret_access_key")
        if access and secret:
            return Credentials(access, secret, self.get("aws_session_token"))
        way = next((name for name in _INDIRECT if self.get(name)), None)
        if way is not None:
            raise ConfigError(
                f"source: profile {self._name!r} gets its keys by {way}, which is not supported; run "
                f'eval "$(aws configure export-credentials --profile {self._name} --format env)" before'
            )
        return None


def _section(path: Path, name: str) -> Mapping[str, str] | None:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST)
    except OSError:
        return None
    except UnicodeDecodeError as error:
        raise ConfigError(f"source: {path} is not UTF-8; correct it") from error
    parser = configparser.ConfigParser(interpolation=None, default_section="", strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ConfigError(f"source: {path}: {' '.join(str(error).split())}") from error
    return parser[name] if parser.has_section(name) else None
