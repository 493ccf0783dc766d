"""`python -m benchmarks.listing SPEC`: list a simulated bucket into a journal, without downloading.

Prints entries a second, CPU µs an entry (all of bucketpull's processes), journal bytes an entry and directory, and memory.
"""

import argparse
import asyncio
import json
import os
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

from bucketpull.agent.parameters import AgentParameters
from bucketpull.agent.shell import AgentShell
from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.coordinator.parameters import CoordinatorParameters
from bucketpull.coordinator.shell import CoordinatorShell
from bucketpull.domain.selection import Selection
from bucketpull.fetch.fetch_options import FetchOptions
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.ports.volume import Volume
from bucketpull.sources.upyun.config import UpyunConfig
from bucketpull.sources.upyun.source import UpyunSource
from bucketpull.transport.local import DirectTransport
from bucketpull.transport.processes import ForkedPool, ForkServer
from bucketpull.wiring.downloader_process import process_main
from bucketpull.wiring.system import SystemClock
from upyun_simulator import Simulator

MACHINE = "bench"


def _no_volume(path: str, _: str | None) -> Volume:
    raise AssertionError(f"{path}: a listing has no volumes")


async def list_all(
    journal: SqliteJournal, config: UpyunConfig, pool: ForkedPool, seconds: float
) -> Coordinator:
    """List until nothing is left to list, or until the time is over."""
    transport, clock = DirectTransport(), SystemClock()
    parameters = CoordinatorParameters(high_water=1 << 60, local_machine=MACHINE)
    shell = CoordinatorShell(journal, transport, clock, parameters)
    coordinator = shell.coordinator
    pool.start_all()
    worker = AgentShell(
        AgentParameters(MACHINE, journal.id, "bench", "bench"), transport.inbox, pool, [], clock, _no_volume
    )
    working = asyncio.create_task(worker.run())
    booking = asyncio.create_task(shell.run(UpyunSource(config).root()))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not booking.done():
        await asyncio.sleep(0.2)
        if coordinator.counters.pages and not coordinator.outstanding.scans:
            break
    await shell.stop()
    await asyncio.gather(booking, working)
    await shell.close()
    return coordinator


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", default="flat:1000000")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--json", action="store_true", help="write the figures as JSON")
    parser.add_argument("--server-core", type=int, help="the simulator's core (default: any)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before a page is answered")
    options = parser.parse_args()
    with (
        Simulator(options.spec, list_latency=options.latency) as simulator,
        tempfile.TemporaryDirectory() as folder,
    ):
        if options.server_core is not None:
            assert simulator.ready is not None
            os.sched_setaffinity(simulator.ready.pid, {options.server_core})
        config = UpyunConfig(
            bucket=simulator.bucket,
            api_url=simulator.api_url,
            operator=simulator.operator,
            password=simulator.password,
        )
        main = partial(process_main, source=config, fetch=FetchOptions(), selection=Selection(), packing=None)
        fork_server = ForkServer(main)
        journal = SqliteJournal.open(folder, "bench", {"source": "bench"}, time.time())
        began, cpu = time.monotonic(), _cpu()
        pool = ForkedPool(fork_server, options.processes)
        coordinator = asyncio.run(list_all(journal, config, pool, options.seconds))
        seconds = time.monotonic() - began
        books = coordinator.counters
        journal.close()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        spent = _cpu() - cpu
    if options.json:
        told = {"entries": books.listed, "seconds": seconds, "cpu_seconds": spent, "memory_bytes": _memory()}
        print(json.dumps(told))
        return
    print(
        f"{books.listed} entries, {books.directories} directories, {books.pages} pages in {seconds:.1f} s: "
        f"{books.listed / seconds:,.0f} entries/s, {spent / max(books.listed, 1) * 1e6:.2f} µs CPU an entry"
    )
    print(
        f"journal {size / max(books.listed, 1):.1f} bytes an entry, {size / max(books.directories, 1):.0f} a directory; "
        f"peak memory of the main process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB"
    )


def _cpu() -> float:
    """Return the CPU seconds of this process and of those that it has waited for: the simulator is not yet among them."""
    return sum(os.times()[:4])


def _memory() -> int:
    """Return the peaks of this process and of the largest that it has waited for, together, in bytes; what they share counts twice."""
    return sum(
        resource.getrusage(who).ru_maxrss << 10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


if __name__ == "__main__":
    main()
