"""Hooks for whoever watches over jobs: `--ping` tells a service such as healthchecks.io by POST, `--on-end` runs a command."""

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import pycurl

from bucketpull.domain.errors import ConfigError

TRIES: Final = 3
BOUND_SECONDS: Final = 10.0  # for all tries of one ping together
_PAUSE_SECONDS: Final = 1.0
_ON_END_SECONDS: Final = 60.0
_PASSING: Final = frozenset({408, 425, 429})  # and all of 500 on: another try may go through


class Ping:
    """Sends pings one after the other, on a thread of its own, so that nobody waits for the service.

    `failed` is told, on that thread, in words, of a ping that did not arrive. A URL is a secret: only its host is ever named.
    `version` is ours. `authorities` is the file of those that are trusted, None for libcurl's own.
    """

    def __init__(
        self, url: str, failed: Callable[[str], None], version: str, authorities: str | None
    ) -> None:
        self._url = parse_ping(url)
        self._failed = failed
        self._agent = f"bucketpull/{version}"
        self._authorities = authorities
        self._waiting: queue.SimpleQueue[tuple[str, bytes, float] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def send(self, event: str, body: bytes) -> None:
        """Have a ping sent: to URL/event, or to URL if `event` is empty."""
        self._waiting.put((event, body, time.monotonic() + BOUND_SECONDS))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ping", daemon=True)
            self._thread.start()

    def drain(self) -> None:
        """Wait until all have been sent, or given up; then nothing more can be sent."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(2 * BOUND_SECONDS)

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            event, body, deadline = waiting
            error = self._send(_joined(self._url, event), body, deadline)
            if error:
                self._failed(f"--ping {self._url.hostname}: {event or 'end'} did not arrive: {error}")

    def _send(self, url: str, body: bytes, deadline: float) -> str:
        """Send one ping; return what went wrong, in words, or nothing."""
        error = ""
        for attempt in range(TRIES):
            left = deadline - time.monotonic()
            if attempt and left < _PAUSE_SECONDS:
                break
            error, passing = self._post(url, body, max(_PAUSE_SECONDS, left / (TRIES - attempt)))
            if not passing:
                break
            if attempt + 1 < TRIES:
                time.sleep(min(_PAUSE_SECONDS * (attempt + 1), max(0.0, deadline - time.monotonic())))
        return error

    def _post(self, url: str, body: bytes, seconds: float) -> tuple[str, bool]:
        """Make one request; return what went wrong, and whether that may pass."""
        easy = pycurl.Curl()
        try:
            for name, value in (
                (pycurl.URL, url),
                (pycurl.POSTFIELDS, body),
                (pycurl.HTTPHEADER, ("Content-Type: application/json",)),
                (pycurl.USERAGENT, self._agent),
                (pycurl.NOSIGNAL, 1),
                (pycurl.TIMEOUT_MS, int(seconds * 1000)),
                (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
                (pycurl.WRITEFUNCTION, len),  # what it answers is not looked at
            ):
                easy.setopt(name, value)
            if self._authorities is not None:
                easy.setopt(pycurl.CAINFO, self._authorities)
            easy.perform()
            status = int(easy.getinfo(pycurl.RESPONSE_CODE))
        except pycurl.error as error:
            return pycurl.Curl.errstr_raw(easy).decode(errors="replace") or str(error.args[-1]), True
        finally:
            easy.close()
        if 200 <= status < 300:
            return "", False
        return f"answers {status}", status in _PASSING or status >= 500


def parse_ping(url: str) -> SplitResult:
    """Read the URL of a service that watches over jobs; errors do not show it. Raises ConfigError where it is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - a port beyond all is found by asking for it
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isascii() or " " in url:
        raise ConfigError("--ping: write a URL such as https://hc-ping.com/UUID")
    if parts.netloc.endswith(":"):
        raise ConfigError("--ping: has no port after its colon; write one, or leave out the colon")
    return parts


def _joined(url: SplitResult, event: str) -> str:
    """Return the URL of an event: below the path, before the query."""
    path = f"{url.path.rstrip('/')}/{event}" if event else url.path
    return urlunsplit(url._replace(path=path, fragment=""))


def run_on_end(
    command: str,
    names: Mapping[str, str],
    code: int,
    document: bytes,
    failed: Callable[[str], None],
    bound_seconds: float = _ON_END_SECONDS,
) -> None:
    """Run the command of `--on-end` in the shell, with how the job ended in its environment and in a file; `failed` is told in words.

    `names` are variables by which bucketpull's other commands find the job. What it prints goes to standard error: standard output
    may be a program's. It and what it started are killed after `bound_seconds`.
    """
    import tempfile

    try:
        with tempfile.TemporaryDirectory(prefix="bucketpull-") as folder:
            summary = Path(folder, "summary.json")
            summary.write_bytes(document)
            given = {"BUCKETPULL_EXIT_CODE": str(code), "BUCKETPULL_SUMMARY_FILE": str(summary), **names}
            error = _run(command, os.environ | given, bound_seconds)
    except OSError as problem:
        error = f"not run: {problem.strerror}"
    if error:
        failed(f"--on-end: {error}")


def _run(command: str, environment: dict[str, str], bound_seconds: float) -> str:
    """Run it; return what went wrong, in words, or nothing."""
    process = subprocess.Popen(  # noqa: S602 - it is the operator's, for the shell
        command, shell=True, env=environment, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True
    )
    try:
        code = process.wait(bound_seconds)
    except subprocess.TimeoutExpired:
        return f"did not end within {bound_seconds:g} s, and was killed"
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return f"ended with exit code {code}" if code else ""
