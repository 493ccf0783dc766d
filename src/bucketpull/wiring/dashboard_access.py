"""Opens the dashboard where it is asked for: its address, and who may reach it (token, certificate, where it may add volumes)."""

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import shown_value
from bucketpull.report.console import tell
from bucketpull.wiring.file_checks import read_secret
from bucketpull.wiring.settings import Settings

if TYPE_CHECKING:
    import ssl

    from bucketpull.web.api import Handler, JobView
    from bucketpull.web.dashboard import Dashboard
    from bucketpull.wiring.job import DashboardOpener


def dashboard_at(address: str, name: str, settings: Settings) -> "DashboardOpener":
    """Return what opens a dashboard; it has its address from now on. `name` is the option's, for the error.

    Raises:
        ConfigError: Its address is none, is taken, or is not this machine's; or token or certificate cannot be used.
        ModuleNotFoundError: The extra `web` is not installed.

    """
    host, port = address_of(address, name)
    from bucketpull.web.dashboard import Dashboard, listen
    from bucketpull.web.guard import is_loopback

    access = dashboard_access(settings)

    try:
        listeners = listen(host, port)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise ConfigError(f"{name} {address}: {reason}; give another address or port") from error

    async def open_dashboard(answer: "Handler", job: "JobView") -> "Dashboard":
        dashboard = Dashboard(answer, job.snapshot, host, listeners, **access._asdict())
        shown = dashboard.start()
        settings.tell(
            f"dashboard: {shown if access.token is None else shown.partition('#')[0]}", private=True
        )
        if access.tls is None and not is_loopback(host):
            tell(
                f"{name} {address}: the page and its token go over the network as they are; give --dashboard-cert, "
                "put a proxy with TLS in front, or leave it on 127.0.0.1 and use ssh -L"
            )
        return dashboard

    return open_dashboard


def address_of(text: str, name: str = "--dashboard") -> tuple[str, int]:
    """Read HOST:PORT, or a port alone; `name` is the option's, for the error. Raises ConfigError where it is neither."""
    found = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.%\w]+\]|[^\s\[\]]*):)?([0-9]{1,5})", text)
    if found is None or int(found[2]) > 65535:
        raise ConfigError(f"{name} {shown_value(text)}: write HOST:PORT, such as 127.0.0.1:8377")
    return (found[1] or "").strip("[]") or "127.0.0.1", int(found[2])


class DashboardAccess(NamedTuple):
    """`token` None is a new one; without `tls` it speaks plain HTTP; `volumes_below` are real paths."""

    token: str | None
    tls: "ssl.SSLContext | None"
    volumes_below: tuple[str, ...]


def dashboard_access(settings: Settings) -> DashboardAccess:
    """Read what the settings name. Raises ConfigError where it cannot be used."""
    below = tuple(map(_folder, settings.volumes_below))
    return DashboardAccess(_token(settings), _tls(settings), below)


def _token(settings: Settings) -> str | None:
    text, where = settings.dashboard_token, "BUCKETPULL_DASHBOARD_TOKEN"
    if settings.dashboard_token_file is not None:
        where = f"--dashboard-token-file {settings.dashboard_token_file}"
        text = _secret("--dashboard-token-file", settings.dashboard_token_file)
    elif not text:
        return None
    if not re.fullmatch(r"[!-~]{16,4096}", text.strip()):
        raise ConfigError(
            f"{where}: is not a token, which is one line of at least 16 characters of ASCII; "
            "make one with `openssl rand -hex 32`"
        )
    return text.strip()


def _tls(settings: Settings) -> "ssl.SSLContext | None":
    certificate, key = settings.dashboard_cert, settings.dashboard_key
    if certificate is None:
        if key is not None:
            raise ConfigError("--dashboard-key: give its certificate too, with --dashboard-cert")
        return None
    import ssl  # only where it is used: each start would pay for it

    where = f"--dashboard-cert {certificate}"
    _secret("--dashboard-cert" if key is None else "--dashboard-key", key or certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"{where}: is not a PEM certificate with the key that belongs to it, without a password; name such a file"
        ) from error
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror or error}; name a PEM file") from error
    return context


def _secret(name: str, path: str) -> str:
    """Read a file that an option names, and that holds a secret."""
    try:
        return read_secret(name, path)
    except OSError as error:
        raise ConfigError(
            f"{name} {path}: {error.strerror or error}; name a file that can be read"
        ) from error


def _folder(path: str) -> str:
    if not os.path.isdir(path):
        raise ConfigError(f"--volumes-below {path}: is not a directory; name one that holds mount points")
    return os.path.realpath(path)
