"""`--on-end`: the operator's command, run when a job has ended, whatever the cause."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from bucketpull.domain.errors import ConfigError

BOUND_SECONDS: Final = 60.0


def check_command(command: str) -> None:
    """Make sure that there is something to run. Raises ConfigError where there is nothing."""
    if not command.strip():
        raise ConfigError("--on-end '': write a command for the shell")


def run_on_end(
    command: str,
    names: Mapping[str, str],
    code: int,
    document: bytes,
    failed: Callable[[str], None],
    bound_seconds: float,
) -> None:
    """Run a command of the shell, with how the job ended in its environment and in a file; `failed` is told in words.

    `names` are variables by which bucketpull's other commands find the job. What it prints goes to standard error: standard output
    may be a program's. It and what it started are killed after `bound_seconds`.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="bucketpull-") as folder:
            summary = Path(folder, "summary.json")
            summary.write_bytes(document)
            given = {
                "BUCKETPULL_EXIT_CODE": str(code),
                "BUCKETPULL_SUMMARY_FILE": str(summary),
                **names,
            }
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
