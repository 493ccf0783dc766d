"""The installed command, run as a user runs it: in a folder of its own, with a home of its own, against the simulator."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from upyun_simulator import Simulator

COMMAND = Path(sys.executable).with_name("bucketpull")
DEADLINE_SECONDS = 60


class User:
    """Somebody at a terminal: `folder` is where they are, with `home` in it; `environment` may be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "home").mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "80",
            "BUCKETPULL_RESERVE": "1M",
        }

    def knows(self, simulator: Simulator) -> "User":
        """Give the user the credentials and the address of a service."""
        self.environment |= simulator.environment | {
            "BUCKETPULL_API_URL": simulator.api_url,
            "BUCKETPULL_CDN_URL": simulator.cdn_url,
        }
        return self

    def run(self, *arguments: object, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert expect is None or done.returncode == expect, (
            f"exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
        assert done.returncode != 1, done.stderr
        return done

    def says(self, *arguments: object, expect: int = 0) -> str:
        """Return what a command writes to standard output."""
        return self.run(*arguments, expect=expect).stdout

    def json(self, *arguments: object, expect: int = 0) -> list[dict]:
        """Return the lines of a command's JSON."""
        return [json.loads(line) for line in self.says(*arguments, "--json", expect=expect).splitlines()]

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def start_at_a_terminal(self, *arguments: object) -> tuple[subprocess.Popen[bytes], int, int]:
        """Start a command at a pseudo-terminal of its own; return its process, our end and theirs."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment | {"TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        return process, ours, theirs

    def files(self, folder: str = "") -> list[str]:
        """Return all files below a folder, but those of volumes' own."""
        base = self.folder / folder
        found = (path.relative_to(base) for path in base.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if ".bucketpull" not in path.parts)

    def everything(self) -> list[str]:
        """Return every file and folder, to see that nothing was made."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))

    def volume_id(self, folder: str) -> str:
        return json.loads((self.folder / folder / ".bucketpull/volume.json").read_text())["id"]


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


@pytest.fixture(scope="session")
def service() -> Iterator[Simulator]:
    with Simulator("2023=flat:30,size=900;2024=flat:70,size=1100", bucket="photos") as running:
        yield running


@pytest.fixture
def bucket() -> Iterator[Callable[..., Simulator]]:
    """Start simulators of the test's own, for those that change or spoil them."""
    running: list[Simulator] = []

    def make(spec: str, **options: object) -> Simulator:
        running.append(Simulator(spec, **{"bucket": "photos", **options}).start())
        return running[-1]

    yield make
    for simulator in running:
        simulator.stop()
