"""`python -m benchmarks.price`: what RabbitMQ costs: the same job on one machine without it and through it, in turn.

Both run on the same core, from nginx on the loopback onto tmpfs. A job of 1,000 objects beside the large ones says what
the starts cost: a cluster has two programs. The broker's own CPU is said apart, for it is on another machine.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.broker import Broker

from benchmarks import bucket as buckets
from benchmarks.bucket import Bucket, uniform
from benchmarks.meter import measure
from benchmarks.origin import Origin, serving
from benchmarks.tools import BUCKETPULL, CLUSTER, Task, Tool

MEMORY = Path("/dev/shm")
SIZE = 20 << 10
START_OBJECTS = 1_000
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Costs:
    """CPU seconds of the rounds on one bucket: of a job without a broker, through one, and of the broker."""

    objects: int
    local: list[float] = field(default_factory=list)
    joined: list[float] = field(default_factory=list)
    broker: list[float] = field(default_factory=list)

    def above(self, start: "Costs", name: str) -> float:
        """Return microseconds an object above what the smallest job costs (medians)."""
        spent: float = statistics.median(getattr(self, name)) - statistics.median(getattr(start, name))
        return spent * 1e6 / (self.objects - start.objects)


def main() -> None:
    """Measure and print a table."""
    options = _parse()
    cores = (options.core,)
    found = [Costs(objects) for objects in (START_OBJECTS, *options.objects)]
    for costs in found:
        bucket = uniform(str(costs.objects), SIZE, costs.objects)
        with tempfile.TemporaryDirectory(prefix="bench-origin-", dir=MEMORY) as folder:
            Path(folder).chmod(0o755)
            with serving(bucket, Path(folder) / "origin", options.server_core) as origin:
                for number in range(options.rounds):
                    costs.local.append(_run(origin, bucket, BUCKETPULL, cores, options.server_core)[0])
                    joined, broker = _run(origin, bucket, CLUSTER, cores, options.server_core)
                    costs.joined.append(joined)
                    costs.broker.append(broker)
                    _tell(number, costs)
    _print(found)


def _run(
    origin: Origin, bucket: Bucket, tool: Tool, cores: tuple[int, ...], server_core: int
) -> tuple[float, float]:
    """Return the CPU seconds of the tool, and of its broker."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=MEMORY) as folder:
        destination, scratch = Path(folder) / "volume", Path(folder) / "scratch"
        scratch.mkdir()
        for directory in bucket.directories:
            (destination / directory).mkdir(parents=True)
        # One without a broker has one beside it too: while it starts, the memory of the files before goes back to the host.
        with Broker(scratch / "broker") as broker:
            before = _cpu_seconds(broker.pid)
            task = Task(origin, destination, scratch, 64, 1, False, broker.url)
            cost = _job(tool, task, cores, server_core)
            return cost, _cpu_seconds(broker.pid) - before


def _job(tool: Tool, task: Task, cores: tuple[int, ...], server_core: int) -> float:
    command = tool.command(task)
    log = task.scratch / "log"
    cost = measure(command.arguments, cores, command.env, log, server_core)
    if cost.exit_code or not buckets.is_whole(task.origin.bucket, task.destination):
        sys.exit(f"{tool.name}: exit {cost.exit_code}: {log.read_text(errors='replace')[-400:]}")
    print(
        file=sys.stderr,
    )
    return cost.cpu_seconds


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _tell(number: int, costs: Costs) -> None:
    local, joined, broker = (
        values[-1] * 1e6 / costs.objects for values in (costs.local, costs.joined, costs.broker)
    )
    print(
        f"  round {number + 1}  {costs.objects}: {local:.1f} µs local, {joined:.1f} through RabbitMQ,"
        f" {broker:.1f} of the broker",
        file=sys.stderr,
    )


def _print(found: Sequence[Costs]) -> None:
    start = found[0]
    print("| objects | local µs | RabbitMQ µs | ratio | without the starts | broker µs |")
    print("|---:|---:|---:|---:|---:|---:|")
    for costs in found:
        local, joined, broker = (
            statistics.median(values) * 1e6 / costs.objects
            for values in (costs.local, costs.joined, costs.broker)
        )
        pure = "" if costs is start else f"{costs.above(start, 'joined') / costs.above(start, 'local'):.2f}"
        print(
            f"| {costs.objects} | {local:.1f} | {joined:.1f} | {joined / local:.2f} | {pure} | {broker:.1f} |"
        )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.price", description=__doc__)
    parser.add_argument("--objects", type=int, nargs="+", default=[20_000, 100_000], help="sizes of the job")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds, of which the medians count (default 5)"
    )
    parser.add_argument("--core", type=int, default=0, help="the core of the jobs (default 0)")
    parser.add_argument("--server-core", type=int, default=1, help="the origin's core (default 1)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
