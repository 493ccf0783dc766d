"""Runs command lines in copies of one process: hundreds of them in the time of ten starts of the interpreter.

As a program it reads a request a line from standard input, and answers each with a line. The copy has arguments, environment, folder and
user of its own, and real descriptors; only locale and interpreter options are those of the process itself.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

DEADLINE_SECONDS = 30
LATE = (
    "bucketpull.wiring.cluster",
    "bucketpull.wiring.local_job",
    "bucketpull.web.dashboard",
    "tomllib",
    "ssl",
    "difflib",
    "pwd",
    "encodings.idna",
)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    err: bytes


class Forking:
    """The caller's end. `environment` decides the locale."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment) | {"PATH": os.environ["PATH"]},
        )

    def run(
        self, arguments: Sequence[str | bytes], folder: Path, environment: Mapping[str, str], user: int = -1
    ) -> Done:
        """Run a command as a user by number; -1 is whoever this is."""
        request = {
            "arguments": [os.fsencode(argument).hex() for argument in arguments],
            "folder": str(folder),
            "environment": {name: os.fsencode(value).hex() for name, value in environment.items()},
            "user": user,
        }
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Done(answer["code"], bytes.fromhex(answer["out"]), bytes.fromhex(answer["err"]))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(DEADLINE_SECONDS)


def serve() -> None:
    from bucketpull.cli.commands import COMMANDS

    # All that a command imports only when it needs it: a user of the copies may have no right to read that.
    for name in COMMANDS:
        importlib.import_module(f"bucketpull.cli.{name}")
    for name in LATE:
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(request: dict) -> dict[str, object]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(request, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return {"code": code, "out": _content(out), "err": _content(err)}


def _content(file) -> str:
    file.seek(0)
    return file.read().hex()


def _become(request: dict, out: int, err: int) -> None:
    """Be the command; never return. What it raises ends this process with a traceback, as it should."""
    from bucketpull.cli.main import main

    signal.alarm(DEADLINE_SECONDS)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(request["folder"])
    os.environ.clear()
    for name, value in request["environment"].items():
        os.environb[name.encode()] = bytes.fromhex(value)
    if request["user"] >= 0:
        os.setgroups([])
        os.setgid(request["user"])
        os.setuid(request["user"])
    sys.argv = ["bucketpull", *(os.fsdecode(bytes.fromhex(text)) for text in request["arguments"])]
    try:
        main()
    except SystemExit as error:
        sys.stdout.flush()
        os._exit(error.code if isinstance(error.code, int) else 1)


if __name__ == "__main__":
    serve()
