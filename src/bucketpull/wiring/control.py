"""Words to a running coordinator from other commands: a Unix socket in the journal's folder, one question a connection.

A question and its answer are a line of JSON each. Whoever may write to the folder's socket steers the job: it is made for its
owner alone. A coordinator that was killed leaves a socket that refuses: then nobody runs.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from bucketpull.domain.errors import BucketpullError, ExitCode, JournalError
from bucketpull.domain.model import Limits
from bucketpull.domain.progress import Snapshot

SOCKET: Final = "control"
_ANSWER_SECONDS: Final = 60.0  # giving up a volume goes through all pages of the journal
_LONGEST: Final = 1 << 26


class ShowJob(msgspec.Struct, tag="show"):
    """Say where the job stands."""


class AddVolume(msgspec.Struct, tag="add-volume"):
    """Use a volume more; `path` is absolute."""

    path: str


class DrainVolume(msgspec.Struct, tag="drain-volume"):
    """Put nothing more on a volume, named by id or path."""

    volume: str


class LoseVolume(msgspec.Struct, tag="lose-volume"):
    """Count on nothing of a volume, named by id, any more."""

    volume: str


class SetLimits(msgspec.Struct, tag="set-limits"):
    """Change rate, bandwidth and concurrency of the whole job, pause it or let it go on."""

    limits: Limits


Question = ShowJob | AddVolume | DrainVolume | LoseVolume | SetLimits


class Answer(msgspec.Struct):
    """What came of it: words for people, `error` if it was refused (then with the exit code), the job as it stands."""

    text: str = ""
    error: int = 0
    snapshot: Snapshot | None = None


class Refused(BucketpullError):
    """A running coordinator could not do what it was asked for."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = ExitCode(code)


def ask(folder: Path, question: Question, seconds: float = _ANSWER_SECONDS) -> Answer | None:
    """Ask the coordinator that has the journal in a folder; None if none does.

    Raises:
        Refused: It cannot do that; says why.
        JournalError: It does not answer, or we may not ask it.

    """
    try:
        with socket.socket(socket.AF_UNIX) as connection, _address(folder) as address:
            connection.settimeout(seconds)
            connection.connect(address)
            connection.sendall(msgspec.json.encode(question) + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
            answer = msgspec.json.decode(line, type=Answer)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        what = f"journal {folder}: its coordinator does not answer ({error})"
        raise JournalError(f"{what}; ask as the same user, or stop it first") from error
    if answer.error:
        raise Refused(answer.text, answer.error)
    return answer


class ControlServer:
    """The coordinator's end. `obey` does what is asked for, and raises errors of the tree where it cannot."""

    def __init__(self, folder: Path, obey: Callable[[Question], Awaitable[Answer]]) -> None:
        self._folder = folder
        self._obey = obey
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Only the holder of the journal's lock may: what lies there is of a dead one.

        Raises:
            OSError: The folder's file system has no sockets.

        """
        listener = socket.socket(socket.AF_UNIX)
        try:
            (self._folder / SOCKET).unlink(missing_ok=True)
            with _address(self._folder) as address:
                listener.bind(address)
            (self._folder / SOCKET).chmod(0o600)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LONGEST)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            (self._folder / SOCKET).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(msgspec.json.encode(await self._answer(await reader.readline())) + b"\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def _answer(self, line: bytes) -> Answer:
        try:
            return await self._obey(msgspec.json.decode(line, type=Question))
        except BucketpullError as error:
            return Answer(str(error), error=int(error.exit_code))
        except msgspec.DecodeError as error:
            text = f"the coordinator does not know this order ({error}): it is another version of bucketpull"
            return Answer(text, error=int(ExitCode.USAGE))


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """Give the socket's address by way of the open folder: an address has at most 107 bytes, a path may have more."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET}"
    finally:
        os.close(fd)
