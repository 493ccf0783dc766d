"""Addresses of services as users write them, checked."""

from urllib.parse import urlsplit

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.values import shown_value


def check_url(label: str, url: str) -> None:
    """Make sure that a URL names a host by http or https, and nothing that would be sent elsewhere or shown.

    Raises:
        ConfigError: It does not; `label` names it for the user.

    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in {"http", "https"} or port == 0 or not _is_host(host):
        raise ConfigError(
            f"{label} {shown_value(url)} is no http:// or https:// URL; write one such as https://img.example.com"
        )
    if parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(f"{label} {host} may have neither query, fragment nor user name; leave it out")


def _is_host(name: str) -> bool:
    return name.isascii() and name.isprintable() and not set(name) & set(' "<>\\^`{|}')
