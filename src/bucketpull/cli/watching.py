"""The dashboard, for commands that open one."""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.values import shown_value
from bucketpull.wiring.output import tell
from bucketpull.wiring.settings import Settings

if TYPE_CHECKING:
    from bucketpull.web.panel import Panel
    from bucketpull.web.server import Answer
    from bucketpull.wiring.job import Watcher, Watching


def watchers(settings: Settings) -> "Sequence[Watcher]":
    """Return the dashboard if it is asked for; see `dashboard_at`."""
    if settings.dashboard is None:
        return ()
    return (dashboard_at(settings.dashboard, "--dashboard", settings),)


def dashboard_at(address: str, name: str, settings: Settings) -> "Watcher":
    """Return what opens a dashboard; it has its address from now on. `name` is the option's, for the error.

    Raises:
        ConfigError: Its address is none, is taken, or is not this machine's; or token or certificate cannot be used.
        ModuleNotFoundError: The extra `web` is not installed.

    """
    host, port = address_of(address, name)
    from bucketpull.web.dashboard import Dashboard, listen
    from bucketpull.web.guard import is_loopback
    from bucketpull.wiring.dashboard_access import dashboard_access

    access = dashboard_access(settings)

    try:
        listeners = listen(host, port)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise ConfigError(f"{name} {address}: {reason}; give another address or port") from error

    async def open_dashboard(answer: "Answer", panel: "Panel") -> "Watching":
        dashboard = Dashboard(answer, panel.snapshot, host, port, listeners=listeners, **access._asdict())
        shown = await dashboard.start()
        if not settings.quiet:
            tell(f"dashboard: {shown if access.token is None else shown.partition('#')[0]}", private=True)
        if access.tls is None and not is_loopback(host):
            tell(
                f"{name} {address}: the page and its token go over the network as they are; give --dashboard-cert, "
                "put a proxy with TLS in front, or leave it on 127.0.0.1 and use ssh -L"
            )
        return dashboard

    return open_dashboard


def address_of(text: str, name: str = "--dashboard") -> tuple[str, int]:
    """Read HOST:PORT, or a port alone; `name` is the option's, for the error.

    Raises:
        ConfigError: It is neither.

    """
    found = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.%\w]+\]|[^\s\[\]]*):)?([0-9]{1,5})", text)
    if found is None or int(found[2]) > 65535:
        raise ConfigError(f"{name} {shown_value(text)}: write HOST:PORT, such as 127.0.0.1:8377")
    return (found[1] or "").strip("[]") or "127.0.0.1", int(found[2])
