"""What the program says that it holds, and whether that is the bucket: each object once, where it says, byte by byte."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from upyun_simulator import content

DEADLINE_SECONDS = 60


def until(ready: Callable[[], object], what: str, process=None) -> None:
    """Wait until something is so; a job that ends meanwhile says why."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ready():
        assert process is None or process.poll() is None, f"ended before {what}: {process.communicate()}"
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@contextmanager
def running(job, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run a sync, and do not leave it behind."""
    process = job.start(*options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process, expect: int = 0) -> str:
    """Wait for a job's end; return what it said."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == expect, errors
    return errors


def volumes(job) -> dict[str, dict]:
    """Return what `volumes` says, by path."""
    said = job.command("volumes", "--json", "--state", str(job.state))
    return {volume["path"]: volume for volume in map(json.loads, said.splitlines())}


def stored_on(job, path) -> int:
    """Return how many objects a volume holds, 0 while the job has not told of it yet."""
    return volumes(job).get(path, {"stored_objects": 0})["stored_objects"]


def running_state(job) -> str:
    """Return the state of a job that runs, "" while it has no journal yet."""
    if not (job.state / "journal.sqlite").exists():
        return ""
    return json.loads(job.command("status", "--json", "--state", str(job.state)))["state"]


def holdings(job) -> list[dict]:
    """Return the manifest: key, size, volume, path."""
    said = job.command("export", "--format", "jsonl", "--state", str(job.state))
    return [json.loads(line) for line in said.splitlines()]


def check_each_once(job, leftovers: Collection[str] = ()) -> Counter:
    """Compare manifest and disks with the bucket as it was at its start; return how many objects each volume holds.

    Volumes that failed may have `leftovers` until the next run: files that were written and not settled, or settled as they
    fell away, too late to count.
    """
    where = {volume["id"]: path for path, volume in volumes(job).items()}
    held = sorted(
        holdings(job), key=lambda row: where[row["volume"]] not in leftovers
    )  # what counts comes last
    places = {row["key"]: (where[row["volume"]], row["path"]) for row in held}
    counted = [row for row in held if where[row["volume"]] not in leftovers]
    assert len({row["key"] for row in counted}) == len(counted), "an object is held twice"
    expected = {item.key: item for item in job.simulator.contents.walk()}
    assert places.keys() == expected.keys()
    for key, (volume, path) in places.items():
        item = expected[key]
        assert Path(volume, path).read_bytes() == content(item.key, item.size, item.version), key
    for volume in where.values():
        extra = files_on(volume) - {path for at, path in places.values() if at == volume} - {"ballast"}
        assert not extra or volume in leftovers, f"{volume} has {len(extra)} files that nobody knows of"
    return Counter(volume for volume, _ in places.values())


def files_on(volume: str | Path) -> set[str]:
    """Return the paths of a volume's files, without our own."""
    root = Path(volume)
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] != ".bucketpull"}


def requests(job) -> int:
    """Return how many objects the CDN was asked for."""
    return sum(job.simulator.counters()["requests"].get("cdn.get", {}).values())
