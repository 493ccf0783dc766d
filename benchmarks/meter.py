"""Runs one command pinned to cores and says what it cost: wall time, CPU and memory of all its processes.

Run as a process of its own (`python -m benchmarks.meter`), because it adopts the command's orphans: a tool
that leaves children behind pays for them too.
"""

import ctypes
import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SAMPLE_SECONDS = 0.1
ORPHANS_SECONDS = 20
LIMIT_SECONDS = 300


@dataclass(frozen=True)
class Cost:
    """What a command cost. `memory_bytes` is the peak of the summed proportional set sizes (shared pages once)."""

    exit_code: int
    wall_seconds: float
    user_seconds: float
    system_seconds: float
    memory_bytes: int

    @property
    def cpu_seconds(self) -> float:
        """User and system time together."""
        return self.user_seconds + self.system_seconds


def measure(
    command: Sequence[str], cores: Sequence[int], env: Mapping[str, str], log: Path, server_core: int
) -> Cost:
    """Run a command and wait for it. Its output goes to `log`; the meter itself runs beside the server."""
    meter = [sys.executable, "-m", "benchmarks.meter", ",".join(map(str, cores)), *command]
    with log.open("ab") as output:
        done = subprocess.run(
            ["taskset", "-c", str(server_core), *meter],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            check=True,
        )
    return Cost(**json.loads(done.stdout))


def descendants(pid: int) -> Iterator[int]:
    """List the living processes below one."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield int(child)
            yield from descendants(int(child))


def memory_bytes(pid: int) -> int:
    """Return a process's proportional set size; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def sample() -> int:
    """Return what all processes of the command hold at this moment, in bytes."""
    try:
        return sum(memory_bytes(pid) for pid in set(descendants(os.getpid())))
    except OSError:  # a process ended while it was looked at
        return 0


def reap(deadline: float) -> None:
    """Wait for adopted orphans, so that their CPU time is in `RUSAGE_CHILDREN`."""
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            return
    sys.exit(f"the command left processes behind: {list(descendants(os.getpid()))}")


def main() -> None:
    """Measure the command of the arguments and print the cost as JSON."""
    cores, command = [int(core) for core in sys.argv[1].split(",")], sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    peak, started = 0, time.monotonic()
    child = subprocess.Popen(["taskset", "-c", ",".join(map(str, cores)), *command], stdout=sys.stderr)
    poll = select.poll()
    poll.register(os.pidfd_open(child.pid), select.POLLIN)
    while not poll.poll(SAMPLE_SECONDS * 1000):
        peak = max(peak, sample())
        if time.monotonic() - started > LIMIT_SECONDS:
            print(f"stopped after {LIMIT_SECONDS} s", file=sys.stderr)
            child.kill()
    wall = time.monotonic() - started
    exit_code = child.wait()
    reap(time.monotonic() + ORPHANS_SECONDS)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps(asdict(Cost(exit_code, wall, usage.ru_utime, usage.ru_stime, peak))))


if __name__ == "__main__":
    main()
