"""Several slow disks against one, and a slow one among fast ones: `python -m benchmarks.volumes`, as root (FUSE, tmpfs).

The disks are throttled: each write takes so many seconds, one after another, as on a spindle.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.volumes.conftest import Disks

from upyun_simulator import Simulator

SLOW_SECONDS = 0.01
SLOWER_SECONDS = 0.05
OBJECTS_SLOW = 8000
OBJECTS_FAST = 80_000
ROUNDS = 3


@contextmanager
def made_disks() -> Iterator[Disks]:
    """Give a maker of disks in a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        disks = Disks(Path(folder))
        try:
            yield disks
        finally:
            disks.close()


def started(simulator: Simulator, folder: str, volumes: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a sync of a bucket onto volumes."""
    source = ["upyun://" + simulator.bucket, *volumes]
    access = ["--api-url", simulator.api_url, "--cdn-url", simulator.cdn_url, "--reserve", "0"]
    where = ["--state", f"{folder}/state", "--summary", f"{folder}/summary.json", "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "bucketpull", "sync", *source, *access, *where],
        env={**os.environ, **simulator.environment},
    )


def seconds_of(objects: int, volumes: Sequence[str]) -> float:
    """Pull so many objects of 4 KiB onto volumes; return the seconds it took."""
    with Simulator(f"flat:{objects},size=4KiB") as simulator, tempfile.TemporaryDirectory() as folder:
        process = started(simulator, folder, volumes)
        assert process.wait(600) == 0
        return float(json.loads(Path(folder, "summary.json").read_text())["seconds"])


def speed_of_fast(fast: str, volumes: Sequence[str]) -> float:
    """Return the objects a second that one of several volumes takes, between a tenth and half of all objects."""
    with Simulator(f"flat:{OBJECTS_FAST},size=4KiB") as simulator, tempfile.TemporaryDirectory() as folder:
        process = started(simulator, folder, volumes)
        marks = []
        for share in (0.1, 0.5):
            while count(fast) < share * OBJECTS_FAST:
                assert process.poll() is None, "ended too early"
                time.sleep(0.01)
            marks.append((time.monotonic(), count(fast)))
        process.kill()
        process.wait()
        (began, first), (ended, last) = marks
        return (last - first) / (ended - began)


def count(volume: str) -> int:
    """Count the files of a flat volume."""
    return len(os.listdir(volume))


def two_against_one() -> list[float]:
    """Return how many times as fast two equally slow disks are as one, by round."""
    ratios = []
    for _ in range(ROUNDS):
        with made_disks() as disks:
            one = seconds_of(OBJECTS_SLOW, [disks.odd(write_seconds=SLOW_SECONDS).path])
            two = seconds_of(OBJECTS_SLOW, [disks.odd(write_seconds=SLOW_SECONDS).path for _ in range(2)])
        ratios.append(one / two)
        print(f"one slow disk {one:.1f} s, two {two:.1f} s: {one / two:.2f} times", flush=True)
    return ratios


def slow_among_fast() -> list[float]:
    """Return what share of its own speed a fast disk keeps beside a slow one, by round."""
    shares = []
    for _ in range(ROUNDS):
        with made_disks() as disks:
            fast = disks.tmpfs("1g").path
            alone = speed_of_fast(fast, [fast])
        with made_disks() as disks:
            fast, slow = disks.tmpfs("1g").path, disks.odd(write_seconds=SLOWER_SECONDS).path
            beside = speed_of_fast(fast, [fast, slow])
        shares.append(beside / alone)
        print(
            f"fast disk alone {alone:.0f}/s, beside a slow one {beside:.0f}/s: {beside / alone:.2f}",
            flush=True,
        )
    return shares


def main() -> None:
    """Print the medians."""
    print(f"two against one: {median(two_against_one()):.2f} times (median of {ROUNDS})")
    print(f"fast beside slow: {median(slow_among_fast()):.2f} of its speed (median of {ROUNDS})")


if __name__ == "__main__":
    main()
