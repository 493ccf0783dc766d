import copy
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
import tty

import msgspec
import pyte
import pytest
from rich.console import Console

from bucketpull.domain.progress import JobState, Note, StageProgress
from bucketpull.domain.status import VolumeState
from bucketpull.report.line_reporter import LineReporter
from bucketpull.report.reporters import EventReporter, QuietReporter, open_reporter
from bucketpull.report.terminal import TerminalReporter, display
from bucketpull.report.words import Words


class Terminal:
    """A pseudo terminal, and what a person would see on it."""

    def __init__(self, columns, lines=30):
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.stream = os.fdopen(slave, "w", encoding="utf-8", newline="\r\n")
        self.received = 0
        self.hidden_once = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: the other end is closed
                return
            self._stream.feed(data)
            self.hidden_once |= b"\x1b[?25l" in data
            self.received += len(data)

    def close(self):
        self.stream.close()
        self._reader.join(60)
        os.close(self._master)

    def text(self):
        """Return the lines on the screen, once everything written so far is there."""
        self.stream.write("~")
        self.stream.flush()
        deadline = time.monotonic() + 60
        while "~" not in "".join(self.screen.display) and time.monotonic() < deadline:
            threading.Event().wait(0.005)
        return [line.rstrip().removesuffix("~") for line in self.screen.display]


@pytest.fixture
def terminal(request):
    terminal = Terminal(*getattr(request, "param", (80, 30)))
    yield terminal
    terminal.close()


def shown(terminal, snapshot, language="en"):
    reporter = TerminalReporter(terminal.stream, Words(language))
    reporter.show(snapshot)
    lines = terminal.text()
    print("\n".join(lines))
    return lines


@pytest.mark.parametrize("terminal", [(80, 30), (200, 30)], indirect=True)
def test_the_display_shows_everything_at_80_and_at_200_columns(terminal, running):
    text = "\n".join(shown(terminal, running))

    for fact in (
        "upyun://photos/2024",
        "transferring",
        "59.3 %",
        "5.93 TB of 10.0 TB",
        "left 1 d 3 h (1 d to 1 d 9 h)",
        "182,001,233 listed, more to come",
        "180,345,678 stored",
        "14 failed",
        "4,512/s  149 MB/s",
        "cdn 424/512",
        "limited by the disks",
        "throttled 1,806, timeout 12",
        "missing 12, forbidden 2",
        "alpha:/mnt/disk1",
        "sick",
        "75.0 MB/s",
        "input/output error",
    ):
        assert fact in text


@pytest.mark.parametrize("terminal", [(80, 24)], indirect=True)
def test_the_display_is_drawn_in_place_and_never_higher_than_the_terminal(terminal, running):
    running.volumes = [copy.deepcopy(running.volumes[0]) for _ in range(40)]
    running.machines = [copy.deepcopy(running.machines[0]) for _ in range(40)]
    reporter = TerminalReporter(terminal.stream, Words())

    for number in range(20):
        running.counters.stored = 1000 + number
        reporter.show(running)
    lines = terminal.text()

    assert sum("bucketpull upyun" in line for line in lines) == 1
    assert sum(line.startswith("and ") for line in lines) == 2
    assert not terminal.screen.history.top


def test_a_single_machine_is_not_listed_and_its_volumes_bear_no_machine(terminal, running):
    running.machines = running.machines[:1]

    text = "\n".join(shown(terminal, running))

    assert "alpha" not in text


def test_an_unknown_total_shows_no_percentage(terminal, running):
    running.estimate.total_bytes, running.estimate.share, running.estimate.high = 0, 0.0, None

    text = "\n".join(shown(terminal, running))

    assert "%" not in text
    assert "left at least 1 d 3 h" in text
    assert "5.90 TB" in text


def test_the_display_in_chinese_keeps_its_columns(terminal, running):
    text = "\n".join(shown(terminal, running, language="zh")).replace(" ", "")

    assert "传输中" in text
    assert "受限于：磁盘" in text  # noqa: RUF001
    assert all(len(line) <= 80 for line in terminal.screen.display)


def test_notes_stay_above_and_the_summary_replaces_the_display(terminal, running, ended):
    reporter = TerminalReporter(terminal.stream, Words())

    reporter.show(running)
    reporter.note("warning", "volume.sickened", "/mnt/disk4: input/output error [red]")
    reporter.close(ended)
    text = "\n".join(terminal.text())

    assert "warning: volume.sickened: /mnt/disk4: input/output error [red]" in text
    assert "incomplete: upyun://photos/2024" in text
    assert "transferring" not in text


@pytest.mark.parametrize("terminal", [(80, 12)], indirect=True)
def test_of_a_display_that_did_not_fit_nothing_stays_above_the_summary(terminal, running, ended):
    reporter = TerminalReporter(terminal.stream, Words("en"))
    reporter.show(running)

    reporter.close(ended)

    terminal.text()
    gone = ["".join(line[column].data for column in range(80)) for line in terminal.screen.history.top]
    first, *_ = [line for line in [*gone, *terminal.screen.display] if line.strip()]
    assert first.startswith("incomplete: "), gone


def test_a_terminal_that_states_no_size_shows_the_summary_too(terminal, running, ended):
    fcntl.ioctl(terminal.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    reporter = TerminalReporter(terminal.stream, Words())

    reporter.show(running)
    reporter.close(ended)

    assert "incomplete: upyun://photos/2024" in "\n".join(terminal.text())


def test_the_cursor_comes_back_though_nobody_closed_the_reporter(terminal):
    code = """
import sys
from bucketpull.domain.user_limits import Limits
from bucketpull.domain.model import Counters, Outstanding
from bucketpull.domain.progress import Estimate, Rates, Snapshot
from bucketpull.report.reporters import open_reporter
reporter = open_reporter(errors=sys.stderr, environ={"TERM": "xterm"})
reporter.show(Snapshot("j", "upyun://b", "listing", 1.0, 1.0, 0.0, False, Counters(), Outstanding(), Rates(),
                       Estimate(), [], [], {}, {}, Limits(), "", []))
sys.exit(4)
"""

    ended = subprocess.run([sys.executable, "-c", code], stderr=terminal.stream, check=False)
    terminal.text()

    assert ended.returncode == 4
    assert not terminal.screen.cursor.hidden
    assert terminal.hidden_once


def test_drawing_costs_below_two_percent_of_a_core(terminal, running):
    reporter = TerminalReporter(terminal.stream, Words())
    reporter.show(running)

    start = time.thread_time()
    for _ in range(20):
        reporter.show(running)
    each = (time.thread_time() - start) / 20

    print(f"{each * 1000:.1f} ms a drawing, two a second")
    assert each * 2 < 0.05  # 2 % on an idle machine; twice that where it is shared


@pytest.mark.parametrize(
    ("options", "term", "kind"),
    [
        ({}, "xterm-256color", TerminalReporter),
        ({}, "dumb", LineReporter),
        ({"quiet": True}, "xterm", QuietReporter),
        ({"json": True}, "xterm", EventReporter),
    ],
)
def test_a_terminal_gets_the_display_unless_it_is_dumb_or_told_otherwise(terminal, options, term, kind):
    reporter = open_reporter(errors=terminal.stream, environ={"TERM": term}, **options)

    assert isinstance(reporter, kind)


def test_a_file_gets_lines(tmp_path):
    with (tmp_path / "log").open("w") as file:
        assert isinstance(open_reporter(errors=file, environ={"TERM": "xterm"}), LineReporter)


def test_a_stream_without_chinese_letters_gets_english(tmp_path, ended):
    with (tmp_path / "log").open("w", encoding="ascii") as file:
        open_reporter(errors=file, environ={"LANG": "zh_CN"}).close(ended)

    assert "incomplete" in (tmp_path / "log").read_text()


def test_a_lost_volume_is_named_as_such(terminal, running):
    running.volumes[0].state = VolumeState.LOST

    assert "lost" in "\n".join(shown(terminal, running))


def test_the_display_names_the_object_that_everything_waits_for(terminal, running):
    running.machines[0].waiting_for = "logs/2024/big.bin"
    running.machines[0].still_seconds = 42.0

    assert "waiting for logs/2024/big.bin, 42 s" in "\n".join(shown(terminal, running))


def test_nothing_that_says_why_or_how_much_is_cut_in_80_columns(running):
    waiting, away = running.machines[0], JobState.NO_BROKER
    waiting.waiting_for, waiting.still_seconds = "photos/2024/06/" + "a-long-name/" * 6 + "IMG_1.jpg", 42.0
    running.volumes[0].path = "/mnt/" + "a-long-mount-point/" * 5 + "disk1"

    told = screen_of(running)
    unheard = screen_of(msgspec.structs.replace(running, state=away, unheard_seconds=125.0))

    assert "waiting for photos/2024/06/" in told
    assert "/IMG_1.jpg, 42 s" in told
    assert "/disk1" in told
    assert told.count("75.0 MB/s") == len(running.volumes)
    assert "while the broker cannot be reached, for 2 min 5 s now" in unheard


def screen_of(running):
    console = Console(file=io.StringIO(), width=80)
    console.print(display(running, Words(), 80, 30))
    return " ".join(line.strip() for line in console.file.getvalue().splitlines())


def test_trouble_stays_on_the_screen_until_it_ends_whole(running):
    lost = "the broker cannot be reached: Connection refused by broker.example.com; check --broker, and whether it runs"
    running.notes = [Note(running.at - 900, "warning", "broker.lost", lost, "broker")]

    assert "check --broker, and whether it runs" in screen_of(running)

    running.notes.append(Note(running.at, "info", "broker.reached", "the broker is reached again", "broker"))
    text = screen_of(running)
    assert "cannot be reached" not in text
    assert "the broker is reached again" in text

    running.at += 90
    assert "the broker" not in screen_of(running)


@pytest.mark.parametrize("terminal", [(columns, 30) for columns in (80, 120, 135, 150)], indirect=True)
def test_no_line_of_the_books_is_broken_at_any_width(terminal, running):
    lines = shown(terminal, running)

    for name in ("objects", "speed", "in flight", "listing", "retries", "failures"):
        assert sum(line.startswith(name) for line in lines) == 1
    assert any("180,345,678 stored  1,234 skipped  14 failed  3 vanished" in line for line in lines)


def test_the_stages_of_an_objects_way_show_which_one_is_slow(terminal, running):
    names = ("listed", "placed", "fetched", "written", "settled", "booked")
    running.stages = {name: StageProgress(1000, 5000.0 - 1000 * number) for number, name in enumerate(names)}

    lines = shown(terminal, running)

    head = next(number for number, line in enumerate(lines) if line.startswith("stages"))
    assert lines[head].split()[1:] == list(names)
    assert lines[head + 1].split() == ["5,000/s", "4,000/s", "3,000/s", "2,000/s", "1,000/s", "0/s"]


def test_trouble_that_is_told_once_leaves_the_screen_after_ten_minutes(running):
    running.notes = [Note(running.at - 500, "warning", "message.refused", "a message was not believed")]
    assert "a message was not believed" in screen_of(running)

    running.at += 110
    assert "not believed" not in screen_of(running)
