"""Credentials, region and endpoint as AWS's tools take them: environment first, then the files of a profile.

From AWS's "Configuration and credential file settings": `~/.aws/credentials` has sections [NAME], `~/.aws/config` has
[profile NAME] and [default]; the places are moved by AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE. Keys in the environment
win over those of a profile.
"""

import configparser
import math
import os
import stat
from collections.abc import Mapping
from typing import Final, NamedTuple

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import shown_value
from bucketpull.sources.s3.signing import Credentials

_INDIRECT: Final = (
    "role_arn",
    "sso_session",
    "sso_start_url",
    "login_session",
    "credential_process",
    "web_identity_token_file",
)
_INDIRECT_VARIABLES: Final = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_LONGEST: Final = 1 << 20
_SIGNED_MEANWHILE_SECONDS: Final = 1.0


class Environment(NamedTuple):
    """What is said beside the keys: region and endpoint, "" where neither environment nor files say it."""

    region: str
    endpoint: str


def find_environment(environ: Mapping[str, str]) -> Environment:
    """Look for region and endpoint."""
    profile = _Profile(environ)
    return Environment(
        environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or profile.get("region"),
        "" if profile.ignores_endpoints(environ) else profile.endpoint(environ),
    )


def find_keys(environ: Mapping[str, str]) -> Credentials | None:
    """Look for keys; None if there are none anywhere.

    Raises ConfigError where a profile is named that does not exist or has no keys, or they are got in a way that is not supported.
    """
    found = _from_environment(environ) or _Profile(environ).credentials()
    way = next((name for name in _INDIRECT_VARIABLES if environ.get(name)), None)
    if found is None and way is not None:
        raise ConfigError(
            f'source: keys by {way} are not supported; run eval "$(aws configure export-credentials --format env)" before'
        )
    return found


class CurrentKeys:
    """The keys that requests are signed with at present; None signs nothing."""

    def __init__(self, keys: Credentials | None) -> None:
        self.keys = keys
        self._renewed_at = -math.inf

    def renew(self, signed_at: float, now: float) -> bool:
        """Look for newer temporary keys where AWS's tools keep them, for these have expired; return whether the request may be tried again.

        So may one that was signed with the old ones, and on its way when these were replaced. Unix seconds.
        """
        if signed_at < self._renewed_at + _SIGNED_MEANWHILE_SECONDS:
            return True
        try:
            found = find_keys(os.environ)
        except ConfigError:
            return False
        if found is None or found == self.keys:
            return False
        self.keys, self._renewed_at = found, now
        return True


def _from_environment(environ: Mapping[str, str]) -> Credentials | None:
    access, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
    if bool(access) != bool(secret):
        missing = "AWS_SECRET_ACCESS_KEY" if access else "AWS_ACCESS_KEY_ID"
        raise ConfigError(f"source: {missing} is not set, but its counterpart is; set both")
    return Credentials(access, secret, environ.get("AWS_SESSION_TOKEN", "")) if access else None


class _Profile:
    """The sections of one profile, of the credentials file and then of the config file."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        named = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")
        self._name = named or "default"
        self._is_named = bool(named)
        home = environ.get("HOME") or "~"
        credentials, config = (
            os.path.expanduser(environ.get(variable) or os.path.join(home, usual))
            for variable, usual in (
                ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
                ("AWS_CONFIG_FILE", ".aws/config"),
            )
        )
        sections: tuple[str, ...] = ("default",)
        if self._name != "default":
            sections = (f"profile {self._name}", f'profile "{self._name}"', f"profile '{self._name}'")
        self._credentials, self._config = credentials, config
        self._settings = _read(config)
        places = [(_read(credentials), self._name), *((self._settings, section) for section in sections)]
        self._sections = [file[section] for file, section in places if file.has_section(section)]

    def get(self, name: str) -> str:
        """Return a value; "" if neither file has it."""
        return next((values[name] for values in self._sections if values.get(name)), "")

    def ignores_endpoints(self, environ: Mapping[str, str]) -> bool:
        """Tell whether no endpoint counts but that of a flag. Raises ConfigError where what is set says neither."""
        name = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
        value = environ.get(name) or self.get("ignore_configured_endpoint_urls")
        if value.lower() not in {"", "true", "false"}:
            raise ConfigError(
                f"source: {name}, or ignore_configured_endpoint_urls of the profile, is {shown_value(value)}; write true or false"
            )
        return value.lower() == "true"

    def endpoint(self, environ: Mapping[str, str]) -> str:
        """Return the endpoint of S3, or else that of all services, of the environment, or else of the files; "" if none is named."""
        named = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        if named:
            return named
        of_s3 = self._settings.get(f"services {self.get('services')}", "s3", fallback="")
        lines = (line.partition("=") for line in of_s3.splitlines())
        own = {name.strip(): value.strip() for name, _, value in lines}
        return own.get("endpoint_url") or self.get("endpoint_url")

    def credentials(self) -> Credentials | None:
        """Return the profile's keys; None if it has none."""
        if not self._sections and self._is_named:
            places = f"{self._credentials} nor in {self._config}"
            raise ConfigError(f"source: profile {self._name!r} is neither in {places}; correct AWS_PROFILE")
        access, secret = self.get("aws_access_key_id"), self.get("aws_secret_access_key")
        token = self.get("aws_session_token")
        # Keys with a token beside a role are the role's, written there by a tool; without one they are those that ask for the role.
        if access and secret and (token or not self.get("role_arn")):
            return Credentials(access, secret, token)
        way = next((name for name in _INDIRECT if self.get(name)), None)
        if way is not None:
            raise ConfigError(
                f"source: profile {self._name!r} gets its keys by {way}, which is not supported; run "
                f'eval "$(aws configure export-credentials --profile {self._name} --format env)" before'
            )
        if self._is_named or access or secret:
            missing = "aws_secret_access_key" if access else "aws_access_key_id"
            raise ConfigError(
                f"source: profile {self._name!r} has no {missing}; write it to {self._credentials}, or correct AWS_PROFILE"
            )
        return None


def _read(path: str) -> configparser.ConfigParser:
    """Read a file; one that is not there says nothing. Raises ConfigError where it is no regular file, such as a pipe that may never end, or not understood."""
    parser = configparser.ConfigParser(interpolation=None, default_section="", strict=False)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) and os.path.realpath(path) != os.devnull:
            raise ConfigError(
                f"source: {path} is not a regular file; write what it says to one, or correct AWS_SHARED_CREDENTIALS_FILE or AWS_CONFIG_FILE"
            )
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(_LONGEST)
    except OSError:
        return parser
    except UnicodeDecodeError as error:
        raise ConfigError(f"source: {path} is not UTF-8; correct it") from error
    try:
        parser.read_string(text)
    except configparser.ParsingError as error:
        # The line itself may be a secret.
        number = getattr(error, "lineno", 0) or error.errors[0][0]
        raise ConfigError(
            f"source: {path}: line {number} is neither [SECTION] nor NAME = VALUE in one; correct it"
        ) from None
    return parser
