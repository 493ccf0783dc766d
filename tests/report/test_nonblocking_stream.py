"""A stream that does not block: a writer is never held up and never fails, and what nobody took is counted."""

import fcntl
import os
import threading
from collections.abc import Iterator

import pytest

from bucketpull.report.nonblocking_stream import NonblockingStream

PIPE_BYTES = 4096


class Pipe:
    """A small pipe: `stream` writes to it, `read` takes what is there."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.writing = os.fdopen(writing, "w", encoding="utf-8")

    def stream(self, **options: int) -> NonblockingStream:
        return NonblockingStream(self.writing, lambda number: f"missed {number}\n", **options)

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
    made.writing.close()


def test_what_is_written_comes_out_in_order(pipe):
    stream = pipe.stream()

    for number in range(100):
        stream.write(f"{number}\n")
    stream.write_out()

    assert pipe.read() == "".join(f"{number}\n" for number in range(100))


def test_threads_that_write_their_first_line_at_once_share_one_writer(pipe, monkeypatch):
    stream, usual = pipe.stream(), threading.Thread
    made, others = [], [usual(target=lambda: stream.write("other\n"))]

    def overtaken(**options):
        made.append(usual(**options))
        if others:
            other = others.pop()
            other.start()
            other.join(0.2)  # it cannot end while this one is at it
        return made[-1]

    monkeypatch.setattr(threading, "Thread", overtaken)
    stream.write("one\n")
    said = ""
    while len(said) < len("one\nother\n"):
        said += pipe.read()

    assert len(made) == 1


def test_where_no_thread_can_be_had_a_line_is_written_at_once(pipe, monkeypatch):
    def refused(_):
        raise RuntimeError("can't start new thread")

    stream = pipe.stream()
    monkeypatch.setattr(threading.Thread, "start", refused)
    stream.write("one\n")
    assert pipe.read() == "one\n"
    monkeypatch.undo()
    stream.write("two\n")
    stream.write_out()
    assert pipe.read() == "two\n"


def test_a_reader_that_does_not_read_costs_the_oldest_lines_and_is_told_how_many(pipe):
    stream = pipe.stream(most_waiting_bytes=10_000)
    lines = [f"{number:>99}\n" for number in range(1000)]

    for line in lines:
        stream.write(line)
    reader = threading.Thread(target=lambda: taken.append(read_all(pipe, lines[-1])))
    taken: list[str] = []
    reader.start()
    reader.join(30)

    got = taken[0].splitlines(keepends=True)
    told = [line for line in got if line.startswith("missed")]
    dropped = sum(int(line.split()[1]) for line in told)
    assert dropped > 800
    assert len(got) - len(told) == 1000 - dropped
    assert got[-1] == lines[-1]


def read_all(pipe: Pipe, last: str) -> str:
    text = ""
    while not text.endswith(last):
        text += pipe.read()
    return text


def test_a_reader_that_is_gone_is_no_error(pipe):
    stream = pipe.stream()
    pipe.close_reader()

    for _ in range(10):
        stream.write("line\n")
    stream.write("line\n")
    stream.write_out()

    assert stream._queue.lost == 11


def test_a_full_disk_costs_lines_and_later_ones_are_tried_again():
    with open("/dev/full", "w", encoding="utf-8") as full:
        stream = NonblockingStream(full, str)
        for _ in range(3):
            stream.write("line\n")
            stream.write_out()

        assert stream._queue.lost == 3


def test_what_the_encoding_lacks_is_replaced(tmp_path):
    with open(tmp_path / "log", "w", encoding="gbk") as log:
        stream = NonblockingStream(log, str)
        stream.write("图片 \N{GRINNING FACE}\n")
        stream.write_out()

    assert (tmp_path / "log").read_bytes() == "图片 ?\n".encode("gbk")


def test_waiting_for_a_reader_has_an_end(pipe):
    stream = pipe.stream()
    stream.write("x" * 3 * PIPE_BYTES)

    stream.write_out(patience_seconds=0.2)

    assert stream.behind


def test_it_says_whether_it_is_a_terminal():
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        assert not NonblockingStream(nowhere, str).isatty()
        assert NonblockingStream(nowhere, str).fileno() == nowhere.fileno()
