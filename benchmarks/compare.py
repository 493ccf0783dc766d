"""Runs tools in turn on one bucket, several times, and keeps the costs."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.broker import Broker

from benchmarks.bucket import Bucket
from benchmarks.meter import Cost, measure
from benchmarks.origin import Origin
from benchmarks.tools import Task, Tool


@dataclass(frozen=True)
class Setting:
    """How a comparison is run. The server has `server_core` for itself, the tools have `client_cores`."""

    destination: Path
    connections: int = 64
    repetitions: int = 3
    slow_repetitions: int = 3
    server_core: int = 1
    client_cores: tuple[int, ...] = (0,)
    tls: bool = False


@dataclass
class Result:
    """A tool's runs on one bucket."""

    tool: Tool
    bucket: Bucket
    setting: Setting
    costs: list[Cost] = field(default_factory=list)
    trouble: str = ""

    def cpu_microseconds(self) -> float:
        """Return user and system time of all processes, an object (median)."""
        return self._median([cost.cpu_seconds for cost in self.costs]) * 1e6 / len(self.bucket.keys)

    def user_share(self) -> float:
        """Return which part of the CPU time is user time (median)."""
        return self._median([cost.user_seconds / cost.cpu_seconds for cost in self.costs])

    def objects_per_second(self) -> float:
        """Return the rate by wall time (median)."""
        return len(self.bucket.keys) / self._median([cost.wall_seconds for cost in self.costs])

    def megabytes_per_second(self) -> float:
        """Return the bandwidth by wall time (median), in 10^6 bytes."""
        return self.bucket.bytes / 1e6 / self._median([cost.wall_seconds for cost in self.costs])

    def memory_megabytes(self) -> float:
        """Return the highest peak of any run, in 10^6 bytes."""
        return max(cost.memory_bytes for cost in self.costs) / 1e6

    @staticmethod
    def _median(values: Sequence[float]) -> float:
        return statistics.median(values)


def compare(origin: Origin, tools: Sequence[Tool], setting: Setting) -> list[Result]:
    """Run each tool once a round; a tool that fails is left out of the next rounds and says why."""
    results = [Result(tool, origin.bucket, setting) for tool in tools if tool.tls or not setting.tls]
    for number in range(setting.repetitions):
        for result in results:
            if not result.trouble and (number < setting.slow_repetitions or not result.tool.slow):
                _run(result, origin, setting)
                _tell(number, result)
    return results


def _run(result: Result, origin: Origin, setting: Setting) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=setting.destination) as folder:
        destination, scratch = Path(folder) / "volume", Path(folder) / "scratch"
        scratch.mkdir()
        for directory in origin.bucket.directories:
            (destination / directory).mkdir(parents=True)
        processes = len(setting.client_cores)
        log = scratch / "log"
        # Each run has a broker of its own, new and empty; it starts before the meter does.
        with Broker(scratch / "broker") if result.tool.broker else nullcontext() as broker:
            url = broker.url if broker else ""
            task = Task(origin, destination, scratch, setting.connections, processes, setting.tls, url)
            command = result.tool.command(task)
            if shutil.which(command.arguments[0]) is None:
                result.trouble = "not installed"
                return
            try:
                cost = measure(command.arguments, setting.client_cores, command.env, log, setting.server_core)
            except subprocess.CalledProcessError:  # it did not end, or left processes: the other tools go on
                result.trouble = log.read_text(errors="replace")[-400:].strip()
                return
        if cost.exit_code:
            result.trouble = f"exit {cost.exit_code}: {log.read_text(errors='replace')[-400:].strip()}"
        elif result.tool.stores and not result.tool.is_whole(origin.bucket, destination):
            result.trouble = "files are missing or short"
        else:
            result.costs.append(cost)
        os.sync()  # nobody pays for the write-back of the tool before it


def _tell(number: int, result: Result) -> None:
    said = (
        result.trouble
        or f"{result.costs[-1].cpu_seconds * 1e6 / len(result.bucket.keys):.0f} µs CPU an object"
    )
    tls = " (TLS)" if result.setting.tls else ""
    print(f"  round {number + 1}  {result.bucket.name}{tls}  {result.tool.name}: {said}", file=sys.stderr)
