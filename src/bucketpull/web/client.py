"""The commands' end of the API: one request over a socket."""

import socket
from collections.abc import Callable
from typing import NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from bucketpull.domain.errors import BucketpullError, ExitCode, TransportError

T = TypeVar("T")
_PIECE = 1 << 16


class Answer(NamedTuple):
    """What the coordinator answered."""

    status: int
    body: bytes


Ask = Callable[[str, str, bytes], Answer]
"""Sends a method, a target and a body to the coordinator of a job."""


class Refused(BucketpullError):
    """A running coordinator could not do what it was asked for."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = ExitCode(code)


class _Error(msgspec.Struct):
    error: str
    exit: int = int(ExitCode.USAGE)


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


def ask_by(connection: socket.socket, method: str, target: str, body: bytes) -> Answer:
    """Send one request over a connection; close it.

    Raises:
        OSError: It breaks, nothing comes in time, or the answer is no HTTP.

    """
    import h11  # a job does not ask

    client = h11.Connection(h11.CLIENT)
    headers = [("Host", "bucketpull"), ("Content-Length", str(len(body))), ("Connection", "close")]
    try:
        with connection:
            sent = client.send(h11.Request(method=method, target=target, headers=headers)) or b""
            sent += client.send(h11.Data(data=body)) or b""
            connection.sendall(sent + (client.send(h11.EndOfMessage()) or b""))
            status, pieces = 0, []
            while not isinstance(event := client.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    client.receive_data(connection.recv(_PIECE))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
                elif isinstance(event, h11.ConnectionClosed):
                    raise ConnectionResetError("it closed the connection")
    except h11.RemoteProtocolError as error:
        raise ConnectionError(str(error)) from error
    return Answer(status, b"".join(pieces))


def _read(answer: Answer, kind: type[T]) -> T:
    try:
        if answer.status >= 400:
            error = msgspec.json.decode(answer.body, type=_Error)
            raise Refused(error.error, error.exit)
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError as error:
        raise TransportError(
            f"the job's coordinator is of another version ({error}); install the same here"
        ) from error
