"""The address of a broker, as an operator writes it, and what is said where it does not let us in. It may hold a password: no message repeats it."""

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiormq

from bucketpull.domain.errors import ConfigError, TransportError
from bucketpull.domain.user_input import shown_value

# What a broker's URL may ask for, as the client documents it. Of a number that is none it would make 0: no heartbeats at all.
_FILES: Final = ("cafile", "certfile", "keyfile")
_SECONDS: Final = ("heartbeat", "timeout")
# The client takes each other value of the first for 1: no certificate would be checked.
_WORDS: Final = {"no_verify_ssl": ("0", "1"), "auth": ("plain", "external")}
_OPTIONS: Final = (*_FILES, "capath", "cadata", "no_verify_ssl", *_SECONDS, "name", "auth")
_MOST_SECONDS: Final = 1 << 16
_REFUSED: Final = (
    aiormq.exceptions.AuthenticationError,
    aiormq.exceptions.ProbableAuthenticationError,
    aiormq.exceptions.ConnectionNotAllowed,
)
_REFUSED_AT: Final = re.compile(r"\[Errno (\d+)\] Connect call failed")


def _place_of(url: str) -> str:
    """Return host and port of a broker's URL."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"


def with_heartbeat(url: str, seconds: int) -> str:
    """Return a broker's URL with a heartbeat each so many seconds, unless it asks for another.

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
    query.setdefault("heartbeat", str(seconds))
    return urlunsplit(parts._replace(query=urlencode(query)))


def _check_options(query: Mapping[str, str]) -> None:
    """Refuse options that the client would ignore or take for something else, and files that it would not find."""
    for name, value in query.items():
        if name not in _OPTIONS:
            raise ConfigError(f"--broker: there is no option {name}; there are {', '.join(_OPTIONS)}")
        if name in _SECONDS and not (
            value.isascii() and value.isdecimal() and 0 < int(value) < _MOST_SECONDS
        ):
            raise ConfigError(f"--broker: {name} {shown_value(value)}: write a number of seconds, such as 10")
        if name in _WORDS and value.lower() not in _WORDS[name]:
            raise ConfigError(
                f"--broker: {name} {shown_value(value)}: write one of {', '.join(_WORDS[name])}"
            )
        if name in _FILES and not os.access(value, os.R_OK):
            raise ConfigError(f"--broker: {name}: {value} cannot be read; name a file that can")


def unreachable(url: str, error: BaseException) -> ConfigError | TransportError:
    """Return the error that says where no broker is reached, or why it does not let us in; what else is in the URL stays untold."""
    if isinstance(error, _REFUSED):
        why = _words(error)
        return ConfigError(f"--broker: the login was refused: {why}; check user, password and virtual host")
    if isinstance(error, aiormq.exceptions.ChannelAccessRefused):
        return TransportError(
            f"the broker at {_place_of(url)} refuses the account a queue of the job: {_words(error)}; "
            "`rabbitmqctl set_permissions` gives it the rights"
        )
    return TransportError(
        f"the broker at {_place_of(url)} cannot be reached: {_words(error)}; "
        "check --broker, whether it runs there, and the network and firewall between"
    )


def takes_nothing(url: str) -> TransportError:
    """Return the error that says what an alarm of the broker does."""
    return TransportError(
        f"the broker at {_place_of(url)} takes no messages, for it is short of memory or disk; "
        "make room there: `rabbitmqctl status` names the alarm"
    )


def lost_at(url: str) -> str:
    """Say that there is no connection any more, to what, and what becomes of it."""
    return f"the connection to the broker at {_place_of(url)} was lost; it is made again as soon as the broker answers"


def _words(error: BaseException) -> str:
    """Say what went wrong as the system does, once for all addresses of a host."""
    text = str(error).replace("\n", " ").strip()
    if isinstance(error, TimeoutError) and not text:
        return "no answer"
    numbers = dict.fromkeys(_REFUSED_AT.findall(text))
    if numbers:
        return ", ".join(os.strerror(int(number)) for number in numbers)
    return re.sub(r"\[Errno -?\d+\] ", "", text) or type(error).__name__
