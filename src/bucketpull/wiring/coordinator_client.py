"""How commands reach the coordinator of a job: by the socket beside its journal, or through the broker."""

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bucketpull import __version__
from bucketpull.domain.errors import ConfigError, JournalError
from bucketpull.web import control_socket
from bucketpull.web.client import Answer, Client, ask_by
from bucketpull.wiring.journals import existing_folder
from bucketpull.wiring.output import inform
from bucketpull.wiring.settings import Settings

if TYPE_CHECKING:
    from bucketpull.transport.remote_query import Asker

_ANSWER_SECONDS: Final = 60.0  # giving up a volume goes through all pages of the journal


def local_client(folder: Path, seconds: float = _ANSWER_SECONDS) -> Client | None:
    """Return the way to the coordinator that has the journal in a folder; None if none has.

    Its calls raise as `Client` does, and JournalError where the coordinator does not answer.

    Raises JournalError where we may not ask it.
    """

    def ask(method: str, target: str, body: bytes) -> Answer:
        try:
            connection = control_socket.connect(folder, seconds)
            if connection is None:
                raise _silent(folder, "it has just ended")
            return ask_by(connection, method, target, body)
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


def broker_client(settings: Settings) -> Client:
    """Return the way to the coordinator of `--job` through the broker. Raises ConfigError where broker, job or key are not known."""
    found = asker(settings)

    def ask(method: str, target: str, body: bytes) -> Answer:
        return Answer(*asyncio.run(found.ask(method, target, body)))

    return Client(ask)


def asker(settings: Settings) -> "Asker":
    """Return what asks through the broker, and may give orders if it has the job's own key; with a machine's key it may only look.

    Raises ConfigError where broker, job or key are not known.
    """
    from bucketpull.transport.envelope import Session
    from bucketpull.transport.job_key import OPERATOR, MachineKey
    from bucketpull.transport.remote_query import Asker
    from bucketpull.wiring.job_key_file import worker_key

    url, job, key = settings.broker_url(), settings.job_name(), worker_key(settings)
    machine = key.machine if isinstance(key, MachineKey) else OPERATOR
    return Asker(url, job, machine, Session(key, __version__, job, secrets.token_hex(8)))


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
    text = client_of(settings, by_broker=by_broker).post(target, body)["text"]
    if not settings.quiet:
        inform(str(text))


def _silent(folder: Path, error: object) -> JournalError:
    what = f"journal {folder}: its coordinator does not answer ({error})"
    return JournalError(f"{what}; ask as the same user, or stop it first")
