"""The outlet: a writer is never held up and never fails, and what nobody took is counted."""

import fcntl
import os
import threading
from collections.abc import Iterator

import pytest

from bucketpull.report.outlet import Outlet

PIPE_BYTES = 4096


class Pipe:
    """A small pipe: `outlet` writes to it, `read` takes what is there."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.stream = os.fdopen(writing, "w", encoding="utf-8")

    def outlet(self, **options: int) -> Outlet:
        return Outlet(self.stream, lambda number: f"missed {number}\n", **options)

    def read(self) -> str:
        return os.read(self.reading, 1 << 20).decode()

    def close_reader(self) -> None:
        os.close(self.reading)
        self.reading = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    if made.reading >= 0:
        made.close_reader()
    made.stream.close()


def test_what_is_written_comes_out_in_order(pipe):
    outlet = pipe.outlet()

    for number in range(100):
        outlet.write(f"{number}\n")
    outlet.drain()

    assert pipe.read() == "".join(f"{number}\n" for number in range(100))
    assert outlet.dropped == 0


def test_a_reader_that_does_not_read_costs_the_oldest_lines_and_is_told_how_many(pipe):
    outlet = pipe.outlet(most_waiting_bytes=10_000)
    lines = [f"{number:>99}\n" for number in range(1000)]

    for line in lines:
        outlet.write(line)
    reader = threading.Thread(target=lambda: taken.append(read_all(pipe, lines[-1])))
    taken: list[str] = []
    reader.start()
    reader.join(30)

    got = taken[0].splitlines(keepends=True)
    told = [line for line in got if line.startswith("missed")]
    assert outlet.dropped > 800
    assert sum(int(line.split()[1]) for line in told) == outlet.dropped
    assert len(got) - len(told) == 1000 - outlet.dropped
    assert got[-1] == lines[-1]


def read_all(pipe: Pipe, last: str) -> str:
    text = ""
    while not text.endswith(last):
        text += pipe.read()
    return text


def test_a_reader_that_is_gone_is_no_error(pipe):
    outlet = pipe.outlet()
    pipe.close_reader()

    for _ in range(10):
        outlet.write("line\n")
    outlet.drain()
    outlet.write("line\n")

    assert outlet.dropped == 11


def test_a_full_disk_costs_lines_and_later_ones_are_tried_again():
    with open("/dev/full", "w", encoding="utf-8") as full:
        outlet = Outlet(full, str)
        for _ in range(3):
            outlet.write("line\n")
            outlet.drain()

        assert outlet.dropped == 3


def test_what_the_encoding_lacks_is_replaced(tmp_path):
    with open(tmp_path / "log", "w", encoding="gbk") as log:
        outlet = Outlet(log, str)
        outlet.write("图片 \N{GRINNING FACE}\n")
        outlet.drain()

    assert (tmp_path / "log").read_bytes() == "图片 ?\n".encode("gbk")


def test_waiting_for_a_reader_has_an_end(pipe):
    outlet = pipe.outlet()
    outlet.write("x" * 3 * PIPE_BYTES)

    outlet.drain(patience_seconds=0.2)

    assert outlet.behind


def test_it_says_whether_it_is_a_terminal():
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        assert not Outlet(nowhere, str).isatty()
        assert Outlet(nowhere, str).fileno() == nowhere.fileno()
