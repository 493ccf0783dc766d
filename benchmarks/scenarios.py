"""The goals that are no comparison with other tools: resuming, listing, the right concurrency, stalls, more cores."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.compare import Setting, compare
from benchmarks.meter import Cost, measure
from benchmarks.origin import Origin
from benchmarks.tools import BUCKETPULL, Command, Task, Tool, beside_python, bucketpull
from upyun_simulator import Simulator

RESUMED, CORES, DASHBOARD, LISTED, AUTO, TAIL = "resumed", "cores", "dashboard", "listed", "auto", "tail"
LATENCY_SECONDS = 0.05
AUTO_SECONDS = 20.0
FIXED = (64, 256, 1_000)
STALL_SECONDS = 5.0


def with_origin(origin: Origin, setting: Setting) -> dict[str, float]:
    """Measure what needs the ordinary origin."""
    return resumed(origin, setting) | dashboard(origin, setting) | cores(origin, setting)


def simulated(setting: Setting, listed: list[int]) -> dict[str, float]:
    """Measure what needs a simulated service, which runs beside this process on the server's core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {setting.server_core})
    try:
        return listings(setting, listed) | auto(setting) | tail(setting)
    finally:
        os.sched_setaffinity(0, before)


def resumed(origin: Origin, setting: Setting) -> dict[str, float]:
    """Run a finished job again: objects checked a second of CPU, the start included."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=setting.destination) as folder:
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        task = Task(origin, Path(folder) / "volume", scratch, setting.connections, 1, setting.tls)
        costs = [_run(bucketpull(task), setting, scratch) for _ in range(3)]
    _tell("a finished job again", costs[-1].cpu_seconds * 1e6 / len(origin.bucket.keys), "µs CPU an object")
    return {RESUMED: len(origin.bucket.keys) / min(cost.cpu_seconds for cost in costs[1:])}


def dashboard(origin: Origin, setting: Setting) -> dict[str, float]:
    """Compare a job with the dashboard and metrics served and one without: CPU as a multiple."""
    shown = Tool("bucketpull (dashboard)", _with_dashboard, BUCKETPULL.version)
    plain, served = compare(origin, [BUCKETPULL, shown], setting)
    return {DASHBOARD: served.cpu_microseconds() / plain.cpu_microseconds()} if served.costs else {}


def _with_dashboard(task: Task) -> Command:
    command = bucketpull(task)
    return Command([*command.arguments, "--dashboard", "127.0.0.1:0"], command.env)


def cores(origin: Origin, setting: Setting) -> dict[str, float]:
    """Compare two client cores with one: objects a second as a multiple; needs a core more for the server."""
    others = sorted(os.sched_getaffinity(0) - {setting.server_core})
    if len(others) < 2:
        return {}
    (one,) = compare(origin, [BUCKETPULL], replace(setting, client_cores=(others[0],)))
    (two,) = compare(origin, [BUCKETPULL], replace(setting, client_cores=tuple(others[:2])))
    return {CORES: two.objects_per_second() / one.objects_per_second()}


def listings(setting: Setting, sizes: list[int]) -> dict[str, float]:
    """List without downloading: entries a second of CPU, and the memory of all processes by the bucket's size."""
    found: dict[str, float] = {}
    for entries in sizes:
        command = ["taskset", "-c", str(setting.client_cores[0]), sys.executable, "-m", "benchmarks.listing"]
        command += [f"flat:{entries}", "--json", "--server-core", str(setting.server_core)]
        told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        found[f"memory {entries}"] = told["memory_bytes"] / 1e6
        found.setdefault(LISTED, told["entries"] / told["cpu_seconds"])
        _tell(f"{entries} entries listed", told["memory_bytes"] / 1e6, "MB")
    if len(sizes) > 1:
        found["memory growth"] = found[f"memory {sizes[-1]}"] / found[f"memory {sizes[0]}"]
    return found


def auto(setting: Setting) -> dict[str, float]:
    """Compare `--concurrency auto` after 20 s with the best fixed setting, at 50 ms a response.

    Both at the same time after the start: the more has been written, the dearer memory becomes on some machines.
    """
    with Simulator("flat:400000,size=2KiB", cdn_latency=LATENCY_SECONDS) as service:
        best = max(_rate(service, setting, str(level), AUTO_SECONDS) for level in FIXED)
        return {AUTO: _rate(service, setting, "auto", AUTO_SECONDS) / best}


def tail(setting: Setting) -> dict[str, float]:
    """Have one object in 1,000 stall: the time that this adds to a job, in the seconds after which a stall is seen."""
    with Simulator("flat:20000,size=20KiB", cdn_latency=0.005) as service:
        calm = _wall(service, setting)
        service.inject("stall:on=cdn,p=0.001,first=1")
        return {TAIL: (_wall(service, setting) - calm) / STALL_SECONDS}


def _wall(service: Simulator, setting: Setting) -> float:
    with _started(service, setting, "64") as process:
        began = time.monotonic()
        process.wait(timeout=120)
        seconds = time.monotonic() - began
    _tell("a job", seconds, "s")
    return seconds


def _rate(service: Simulator, setting: Setting, concurrency: str, seconds: float) -> float:
    """Return the objects a second in the last quarter of so many seconds."""
    with _started(service, setting, concurrency) as process:
        began = time.monotonic()
        time.sleep(seconds * 0.75)
        objects, at = _served(service), time.monotonic()
        time.sleep(max(0.0, began + seconds - at))
        rate = (_served(service) - objects) / (time.monotonic() - at)
        process.terminate()
        process.wait(timeout=60)
    _tell(f"concurrency {concurrency}", rate, "objects/s")
    return rate


def _served(service: Simulator) -> int:
    return sum(service.counters()["requests"].get("cdn.get", {}).values())


@contextmanager
def _started(service: Simulator, setting: Setting, concurrency: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a job against a simulated service; what it has stored is removed."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=setting.destination))
    command = ["taskset", "-c", str(setting.client_cores[0]), beside_python("bucketpull"), "sync"]
    command += [f"upyun://{service.bucket}", str(folder / "volume"), "--state", str(folder / "state")]
    command += ["--api-url", service.api_url, "--cdn-url", service.cdn_url, "--processes", "1", "--quiet"]
    env = os.environ | service.environment | {"BUCKETPULL_STALL_SECONDS": str(STALL_SECONDS)}
    process = subprocess.Popen(
        [*command, "--concurrency", concurrency],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Command, setting: Setting, scratch: Path) -> Cost:
    cost = measure(command.arguments, setting.client_cores, command.env, scratch / "log", setting.server_core)
    if cost.exit_code:
        raise RuntimeError((scratch / "log").read_text(errors="replace")[-400:])
    return cost


def _tell(what: str, figure: float, unit: str) -> None:
    print(f"  {what}: {figure:.3g} {unit}", file=sys.stderr)
