"""`--dashboard`: what looks at a job while it runs."""

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
    from bucketpull.wiring.job import Watcher, Watching


def watchers(settings: Settings) -> "Sequence[Watcher]":
    """Return the dashboard if it is asked for; it has its address from now on.

    Raises:
        ConfigError: Its address is none, is taken, or is not this machine's.
        ModuleNotFoundError: The extra `web` is not installed.

    """
    if settings.dashboard is None:
        return ()
    host, port = address_of(settings.dashboard)
    from bucketpull.web.dashboard import Dashboard, listen

    try:
        listeners = listen(host, port)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise ConfigError(
            f"--dashboard {settings.dashboard}: {reason}; give another address or port"
        ) from error

    async def open_dashboard(panel: "Panel") -> "Watching":
        dashboard = Dashboard(panel, host, port, listeners=listeners)
        address = await dashboard.start()
        if not settings.quiet:
            tell(f"dashboard: {address}")
        return dashboard

    return (open_dashboard,)


def address_of(text: str, name: str = "--dashboard") -> tuple[str, int]:
    """Read HOST:PORT, or a port alone; `name` is the option's, for the error.

    Raises:
        ConfigError: It is neither.

    """
    found = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.%\w]+\]|[^\s\[\]]*):)?([0-9]{1,5})", text)
    if found is None or int(found[2]) > 65535:
        raise ConfigError(f"{name} {shown_value(text)}: write HOST:PORT, such as 127.0.0.1:8377")
    return (found[1] or "").strip("[]") or "127.0.0.1", int(found[2])
