"""The installed command against the simulator, as a user runs it: arguments, environment, exit code, files on disk."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from upyun_simulator import Simulator, content

COMMAND = (sys.executable, "-m", "bucketpull")
COORDINATOR_STEPS = (
    "claimed",
    "received",
    "committed",
    "acknowledged",
    "intended",
    "synced",
    "appended",
    "settled",
)
DEADLINE_SECONDS = 120


@dataclass
class Job:
    """One job on one machine: a simulated bucket, a folder for the journal, and volumes.

    It waits for answers only briefly, so that faults cost little time; `patient` is one that counts each request, on a busy machine too.
    """

    simulator: Simulator
    folder: Path
    volumes: list[Path]
    cdn: bool = True
    options: list[str] = field(default_factory=list)
    source: str = ""
    patient: bool = False
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def arguments(self, *options: str) -> list[str]:
        """Return the whole command line of a sync."""
        source = self.source or f"upyun://{self.simulator.bucket}"
        access = ["--api-url", self.simulator.api_url]
        if self.cdn:
            access += ["--cdn-url", self.simulator.cdn_url]
        own = ["--state", str(self.state), "--summary", str(self.folder / "summary.json"), "--reserve", "0"]
        return [*COMMAND, "sync", source, *map(str, self.volumes), *access, *own, *self.options, *options]

    @property
    def state(self) -> Path:
        """The journal's folder."""
        return self.folder / "state"

    @property
    def environment(self) -> dict[str, str]:
        """The environment, with the simulator's credentials."""
        brief = {"BUCKETPULL_STALL_SECONDS": "1.5", "BUCKETPULL_FIRST_BYTE_SECONDS": "3"}
        return {
            **os.environ,
            "UPYUN_OPERATOR": self.simulator.operator,
            "UPYUN_PASSWORD": self.simulator.password,
            "LC_ALL": "C.UTF-8",
            "BUCKETPULL_RETRY_SECONDS": "0.2",
            **({} if self.patient else brief),
        }

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start a sync. It is ended with the test, if that has not done so."""
        process = subprocess.Popen(
            self.arguments(*options),
            env=self.environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End every sync that is left."""
        for process in self.started:
            if process.returncode is None:
                process.kill()
                process.communicate()

    def sync(self, *options: str, expect: int = 0) -> dict[str, object]:
        """Run a sync to its end, check its exit code, and return its summary."""
        process = self.start(*options)
        try:
            _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        finally:
            process.kill()
        assert process.returncode == expect, errors
        return self.summary()

    def summary(self) -> dict[str, object]:
        """Return the last run's summary."""
        found: dict[str, object] = json.loads((self.folder / "summary.json").read_text())
        return found

    def command(self, *arguments: str, expect: int = 0) -> str:
        """Run another command on this job; return what it prints."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == expect, done.stderr + done.stdout
        return done.stdout

    def stop_when(self, process: subprocess.Popen[str], number: int, ready: Callable[[], bool]) -> str:
        """Send a signal as soon as something is so; return what the process said."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not ready():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        return errors

    def kill_when(self, ready: Callable[[], bool], *options: str) -> None:
        """Start a sync, and kill it without mercy as soon as something is so."""
        self.stop_when(self.start(*options), signal.SIGKILL, ready)

    def files(self) -> dict[str, bytes]:
        """Return what lies on the volumes, by path; a path on two volumes is an error."""
        found: dict[str, bytes] = {}
        for volume in self.volumes:
            for path in volume.rglob("*"):
                if path.is_file() and ".bucketpull" not in path.relative_to(volume).parts:
                    key = str(path.relative_to(volume))
                    assert key not in found, f"{key} lies on two volumes"
                    found[key] = path.read_bytes()
        return found

    def count(self) -> int:
        """Return how many files lie on the volumes."""
        return sum(
            len(names)
            for volume in self.volumes
            for folder, _, names in os.walk(volume)
            if ".bucketpull" not in folder
        )

    def check_every_byte(self) -> None:
        """Compare the volumes with the bucket, as it was at its start."""
        expected = {item.key: item for item in self.simulator.contents.walk()}
        files = self.files()
        assert files.keys() == expected.keys()
        for key, item in expected.items():
            assert files[key] == content(item.key, item.size, item.version), key


@pytest.fixture
def make_job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Make jobs with a simulator each; `volumes` is how many."""
    simulators: list[Simulator] = []
    jobs: list[Job] = []

    def make(
        spec: str, *, volumes: int = 1, cdn: bool = True, patient: bool = False, **settings: object
    ) -> Job:
        simulator = Simulator(spec, **settings)
        simulators.append(simulator)
        simulator.__enter__()
        folders = [tmp_path / f"volume{number}" for number in range(volumes)]
        jobs.append(Job(simulator, tmp_path, folders, cdn, ["--processes", "2"], patient=patient))
        return jobs[-1]

    yield make
    for job in jobs:
        job.end()
    for simulator in simulators:
        simulator.__exit__(None, None, None)
