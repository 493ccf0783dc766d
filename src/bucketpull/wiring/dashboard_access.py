"""What the operator said of who may reach the dashboard: its token, its certificate, and where it may add volumes."""

import os
import re
import ssl
from pathlib import Path
from typing import Final, NamedTuple

from bucketpull.domain.errors import ConfigError
from bucketpull.wiring.output import tell
from bucketpull.wiring.settings import Settings

_TOKEN: Final = re.compile(r"[!-~]{16,4096}")


class DashboardAccess(NamedTuple):
    """`token` None is a new one; without `tls` it speaks plain HTTP; `volumes_below` are real paths."""

    token: str | None
    tls: ssl.SSLContext | None
    volumes_below: tuple[str, ...]


def dashboard_access(settings: Settings) -> DashboardAccess:
    """Read what the settings name.

    Raises:
        ConfigError: It cannot be used.

    """
    below = tuple(map(_folder, settings.volumes_below))
    return DashboardAccess(_token(settings), _tls(settings), below)


def _token(settings: Settings) -> str | None:
    text, where = settings.dashboard_token, "BUCKETPULL_DASHBOARD_TOKEN"
    if settings.dashboard_token_file is not None:
        where = f"--dashboard-token-file {settings.dashboard_token_file}"
        text = _secret_file(where, settings.dashboard_token_file)
    elif not text:
        return None
    if not _TOKEN.fullmatch(text.strip()):
        raise ConfigError(
            f"{where}: is not a token, which is one line of at least 16 characters of ASCII; "
            "make one with `openssl rand -hex 32`"
        )
    return text.strip()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    certificate, key = settings.dashboard_cert, settings.dashboard_key
    if certificate is None:
        if key is not None:
            raise ConfigError("--dashboard-key: give its certificate too, with --dashboard-cert")
        return None
    where = f"--dashboard-cert {certificate}"
    _secret_file(where if key is None else f"--dashboard-key {key}", key or certificate, is_key=True)
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


def _secret_file(where: str, path: str, *, is_key: bool = False) -> str:
    """Read a file that holds a secret; say so where others can read it."""
    try:
        with Path(path).open(encoding="ascii", errors="replace") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(10_000)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror or error}; name a file that can be read") from error
    if mode & 0o077 and (not is_key or "PRIVATE KEY" in text):
        tell(f"{where}: others can read it; chmod 600 {path}")
    return text


def _folder(path: str) -> str:
    if not os.path.isdir(path):
        raise ConfigError(f"--volumes-below {path}: is not a directory; name one that holds mount points")
    return os.path.realpath(path)
