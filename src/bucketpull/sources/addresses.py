"""Addresses of services as users write them, checked."""

from urllib.parse import urlsplit

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import shown_value


def check_url(label: str, url: str) -> None:
    """Make sure that a URL names a host by http or https, and nothing that would be sent elsewhere or shown.

    Raises ConfigError where it does not; `label` names it for the user.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in {"http", "https"} or port == 0 or not _is_host(host):
        raise ConfigError(
            f"{label} {shown_value(url)} is not an http:// or https:// URL; write one such as https://img.example.com"
        )
    if parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(f"{label} {host} may have neither query, fragment nor user name; leave it out")
    if parts.netloc.endswith(":"):
        raise ConfigError(f"{label} {host}: has no port after its colon; write one, or leave out the colon")


def check_urls(label: str, urls: str) -> None:
    """Make sure of each of several URLs, with blanks between, as `check_url` does; they may differ in scheme, host and port only.

    Raises ConfigError where one is none, or is somewhere else than the others; `label` names it for the user.
    """
    for url in urls.split() or [urls]:
        check_url(label, url)
    paths = {urlsplit(url).path.rstrip("/") for url in urls.split()}
    if len(paths) > 1:
        raise ConfigError(
            f"{label} {shown_value(urls)}: several may differ in their hosts only; give all the same path"
        )


def sites_of(urls: str) -> tuple[str, ...]:
    """Return scheme, host and port of each of several URLs, each once."""
    parts = [urlsplit(url) for url in urls.split()]
    return tuple(dict.fromkeys(f"{part.scheme}://{part.netloc}" for part in parts))


def hosts_of(urls: str) -> str:
    """Name the hosts of several URLs for people."""
    return ", ".join(site.partition("://")[2] for site in sites_of(urls))


def path_of(urls: str) -> str:
    """Return the path that all of several URLs have, without a slash at its end."""
    return urlsplit(urls.split(maxsplit=1)[0]).path.rstrip("/")


def _is_host(name: str) -> bool:
    return name.isascii() and name.isprintable() and not set(name) & set(' "<>\\^`{|}')
