"""Notifies of how a job does where nobody watches it: `--ping`, `--on-end`, `--log-file`, systemd. None changes how it ends."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bucketpull import __version__
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import BucketpullError, ConfigError, ExitCode, SourceRefused
from bucketpull.domain.progress import Snapshot
from bucketpull.fetch.certificates import authorities
from bucketpull.report.console import heard_by, tell, words_for_file
from bucketpull.report.document import summary_dict
from bucketpull.report.reasons import explain
from bucketpull.sources.registry import credentials_of
from bucketpull.wiring.file_checks import check_file
from bucketpull.wiring.settings import Settings

if TYPE_CHECKING:
    from bucketpull.ports import Reporter
    from bucketpull.report.hooks import Ping
    from bucketpull.report.log_file import LogFile

# What stops a job, or a part of it, until an operator acts.
TROUBLE: Final = frozenset(
    {"broker.lost", "endpoint.down", "job.no-room", "machine.silent", "source.silent", "volume.sick"}
)
QUIET_SECONDS: Final = 600.0  # between two pings of the same kind of trouble
_SHORTEST_SECRET: Final = 4  # shorter ones are part of too many words


class Notifier:
    """A reporter that tells of the start, of trouble and of the end. `note_to` is called with what could not be sent.

    `reporters` are this one, and those that tell the rest where nobody watches.
    """

    def __init__(self, settings: Settings) -> None:
        self.note_to: Callable[[str, str, str], None] | None = None
        self._settings = settings
        self._job, self._machine = _known(settings.job_name), _known(settings.machine_name)
        self._last: Snapshot | None = None
        self._begun = False
        self._told: dict[str, float] = {}
        self._failed: SimpleQueue[str] = SimpleQueue()
        self._ping = _ping_of(settings, self._failed.put)
        if settings.on_end is not None and not settings.on_end.strip():
            raise ConfigError("--on-end '': write a command for the shell")
        self.log = _log_of(settings)
        self.reporters: list[Reporter] = [self]
        if os.environ.get("NOTIFY_SOCKET"):
            from bucketpull.report.systemd import SystemdReporter

            self.reporters.append(SystemdReporter(words_for_file()))
        if self.log is not None:
            from bucketpull.report.log_file import LogReporter

            self.reporters.append(LogReporter(self.log, words_for_file()))

    def begin(self) -> None:
        """Tell of the start, once; from now on there may be threads."""
        if not self._begun:
            self._begun = True
            self._send("start", self._names())
            if self.log is not None:
                self.log.start()

    def show(self, snapshot: Snapshot) -> None:
        """Tell of the start when the job is first shown: whatever is refused before has no start, but an end."""
        self._last = snapshot
        self.begin()
        self._tell_failed()

    def note(self, level: str, event: str, text: str) -> None:
        """Tell of trouble, each kind once in a while."""
        at = self._last.seconds if self._last else 0.0
        if event in TROUBLE and at - self._told.get(event, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._told[event] = at
            said = {"level": level, "event": event, "text": self._without_secrets(text)}
            self._send("fail", said | self._summary())

    def close(self, snapshot: Snapshot) -> None:
        """Keep the end for `end`."""
        self._last = snapshot

    def end(self, code: int, error: str = "") -> None:
        """Tell of the end, and wait until that has been done or given up; `error` is why the job could not go on."""
        if self.log is not None:
            if error:
                self.log.write("error", error)
            self.log.write("info", f"exit {int(code)}")
        said = {"error": self._without_secrets(error)} if error else {}
        document = {"exit": int(code)} | said | self._summary()
        self._send("" if code == ExitCode.COMPLETE else "fail", document)
        command = self._settings.on_end
        if command is not None:
            from bucketpull.report.hooks import run_on_end

            body = msgspec.json.encode(document)
            run_on_end(command, self._variables(), int(code), body, self._failed.put)
        if self._ping is not None:
            self._ping.drain()
        self.note_to = None  # nobody shows notes any more
        self._tell_failed()
        if self.log is not None:
            self.log.close()
            if self.log.lost:
                tell(
                    f"--log-file {self._settings.log_file}: {counted(self.log.lost, 'lines')} could not be written: {self.log.reason}; free some space there"
                )

    def _variables(self) -> dict[str, str]:
        """Return the environment in which bucketpull's other commands find the job."""
        state = (
            _known(lambda: os.path.abspath(self._settings.state_folder())) if self._settings.source else ""
        )
        found = {"BUCKETPULL_JOB": self._job, "BUCKETPULL_STATE": state}
        return {name: value for name, value in found.items() if value}

    def _summary(self) -> dict[str, Any]:  # JSON
        if self._last is None:
            return self._names()
        return self._names() | {"state": self._last.state} | summary_dict(self._last)

    def _names(self) -> dict[str, Any]:  # JSON
        source = {"source": self._settings.source} if self._settings.source else {}
        return {"job": self._job, "machine": self._machine} | source

    def _send(self, event: str, document: dict[str, Any]) -> None:  # JSON
        if self._ping is not None:
            self._ping.send(event, msgspec.json.encode(document))

    def _without_secrets(self, text: str) -> str:
        """Return the words of an error or an event without any secret, should they hold one."""
        for secret in self._settings.secrets():
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text

    def _tell_failed(self) -> None:
        with suppress(Empty):
            while True:
                text = self._failed.get_nowait()
                if self.note_to is not None:
                    self.note_to("warning", "notice.failed", text)
                else:
                    tell(text, level="warning")


def notified(settings: Settings, run: Callable[[Notifier], ExitCode]) -> ExitCode:
    """Run a job, and notify of how it ended, whatever the cause.

    Raises BucketpullError where `run` does, or one of the options cannot be used.
    """
    notifier = Notifier(settings)
    with heard_by(notifier.log.write if notifier.log else None):
        try:
            return _notified(notifier, run)
        except SourceRefused as error:
            error.credentials = credentials_of(settings.source)
            raise


def _notified(notifier: Notifier, run: Callable[[Notifier], ExitCode]) -> ExitCode:
    try:
        code = run(notifier)
    except SourceRefused as error:
        meaning, _ = explain(error.reason)
        notifier.end(error.exit_code, f"{meaning}: {error.detail}")
        raise
    except BucketpullError as error:
        notifier.end(error.exit_code, str(error))
        raise
    except (KeyboardInterrupt, SystemExit):
        notifier.end(ExitCode.INTERRUPTED)
        raise
    except BaseException as error:
        if notifier.log is not None:
            for line in traceback.format_exc().splitlines():
                notifier.log.write("error", line)
        notifier.end(ExitCode.BUG, f"a bug: {type(error).__name__}")
        raise
    notifier.end(code)
    return code


def _log_of(settings: Settings) -> LogFile | None:
    path = settings.log_file
    if path is None:
        return None
    check_file("--log-file", path)
    from bucketpull.report.log_file import LogFile

    try:
        return LogFile(path)
    except OSError as error:
        raise ConfigError(f"--log-file {path}: {error.strerror}; name another file") from error


def _ping_of(settings: Settings, failed: Callable[[str], None]) -> Ping | None:
    if settings.ping is None:
        return None
    from bucketpull.report.hooks import Ping

    return Ping(settings.ping, failed, __version__, authorities(settings.ca_file))


def _known(name: Callable[[], str]) -> str:
    with suppress(ConfigError):  # which the job itself will tell
        return name()
    return ""
