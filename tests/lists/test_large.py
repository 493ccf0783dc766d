"""A job that is killed in the middle of a large object goes on at that byte, though the object's ETag is no MD5."""

import contextlib
import fcntl
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from tests.lists.conftest import QuietHandler, Serving

MIB = 1 << 20
BODY = random.Random(7).randbytes(12 * MIB)
DEADLINE_SECONDS = 120


class Slow(Serving):
    """Serves one object with ranges. The whole of it never comes beyond its middle; `ranges` are those that were asked for."""

    def __init__(self, etag: str) -> None:
        self.etag = etag
        self.ranges: list[tuple[str | None, str | None]] = []
        self.over = threading.Event()
        self.holds = True
        slow = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                asked = self.headers["Range"]
                slow.ranges.append((asked, self.headers["If-Match"]))
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(BODY) - start))
                self.send_header("ETag", slow.etag)
                if asked:
                    self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
                self.end_headers()
                with contextlib.suppress(OSError):
                    if slow.holds:
                        self.wfile.write(BODY[: 6 * MIB])
                        slow.over.wait(DEADLINE_SECONDS)
                    else:
                        self.wfile.write(BODY[start:])

        super().__init__(Handler)

    def __exit__(self, *_: object) -> None:
        self.over.set()
        super().__exit__()


def until(holds) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def part_of(volume: Path) -> Path | None:
    found = [each for each in volume.glob(".bucketpull/partial/*") if each.suffix != ".version"]
    return found[0] if found else None


def is_let_go(part: Path) -> bool:
    """Tell whether the killed processes have ended, as far as the part is concerned."""
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def kill_in_the_middle(puller, server: Slow) -> int:
    """Pull until half of the object is there, and kill the job; return how much it has left, in bytes."""
    with subprocess.Popen(
        puller.arguments(),
        env=puller.all_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            until(lambda: (part := part_of(puller.volume)) and part.stat().st_size > 5 * MIB)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    part = part_of(puller.volume)
    until(lambda: is_let_go(part))
    server.holds = False
    server.ranges.clear()
    return part.stat().st_size


@pytest.mark.parametrize(("etag", "goes_on"), [('"9f2c-3"', True), ('W/"9f2c-3"', False)])
def test_a_job_that_was_killed_goes_on_at_that_byte_if_the_etag_is_a_strong_one(
    tmp_path, pull, etag, goes_on
):
    path = tmp_path / "list.csv"
    with Slow(etag) as server:
        path.write_text(f"url,key,size\n{server.url}/big,big,{len(BODY)}\n")
        puller = pull(path)
        left = kill_in_the_middle(puller, server)
        assert puller.sync()["failed"] == 0
    assert server.ranges == [(f"bytes={left}-", etag) if goes_on else (None, None)]
    assert (puller.volume / "big").read_bytes() == BODY
    assert list(puller.volume.glob(".bucketpull/partial/*")) == []
