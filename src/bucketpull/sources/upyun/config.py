"""What a UPYUN source must be told, and what is wrong with it if it is."""

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.sources.quoting import quoted
from bucketpull.sources.upyun.signing import read_token

MAX_LIST_LIMIT = 10_000
_SECRETS = ("password", "token", "cdn_secret")


class UpyunConfig(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A bucket and the ways to it. `prefix` is a folder at which the listing starts; keys stay whole.

    `cdn_url` None: objects come by REST. `style` is an image version appended to each object's URL, such as "!s400".
    With `token` (and `token_expires`, Unix seconds) no password is needed. `cdn_secret` is the CDN's token key, and
    `cdn_token_expires` its fixed expiry (0: about a year ahead, equal for all requests of a month).
    `headers` are complete lines added to every request of an object.
    """

    bucket: str
    prefix: str = ""
    api_url: str = "https://v0.api.upyun.com"
    cdn_url: str | None = None
    style: str = ""
    separator: str = "!"
    operator: str = ""
    password: str = ""
    auth: Literal["signature", "basic"] = "signature"
    token: str = ""
    token_expires: int = 0
    cdn_secret: str = ""
    cdn_token_expires: int = 0
    cdn_token_of_encoded_path: bool = False
    headers: tuple[str, ...] = ()
    referer: str = ""
    user_agent: str = "bucketpull"
    list_limit: int = MAX_LIST_LIMIT
    split_listing: bool = True

    def __repr__(self) -> str:
        """Show everything but the secrets."""
        shown = {
            name: "***" if name in _SECRETS and value else value
            for name, value in msgspec.structs.asdict(self).items()
        }
        return f"UpyunConfig({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def checked(self) -> "UpyunConfig":
        """Return the configuration itself.

        Raises:
            ConfigError: It cannot work; the message names the field and the remedy.

        """
        _check_names(self)
        _check_url("api_url", self.api_url)
        if self.cdn_url is not None:
            _check_url("cdn_url", self.cdn_url)
        _check_access(self)
        _check_headers(self)
        return self

    def for_workers(self, token_expires: int) -> "UpyunConfig":
        """Return the same with a token in place of the password, good until `token_expires` (Unix seconds)."""
        token = read_token(self.password, uri_prefix(self), token_expires)
        return msgspec.structs.replace(
            self, password="", auth="signature", token=token, token_expires=token_expires
        )


def uri_prefix(config: UpyunConfig) -> str:
    """Return the path that every REST request of the bucket begins with, as sent."""
    return f"{urlsplit(config.api_url).path.rstrip('/')}/{quoted(config.bucket.encode())}/"


def _check_names(config: UpyunConfig) -> None:
    if not config.bucket or "/" in config.bucket:
        raise ConfigError(
            f"source: bucket {config.bucket!r} is no bucket name; write upyun://BUCKET[/FOLDER]"
        )
    if not 1 <= config.list_limit <= MAX_LIST_LIMIT:
        raise ConfigError(f"source: list_limit {config.list_limit} is not within 1 and {MAX_LIST_LIMIT}")
    if config.style and config.cdn_url is None:
        raise ConfigError(f"source: style {config.style!r} needs the bucket's CDN domain; give --cdn-url")


def _check_url(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"source: {name} {url!r} is no http:// or https:// URL")
    if parts.query or parts.fragment or parts.username:
        raise ConfigError(f"source: {name} {parts.hostname} may have neither query, fragment nor user name")


def _check_access(config: UpyunConfig) -> None:
    if not config.operator:
        raise ConfigError("source: no operator; set UPYUN_OPERATOR")
    if not config.password and not config.token:
        raise ConfigError("source: no password; set UPYUN_PASSWORD")
    if config.auth == "basic" and not config.token and urlsplit(config.api_url).scheme != "https":
        raise ConfigError(
            f"source: basic authorization sends the password, and {config.api_url} is not https"
        )


def _check_headers(config: UpyunConfig) -> None:
    for line in (*config.headers, config.referer, config.user_agent, config.operator):
        if "\r" in line or "\n" in line:
            raise ConfigError("source: a header, Referer, User-Agent or operator has a line break in it")
    for line in config.headers:
        if ":" not in line:
            raise ConfigError(f"source: header {line!r} has no colon; write 'Name: value'")
