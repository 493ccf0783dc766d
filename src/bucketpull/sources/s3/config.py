"""What an S3 source must be told: the bucket, the service, who asks; and what is wrong with it if it is."""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.keys import quoted
from bucketpull.domain.user_input import is_ip_address, shown_value
from bucketpull.sources.addresses import check_url, check_urls
from bucketpull.sources.http import USER_AGENT
from bucketpull.sources.source_settings import KEY_OPTIONS, BucketSettings, Option, check_headers

if TYPE_CHECKING:
    from bucketpull.sources.s3.signing import Credentials

DEFAULT_REGION = "us-east-1"
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")
# Services that refuse the bucket in the path, by the end of their host.
_VIRTUAL_HOSTS = (
    *_AWS,
    ".aliyuncs.com",
    ".myqcloud.com",
    ".myhuaweicloud.com",
    ".volces.com",
    ".bcebos.com",
    ".ksyuncs.com",
)
# Where a host says its region.
_REGIONS = (
    r"^s3[.-](?:dualstack\.)?([a-z]{2,4}(?:-[a-z]+)+-\d)\.amazonaws\.(?:com|com\.cn|eu)$",
    r"^(?:s3\.)?(oss-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com$",
    r"^cos\.([a-z0-9-]+)\.myqcloud\.com$",
    r"^obs\.([a-z0-9-]+)\.myhuaweicloud\.com$",
    r"^s3\.([a-z0-9-]+)\.backblazeb2\.com$",
    r"^tos-s3-([a-z0-9-]+)\.(?:i)?volces\.com$",
)
_R2 = ".r2.cloudflarestorage.com"
_REGION_NAME = r"[A-Za-z0-9._-]{1,64}"
_HOST_LABEL = r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
_PORTS = {"http": 80, "https": 443}


class S3Config(BucketSettings, frozen=True, kw_only=True):
    """A bucket and the ways to it.

    `api_url` "" is AWS. `path_style` None: as the service wants it. Without keys those of AWS's files are looked for, unless
    `anonymous`. `cdn_url` None: objects come from the service itself.
    """

    USAGE: ClassVar = "s3://BUCKET[/PREFIX]"
    SOURCE: ClassVar = "bucketpull.sources.s3.source:S3Source"
    OPTIONS: ClassVar = (
        Option(
            "api_url",
            "Of s3://: the service's endpoint (default: AWS).",
            "URL",
            own=True,
            many="text",
            asked="the service's endpoint, such as https://s3.example.com (empty: AWS)",
        ),
        Option("cdn_url", "", "URL", own=True, many="text"),
        Option(
            "region", "Of s3://: the bucket's region (default: as AWS's tools find it).", "REGION", own=True
        ),
        Option(
            "path_style",
            "Of s3://: whether the bucket stands in the path, or in the host's name (default: as the service wants it).",
            switch="on/off",
        ),
        Option("anonymous", "Of s3://: sign nothing; for public buckets.", switch="on"),
        Option("request_payer", "Of s3://: agree to pay for the requests.", switch="on"),
        Option("access_key", variable="AWS_ACCESS_KEY_ID", secret=True, asked="access key id"),
        Option("secret_key", variable="AWS_SECRET_ACCESS_KEY", secret=True, asked="secret access key"),
        Option("session_token", variable="AWS_SESSION_TOKEN", secret=True),
        Option("user_agent"),
        *KEY_OPTIONS,
    )

    api_url: str = ""
    cdn_url: str | None = None
    region: str = ""
    path_style: bool | None = None
    anonymous: bool = False
    request_payer: bool = False
    access_key: str = ""
    secret_key: str = ""
    session_token: str = ""
    user_agent: str = USER_AGENT
    lists_versions: bool = False

    def with_versions(self) -> "S3Config":
        """Return the same, with each object's MD5 on its page where the listing tells one."""
        return msgspec.structs.replace(self, lists_versions=True)

    def check_values(self) -> None:
        """See `SourceSettings.check_values`."""
        if self.bucket.startswith("arn:"):
            raise ConfigError(
                f"source: {self.bucket!r} is an ARN; write the bucket's name, or the alias of the access point"
            )
        if "@" in self.bucket:  # what stands before it may be a secret
            raise ConfigError(
                "source: a bucket's name has no @; give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the endpoint by --api-url"
            )
        if not self.bucket.isprintable() or set(self.bucket) & {"/", " "} or self.bucket in {".", ".."}:
            raise ConfigError(f"source: bucket {self.bucket!r} is not a bucket name; write {self.USAGE}")
        if self.region and not re.fullmatch(_REGION_NAME, self.region):
            raise ConfigError(
                f"region {shown_value(self.region)}: is no name of a region; correct --region, AWS_REGION or the profile's, such as eu-central-1"
            )
        if " " in self.api_url:
            raise ConfigError(f"--api-url {shown_value(self.api_url)}: s3:// has one endpoint; give one")
        if self.api_url:
            check_url("--api-url", self.api_url)
        if self.cdn_url is not None:
            check_urls("--cdn-url", self.cdn_url)
        check_headers((), user_agent=self.user_agent)

    def checked(self) -> "S3Config":
        """Return the configuration with what AWS's environment and files say about the rest. Raises ConfigError where it cannot work."""
        self.check_values()
        complete = self._completed(os.environ)
        complete.check_values()
        _check_address(complete)
        if not complete.anonymous and not complete.access_key:
            raise ConfigError(
                "source: no keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give --anonymous"
            )
        return complete

    def credentials(self) -> "Credentials | None":
        """Return who asks; None if nobody in particular."""
        from bucketpull.sources.s3.signing import Credentials

        if self.anonymous or not (self.access_key and self.secret_key):
            return None
        return Credentials(self.access_key, self.secret_key, self.session_token)

    def _completed(self, environ: Mapping[str, str]) -> "S3Config":
        from bucketpull.sources.s3.credentials import find_environment, find_keys

        keys = None if self.anonymous else self.credentials() or find_keys(environ)
        surroundings = find_environment(environ)
        api_url = self.api_url or surroundings.endpoint
        region = self.region or _region_of(api_url, self.bucket) or surroundings.region or DEFAULT_REGION
        return msgspec.structs.replace(
            self,
            api_url=api_url or _aws(region),
            region=region,
            access_key=keys.access_key if keys else "",
            secret_key=keys.secret_key if keys else "",
            session_token=keys.session_token if keys else "",
        )


class Address(msgspec.Struct, frozen=True):
    """Where a bucket is: `site` "https://host:port", `host` as in the Host header, `path` that of the bucket, without slash."""

    site: str
    host: str
    path: str


def address_of(config: S3Config) -> Address:
    """Say where the bucket of a checked configuration is. The URL may name the bucket already, as services' consoles show it."""
    parts = urlsplit(config.api_url)
    host = parts.hostname or ""
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    path = parts.path.rstrip("/")
    name = quoted(config.bucket.encode())
    is_named = host.startswith(f"{config.bucket}.") or path.endswith(f"/{name}")
    if not is_named and _is_virtual(config, host):
        host = f"{config.bucket}.{host}"
    elif not is_named:
        path = f"{path}/{name}"
    shown = f"[{host}]" if ":" in host else host
    return Address(f"{parts.scheme}://{shown}{port}", f"{shown}{port}", path)


def _check_address(config: S3Config) -> None:
    """Refuse what no service has. Raises ConfigError where it would only be found out by requests that never arrive."""
    host = urlsplit(config.api_url).hostname or ""
    if config.region == "auto" and host.endswith(_AWS):
        raise ConfigError("--region auto: AWS has no such region; name the bucket's, such as eu-central-1")
    if config.path_style is False and is_ip_address(host):
        raise ConfigError(
            f"--no-path-style: a bucket's name cannot stand before {host}; give --api-url a host name, or use --path-style"
        )


def _is_virtual(config: S3Config, host: str) -> bool:
    if config.path_style is not None:
        return not config.path_style
    # A certificate for *.host is not one for a.b.host.
    return host.endswith(_VIRTUAL_HOSTS) and re.fullmatch(_HOST_LABEL, config.bucket) is not None


def _aws(region: str) -> str:
    domain = {"cn": "amazonaws.com.cn", "eusc": "amazonaws.eu"}.get(region.partition("-")[0], "amazonaws.com")
    return f"https://s3.{region}.{domain}"


def _region_of(url: str, bucket: str) -> str:
    """Return the region that a known service's host names; "" if it names none."""
    host = (urlsplit(url).hostname or "").removeprefix(f"{bucket}.")
    if host.endswith(_R2):
        return "auto"
    return next((found[1] for region in _REGIONS if (found := re.match(region, host))), "")
