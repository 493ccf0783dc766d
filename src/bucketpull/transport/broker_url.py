"""The address of a broker, as an operator writes it. It may hold a password: no message repeats it."""

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.values import shown_value

HEARTBEAT_SECONDS: Final = 10
# What a broker's URL may ask for, as the client documents it. Of a number that is none it would make 0: no heartbeats at all.
_FILES: Final = ("cafile", "certfile", "keyfile")
_SECONDS: Final = ("heartbeat", "timeout")
_OPTIONS: Final = (*_FILES, "capath", "cadata", "no_verify_ssl", *_SECONDS, "name", "auth")
_MOST_SECONDS: Final = 1 << 16


def place_of(url: str) -> str:
    """Return host and port of a broker's URL."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"


def with_heartbeat(url: str) -> str:
    """Return a broker's URL with our heartbeat, unless it has one.

    Raises ConfigError where it is no AMQP URL, or asks for what there is not; the message does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("--broker: write amqp://USER:PASSWORD@HOST:PORT/VHOST (or amqps://)")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_options(query)
    query.setdefault("heartbeat", str(HEARTBEAT_SECONDS))
    return urlunsplit(parts._replace(query=urlencode(query)))


def _check_options(query: Mapping[str, str]) -> None:
    """Refuse options that the client would ignore, and files that it would not find."""
    for name, value in query.items():
        if name not in _OPTIONS:
            raise ConfigError(f"--broker: there is no option {name}; there are {', '.join(_OPTIONS)}")
        if name in _SECONDS and not (
            value.isascii() and value.isdecimal() and 0 < int(value) < _MOST_SECONDS
        ):
            raise ConfigError(f"--broker: {name} {shown_value(value)}: write a number of seconds, such as 10")
        if name in _FILES and not os.access(value, os.R_OK):
            raise ConfigError(f"--broker: {name}: {value} cannot be read; name a file that can")
