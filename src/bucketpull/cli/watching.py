"""`--dashboard`: what looks at a job while it runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bucketpull.domain.errors import ConfigError
from bucketpull.wiring.output import tell
from bucketpull.wiring.settings import Settings

if TYPE_CHECKING:
    from bucketpull.wiring.panel import JobPanel, Watcher, Watching


def watchers(settings: Settings) -> "Sequence[Watcher]":
    """Return the dashboard if it is asked for.

    Raises:
        ConfigError: Its address is none, or the extra `web` is not installed.

    """
    if settings.dashboard is None:
        return ()
    host, port = address_of(settings.dashboard)
    try:
        from bucketpull.web.dashboard import Dashboard
    except ModuleNotFoundError as error:
        raise ConfigError(f"--dashboard needs {error.name}: pip install 'bucketpull[web]'") from error

    async def open_dashboard(panel: "JobPanel") -> "Watching":
        dashboard = Dashboard(panel, host, port)
        try:
            address = await dashboard.start()
        except OSError as error:
            raise ConfigError(f"--dashboard {settings.dashboard}: {error.strerror or error}") from error
        if not settings.quiet:
            tell(f"dashboard: {address}")
        return dashboard

    return (open_dashboard,)


def address_of(text: str) -> tuple[str, int]:
    """Read HOST:PORT, or a port alone.

    Raises:
        ConfigError: It is neither.

    """
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--dashboard {text!r}: write HOST:PORT, such as 127.0.0.1:8377")
    return host.strip("[]") or "127.0.0.1", int(port)
