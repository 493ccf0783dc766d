"""A coordinator and workers as the processes that a user starts, joined by a private broker, with a simulated bucket."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.servers.broker import Broker

from upyun_simulator import Simulator, content

COMMAND = [sys.executable, "-m", "bucketpull"]
IMPATIENT = [sys.executable, str(Path(__file__).parent / "coordinator.py")]
DEADLINE_SECONDS = 120.0
# Bytes a second of the source, all together, until every machine is at work: the first has enough with 2,000 objects for 14 s.
SLOW = 3e5
_numbers = itertools.count()


@dataclass
class Cluster:
    """One job of several machines. `patience` are the seconds of silence and of grace that the coordinator has."""

    simulator: Simulator
    url: str
    folder: Path
    name: str = field(default_factory=lambda: f"job{os.getpid()}-{next(_numbers)}")
    patience: tuple[float, float] = (4.0, 3.0)
    cdn: bool = True
    key: str = "a job key that nobody at the broker knows".replace(" ", "-")
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.simulator.environment,
            "BUCKETPULL_BROKER": self.url,
            "BUCKETPULL_JOB": self.name,
            "BUCKETPULL_JOB_KEY": self.key,
            "BUCKETPULL_API_URL": self.simulator.api_url,
            **({"BUCKETPULL_CDN_URL": self.simulator.cdn_url} if self.cdn else {}),
            "BUCKETPULL_RETRY_SECONDS": "2",
            "LC_ALL": "C.UTF-8",
        }

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def volume(self, machine: str) -> Path:
        return self.folder / machine

    def volumes(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob("*/.bucketpull"))

    def coordinate(self, *options: str, name: str = "coordinator") -> subprocess.Popen[str]:
        own = ["--state", str(self.state), "--summary", str(self.folder / "summary.json"), "--processes", "1"]
        command = [*IMPATIENT, *map(str, self.patience), "coordinate", f"upyun://{self.simulator.bucket}"]
        return self._start(name, [*command, *own, *options])

    def work(
        self,
        machine: str,
        *options: str,
        volumes: list[Path] | None = None,
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> subprocess.Popen[str]:
        where = [str(path) for path in volumes or [self.volume(machine)]]
        own = ["--machine", machine, "--processes", "1", "--reserve", "0"]
        return self._start(machine, [*prefix, *COMMAND, "work", *where, *own, *options], environment)

    def _start(
        self, name: str, command: list[str], environment: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                command,
                env=self.environment | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def log(self, name: str = "coordinator") -> str:
        return (self.folder / f"{name}.log").read_text()

    def said_waiting(self, machine: str) -> int:
        """Count how often a machine has said that it waits for a coordinator."""
        path = self.folder / f"{machine}.log"
        return path.read_text().count("waiting for the coordinator") if path.exists() else 0

    def kill(self, name: str) -> None:
        """End a process and its children, as a power cut of their machine would."""
        process = self.processes[name]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ends(self, name: str = "coordinator", seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for a process; return its exit code."""
        try:
            return self.processes[name].wait(seconds)
        except subprocess.TimeoutExpired:
            text = "".join(f"--- {each}\n{self.log(each)[-3000:]}\n" for each in self.processes)
            raise AssertionError(f"{name} did not end in {seconds} s\n{text}") from None

    def command(self, *arguments: str, expect: int = 0) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def until(self, holds: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                text = "".join(f"--- {each}\n{self.log(each)[-3000:]}\n" for each in self.processes)
                raise AssertionError(f"it never came to that\n{text}")
            time.sleep(0.02)

    def until_all_store(self, machines: Sequence[str], bandwidth: float, objects: int = 50) -> None:
        """Wait until each machine has stored something, whichever was first; then the source gets faster.

        It must have begun with `SLOW`. Each holds two batches of its own at first, so there must be three a machine in all.
        """
        self.until(lambda: all(self.stored(machine) > objects for machine in machines))
        self.simulator.set(bandwidth=bandwidth)

    def stored(self, *machines: str) -> int:
        """Count files under their final names on some machines, or on all."""
        paths = [self.volume(machine) for machine in machines] or self.volumes()
        return sum(
            len(names)
            for path in paths
            for folder, _, names in os.walk(path)
            if ".bucketpull" not in Path(folder).parts
        )

    def summary(self) -> dict:
        return json.loads((self.folder / "summary.json").read_text())

    def check(self) -> dict:
        """Compare the books and the disks with the bucket: every object once, every byte right. Return the summary."""
        found = self.summary()
        expected = {item.key: item for item in self.simulator.contents.walk()}
        where = self.places()
        twice = [key for key, count in Counter(key for key, _ in where).items() if count > 1]
        assert not twice, f"{len(twice)} objects on more than one volume, such as {twice[:3]}"
        assert {key for key, _ in where} == expected.keys()
        for key, path in where:
            item = expected[key]
            assert path.read_bytes() == content(item.key, item.size, item.version), key
        assert found["complete"], found
        assert found["listed"] == len(expected)
        assert found["listed"] == found["stored"] + found["skipped"] + found["failed"] + found["vanished"]
        return found

    def places(self) -> list[tuple[str, Path]]:
        """Return the key and the path of each file on the volumes."""
        return [
            (str(path.relative_to(volume)), path)
            for volume in self.volumes()
            for path in volume.rglob("*")
            if path.is_file() and ".bucketpull" not in path.relative_to(volume).parts
        ]

    def end(self) -> None:
        for name in self.processes:
            self.kill(name)


@pytest.fixture
def make_cluster(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Make clusters, with a simulator each; whatever they started ends with the test."""
    made: list[Cluster] = []

    def make(spec: str, url: str = "", folder: str = "c", **settings: object) -> Cluster:
        simulator = Simulator(spec, **settings)
        simulator.start()
        (tmp_path / folder).mkdir()
        made.append(Cluster(simulator, url or broker.url, tmp_path / folder))
        return made[-1]

    yield make
    for cluster in made:
        cluster.end()
        cluster.simulator.stop()
