"""What a UPYUN source must be told, and what is wrong with it if it is."""

from string import ascii_letters, digits
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

import msgspec

from bucketpull.domain.endpoints import Advice, EndpointSpec, Purpose
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.keys import quoted
from bucketpull.domain.user_input import shown_value
from bucketpull.sources.addresses import check_urls, hosts_of, path_of, sites_of
from bucketpull.sources.http import USER_AGENT
from bucketpull.sources.source_settings import KEY_OPTIONS, BucketSettings, Option, check_headers
from bucketpull.sources.upyun.signing import (
    FixedAuthorization,
    SignedAuthorization,
    by_password,
    by_token,
    read_token,
)

# The endpoints of the service: listing and objects by REST, objects by the CDN.
LIST: Final = "list"
REST: Final = "rest"
CDN: Final = "cdn"

AUTO_URLS = " ".join(f"https://v{number}.api.upyun.com" for number in range(4))
_OF_BUCKET = frozenset(ascii_letters + digits + "._-")
# Who we are, where a request goes, and where it ends: no other machine says that.
_OWN_HEADERS = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "host",
        "proxy-authorization",
        "transfer-encoding",
    }
)


class UpyunConfig(BucketSettings, frozen=True, kw_only=True):
    """A bucket and the ways to it.

    `api_url` and `cdn_url` are one URL each, or several with blanks between; "auto" stands for the service's own four.
    `cdn_url` None: objects come by REST. `style` is an image version appended to each object's URL, such as "!s400".
    With `token` (and `token_expires`, Unix seconds) no password is needed. `token_secret` is the CDN's token key.
    `headers` are complete lines added to every request of an object.
    """

    begins_keys_with_slash: ClassVar = True
    USAGE: ClassVar = "upyun://BUCKET[/PREFIX]"
    SOURCE: ClassVar = "bucketpull.sources.upyun.source:UpyunSource"
    OPTIONS: ClassVar = (
        Option(
            "api_url",
            "Of upyun://: the REST endpoint (default: https://v0.api.upyun.com; 'auto': v0 to v3). Several may be given.",
            "URL",
            own=True,
            many="text",
        ),
        Option(
            "cdn_url",
            "The bucket's CDN domain; without it objects come from the service itself. Several may be given.",
            "URL",
            own=True,
            many="text",
            asked="the bucket's CDN domain, such as https://img.example.com (empty: none)",
        ),
        Option(
            "style", "Of upyun://: image version appended to each object's URL, such as '!s400'.", "SUFFIX"
        ),
        Option("separator"),
        Option("operator", variable="UPYUN_OPERATOR", secret=True, asked="the operator's name"),
        Option("password", variable="UPYUN_PASSWORD", secret=True, asked="the operator's password"),
        Option("auth", own=True),
        Option("token", variable="UPYUN_TOKEN", secret=True),
        Option("token_expires", variable="UPYUN_TOKEN_EXPIRES", secret=True),
        Option("token_secret", variable="UPYUN_TOKEN_SECRET", secret=True),
        Option("referer"),
        Option("user_agent"),
        Option("headers", many="lines"),
        *KEY_OPTIONS,
    )

    api_url: str = "https://v0.api.upyun.com"
    cdn_url: str | None = None
    style: str = ""
    separator: str = "!"
    operator: str = ""
    password: str = ""
    auth: Literal["signature", "basic"] = "signature"
    token: str = ""
    token_expires: int = 0
    token_secret: str = ""
    headers: tuple[str, ...] = ()
    referer: str = ""
    user_agent: str = USER_AGENT
    list_limit: int = 10_000
    split_listing: bool = True

    @property
    def api_urls(self) -> str:
        """The URLs of the service, with blanks between."""
        return AUTO_URLS if self.api_url == "auto" else self.api_url

    def identity(self) -> dict[str, str]:
        """Return the bucket's, and the style: what is stored depends on it."""
        return super().identity() | {"style": self.style}

    def public(self) -> "UpyunConfig":
        """Return the same without secrets, and without the headers that each machine has of its own."""
        return msgspec.structs.replace(super().public(), headers=self._shared_headers())

    def with_secrets_of(self, other: "UpyunConfig") -> "UpyunConfig":
        """Return the same with another one's secrets, and the headers that are its own."""
        headers = (*self._shared_headers(), *filter(_is_own, other.headers))
        return msgspec.structs.replace(super().with_secrets_of(other), headers=headers)

    def _shared_headers(self) -> tuple[str, ...]:
        return tuple(line for line in self.headers if not _is_own(line))

    def worker_secrets(self, expires: int) -> dict[str, str]:
        """Return a token made of the password."""
        if not self.password:
            raise ConfigError("a token is made of the password; set UPYUN_PASSWORD")
        token = read_token(self.password, uri_prefix(self), expires)
        return {"UPYUN_OPERATOR": self.operator, "UPYUN_TOKEN": token, "UPYUN_TOKEN_EXPIRES": str(expires)}

    def check_values(self) -> None:
        """See `SourceSettings.check_values`."""
        _check_names(self)
        check_urls("--api-url", self.api_urls)
        if self.cdn_url is not None:
            check_urls("--cdn-url", self.cdn_url)
        check_headers(
            self.headers, UPYUN_OPERATOR=self.operator, referer=self.referer, user_agent=self.user_agent
        )

    def checked(self) -> "UpyunConfig":
        """Return the configuration itself. Raises ConfigError where it cannot work; the message names the field and the remedy."""
        self.check_values()
        if self.style and self.cdn_url is None:
            raise ConfigError(f"source: style {self.style!r} needs the bucket's CDN domain; give --cdn-url")
        _check_access(self)
        return self


def _is_own(header: str) -> bool:
    return header.partition(":")[0].strip().lower() in _OWN_HEADERS


def uri_prefix(config: UpyunConfig) -> str:
    """Return the path that every REST request of the bucket begins with, as sent."""
    return f"{path_of(config.api_urls)}/{quoted(config.bucket.encode())}/"


def _check_names(config: UpyunConfig) -> None:
    if not (config.bucket[:1].isalnum() and _OF_BUCKET.issuperset(config.bucket)):
        raise ConfigError(
            f"source: bucket {shown_value(config.bucket)} is not a bucket name; write upyun://BUCKET[/FOLDER]"
        )


def _check_access(config: UpyunConfig) -> None:
    if not (config.operator or config.password or config.token):
        raise ConfigError("source: no operator and no password; set UPYUN_OPERATOR and UPYUN_PASSWORD")
    if not config.operator:
        raise ConfigError("source: no operator; set UPYUN_OPERATOR")
    if not config.password and not config.token:
        raise ConfigError("source: no password; set UPYUN_PASSWORD")
    open_ones = [url for url in config.api_urls.split() if urlsplit(url).scheme != "https"]
    if config.auth == "basic" and not config.token and open_ones:
        raise ConfigError(
            f"source: basic authorization sends the password, and {open_ones[0]} is not https; write https, or leave `auth` out"
        )


def endpoints_of(config: UpyunConfig) -> tuple[EndpointSpec, ...]:
    """Declare what the configuration names; the CDN first, as objects are asked for there first."""
    api = sites_of(config.api_urls)
    title = f"the API {hosts_of(config.api_urls)}"
    listing = EndpointSpec(
        name=LIST,
        purpose=Purpose.LIST,
        sites=api,
        title=title,
        first=4,
        highest=64,
        hint="UPYUN_OPERATOR and UPYUN_PASSWORD",
    )
    origin = EndpointSpec(
        name=REST,
        purpose=Purpose.FETCH,
        sites=api,
        title=title,
        advice=Advice(
            "CDN",
            "no CDN domain is named",
            "UPYUN keeps REST slow: name the bucket's CDN domain with --cdn-url",
        ),
        hint="UPYUN_OPERATOR and UPYUN_PASSWORD, and that the operator may read",
    )
    if config.cdn_url is None:
        return listing, origin
    title = f"the CDN {hosts_of(config.cdn_url)}"
    copies = EndpointSpec(
        name=CDN,
        purpose=Purpose.FETCH,
        sites=sites_of(config.cdn_url),
        title=title,
        is_origin=False,
        hint="--cdn-url, --style, the domain's hotlink protection and UPYUN_TOKEN_SECRET",
        first=32,
    )
    return listing, copies, origin


def authorization_of(config: UpyunConfig) -> SignedAuthorization | FixedAuthorization:
    """Return what signs requests, by what the configuration has."""
    if config.token:
        return by_token(config.operator, config.token, uri_prefix(config), config.token_expires)
    if config.auth == "basic":
        return by_password(config.operator, config.password)
    return SignedAuthorization(config.operator, config.password)
