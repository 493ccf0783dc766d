"""How commands reach the coordinator of a job: by the socket beside its journal, or through the broker."""

import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

import msgspec

from bucketpull import __version__
from bucketpull.domain.errors import BucketpullError, ConfigError, ExitCode, JournalError, TransportError
from bucketpull.report.console import say_on
from bucketpull.report.printable import json_line
from bucketpull.web import control_socket
from bucketpull.wiring.journals import existing_folder
from bucketpull.wiring.settings import Settings

if TYPE_CHECKING:
    from bucketpull.transport.remote_query import QueryClient

_ANSWER_SECONDS: Final = 60.0  # giving up a volume goes through all pages of the journal

T = TypeVar("T")


class Refused(BucketpullError):
    """A running coordinator could not do what it was asked for."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = ExitCode(code)


class ApiError(msgspec.Struct):
    """What an API answers where it cannot do something: in words, and the exit code of a command."""

    error: str
    exit: int = int(ExitCode.USAGE)


Answer = tuple[int, bytes]
"""An HTTP status and a body."""
Ask = Callable[[str, str, bytes], Answer]
"""Sends a method, a target and a body to the coordinator of a job."""


class Client:
    """Asks the coordinator of a job, by whatever way."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    def get(self, path: str, kind: type[T], **query: object) -> T:
        """Read something, as a type.

        Raises:
            Refused: It cannot be had.
            TransportError: The coordinator is of another version.

        """
        given = {name: value for name, value in query.items() if value is not None}
        text = "&".join(
            f"{name}={quote(str(value).encode('utf-8', 'surrogateescape'))}" for name, value in given.items()
        )
        return _read(self.ask("GET", f"{path}?{text}" if text else path, b""), kind)

    def post(self, path: str, body: object = None) -> dict[str, object]:
        """Change something; return what was answered. Raises as `get`."""
        sent = b"" if body is None else msgspec.json.encode(body)
        return _read(self.ask("POST", path, sent), dict[str, object])


def _read(answer: Answer, kind: type[T]) -> T:
    status, body = answer
    try:
        if status >= 400:
            error = msgspec.json.decode(body, type=ApiError)
            raise Refused(error.error, error.exit)
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise TransportError(
            f"the job's coordinator is of another version ({error}); install the same here"
        ) from error


def local_client(folder: str, seconds: float = _ANSWER_SECONDS) -> Client | None:
    """Return the way to the coordinator that has the journal in a folder; None if none has.

    Its calls raise as `Client` does, and JournalError where the coordinator does not answer.

    Raises JournalError where we may not ask it.
    """

    def ask(method: str, target: str, body: bytes) -> Answer:
        try:
            connection = control_socket.connect(folder, seconds)
            if connection is None:
                raise _silent(folder, "it has just ended")
            return _ask_over(connection, method, target, body)
        except OSError as error:
            raise _silent(folder, error) from error

    try:
        trial = control_socket.connect(folder, seconds)
    except OSError as error:
        raise _silent(folder, error) from error
    if trial is None:
        return None
    trial.close()
    return Client(ask)


def _ask_over(connection: socket.socket, method: str, target: str, body: bytes) -> Answer:
    """Send one request over a connection; close it. Raises OSError where it breaks, nothing comes in time, or the answer is no HTTP."""
    from http.client import HTTPConnection, HTTPException  # a job does not ask

    with closing(HTTPConnection("bucketpull")) as client:
        client.sock = connection
        try:
            client.request(method, target, body, {"Connection": "close"})
            response = client.getresponse()
            return response.status, response.read()
        except HTTPException as error:
            raise ConnectionError(str(error)) from error


def broker_client(settings: Settings) -> Client:
    """Return the way to the coordinator of `--job` through the broker. Raises ConfigError where broker, job or key are not known."""
    import asyncio  # 14 ms, for what few need

    found = query_client(settings)

    def ask(method: str, target: str, body: bytes) -> Answer:
        return asyncio.run(found.ask(method, target, body))

    return Client(ask)


def query_client(settings: Settings) -> "QueryClient":
    """Return what asks through the broker, and may give orders if it has the job's own key; with a machine's key it may only look.

    Raises ConfigError where broker, job or key are not known.
    """
    from bucketpull.transport.envelope import Session
    from bucketpull.transport.job_key import OPERATOR, MachineKey
    from bucketpull.transport.remote_query import QueryClient
    from bucketpull.wiring.job_key_file import worker_key

    url, job, key = settings.broker_url(), settings.job_name(), worker_key(settings)
    machine = key.machine if isinstance(key, MachineKey) else OPERATOR
    return QueryClient(url, job, machine, Session(key, __version__, job, secrets.token_hex(8)))


def client_if_running(settings: Settings, *, by_broker: bool) -> Client | None:
    """Return the way to a job: through the broker, or to where it runs on this machine; None if it does not."""
    return broker_client(settings) if by_broker else local_client(existing_folder(settings))


def client_of(settings: Settings, *, by_broker: bool) -> Client:
    """Return the way to a job that must be running. Raises ConfigError where it does not run."""
    client = client_if_running(settings, by_broker=by_broker)
    if client is None:
        folder = existing_folder(settings)
        raise ConfigError(
            f"journal {folder}: its job does not run; start it, or name the broker with --broker"
        )
    return client


def order(settings: Settings, target: str, body: object = None, *, by_broker: bool) -> None:
    """Have a job that must be running do something, and print what it says. Raises ConfigError where it does not run."""
    tell_answer(settings, str(client_of(settings, by_broker=by_broker).post(target, body)["text"]))


def tell_answer(settings: Settings, text: str) -> None:
    """Say what was done, in the words of whoever did it: for a program, for people, or not at all."""
    if settings.json:
        say_on(json_line({"text": text}))
    else:
        settings.inform(text)


def _silent(folder: str, error: object) -> JournalError:
    what = f"journal {folder}: its coordinator does not answer ({error})"
    return JournalError(f"{what}; ask as the same user, or stop it first")
