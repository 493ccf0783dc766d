"""Runs one command pinned to cores and says what it cost: wall time, CPU and memory of all its processes.

Run as a process of its own (`python -m benchmarks.meter`). The command gets a control group, so that every process
counts, also one that nobody waits for. Where no control group can be made (not root), the times of processes that
were waited for are added up; then a tool whose helpers nobody waits for would look cheaper than it is, and the
result says how it was counted.
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
    counted: str

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


class Group:
    """A control group of its own (version 2; its `cpu.stat` needs no controller)."""

    counted = "control group"

    def __init__(self, parent: Path) -> None:
        self._path = parent / f"bench-{os.getpid()}"
        self._path.mkdir()

    @classmethod
    def create(cls) -> "Group | None":
        """Make one below this process's group or at the top; None where that is not allowed."""
        mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
        own = next(
            (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"),
            "/",
        )
        for top in (Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"):
            for parent in (top / own.lstrip("/"), top):
                try:
                    return cls(parent)
                except OSError:
                    continue
        return None

    def enter(self) -> None:
        """Put the calling process in."""
        (self._path / "cgroup.procs").write_text(str(os.getpid()))

    def processes(self) -> list[int]:
        """List the living processes."""
        return [int(pid) for pid in (self._path / "cgroup.procs").read_text().split()]

    def times(self) -> tuple[float, float]:
        """Return user and system seconds so far."""
        stat = dict(line.split() for line in (self._path / "cpu.stat").read_text().splitlines())
        return int(stat["user_usec"]) / 1e6, int(stat["system_usec"]) / 1e6

    def close(self) -> None:
        """Remove the group."""
        self._path.rmdir()


class Children:
    """The fallback: the children of this process, which adopts their orphans."""

    counted = "waited-for children"

    def __init__(self) -> None:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def enter(self) -> None:
        """Do nothing: a child is one."""

    def processes(self) -> list[int]:
        """List the living processes."""
        return list(set(_descendants(os.getpid())))

    def times(self) -> tuple[float, float]:
        """Return user and system seconds of those that have ended."""
        _reap()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime, usage.ru_stime

    def close(self) -> None:
        """Do nothing."""


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _memory_bytes(pid: int) -> int:
    """Return a process's proportional set size; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _run(command: Sequence[str], cores: str, account: Group | Children) -> Cost:
    peak, started = 0, time.monotonic()
    child = subprocess.Popen(["taskset", "-c", cores, *command], stdout=sys.stderr, preexec_fn=account.enter)  # noqa: PLW1509
    poll = select.poll()
    poll.register(os.pidfd_open(child.pid), select.POLLIN)
    while not poll.poll(SAMPLE_SECONDS * 1000):
        peak = max(peak, sum(map(_memory_bytes, account.processes())))
        if time.monotonic() - started > LIMIT_SECONDS:
            print(f"stopped after {LIMIT_SECONDS} s", file=sys.stderr)
            child.kill()
    wall = time.monotonic() - started
    exit_code = child.wait()
    while left := [pid for pid in account.processes() if not _is_dead(pid)]:
        if time.monotonic() - started > wall + ORPHANS_SECONDS:
            sys.exit(f"the command left processes behind: {left}")
        time.sleep(0.01)
    return Cost(exit_code, wall, *account.times(), peak, account.counted)


def main() -> None:
    """Measure the command of the arguments and print the cost as JSON."""
    account = Group.create() or Children()
    try:
        cost = _run(sys.argv[2:], sys.argv[1], account)
    finally:
        account.close()
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
