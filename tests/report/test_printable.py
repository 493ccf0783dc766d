"""Whatever keys, answers and messages hold, a terminal obeys nothing of it, a line stays a line, and what programs read is exact."""

import csv
import io
import json
import socket
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bucketpull.domain.progress import Note
from bucketpull.report import console
from bucketpull.report.line_reporter import LineReporter
from bucketpull.report.printable import PrintableStream, json_line, printable
from bucketpull.report.reporters import QuietReporter
from bucketpull.report.systemd import WorkerNotices
from bucketpull.report.terminal import TerminalReporter
from bucketpull.report.words import Words

EVIL = "a\nwarning: forged\r\x1b]0;title\x07\x1b[2J\x9b31m\u202egpj.exe\u2066\u2028\x7f\x00b"
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}


def obeyed(text):
    return [mark for mark in text if unicodedata.category(mark) in OBEYED]


@given(st.text(st.characters(exclude_categories=())))
@example(EVIL)
def test_any_text_becomes_one_line_of_which_a_terminal_obeys_nothing(text):
    shown = printable(text)

    assert obeyed(shown) == []
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown


@pytest.mark.parametrize("text", ["2024/照片 1.jpg", "naïve\u3000ひらがな.jpg", "a\xa0b", "", "🐈.png"])
def test_names_that_can_be_printed_stay_as_they_are(text):
    assert printable(text) == text


def test_what_is_escaped_can_be_read():
    assert printable("a\x1b[31m\n\u202eb") == r"a\x1b[31m\n\u202eb"


@pytest.mark.parametrize("reporter", [LineReporter, QuietReporter])
def test_neither_notes_nor_the_summary_forge_lines_or_move_a_cursor(reporter, ended):
    ended.source = ended.volumes[0].path = ended.volumes[0].detail = EVIL
    stream = io.StringIO()
    told = reporter(stream, Words())

    told.note("error", "volume.sick", f"volume {EVIL} is sick")
    lines = stream.getvalue()
    told.close(ended)

    assert lines.count("\n") == 1
    assert obeyed(stream.getvalue().replace("\n", "")) == []
    assert not any(line.startswith("warning: forged") for line in stream.getvalue().splitlines())


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_live_display_lets_nothing_of_others_through(running, columns, monkeypatch):
    running.source = EVIL
    running.notes = [Note(0.0, "warning", "volume.sick", EVIL)]
    running.retries = running.failures = {EVIL: 3}
    running.limited_by = EVIL
    for volume in running.volumes:
        volume.path = volume.machine = EVIL
    for machine in running.machines:
        machine.machine = machine.waiting_for = machine.limited_by = EVIL
        machine.endpoints = dict.fromkeys([EVIL], next(iter(machine.endpoints.values())))
    monkeypatch.setenv("COLUMNS", columns)
    stream = io.StringIO()  # no terminal: rich writes no codes of its own there
    reporter = TerminalReporter(stream, Words())

    reporter.note("warning", "volume.sick", EVIL)
    reporter.show(running)
    reporter.close(running)

    for mark in ("\x07", "\x9b", "\u202e", "\u2066", "\u2028", "\x7f", "\x00", "\x1b]", "\x1b[2J", "\x1b[31"):
        assert mark not in stream.getvalue()
    assert "forged" in stream.getvalue()
    assert not any(line.strip().startswith("warning: forged") for line in stream.getvalue().splitlines())


def test_commands_say_and_tell_one_line_each(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr("sys.stdout", written)
    monkeypatch.setattr("sys.stderr", written)

    console.say(EVIL)
    console.tell(EVIL)
    console.tell_error(console.BucketpullError(EVIL))

    assert written.getvalue().count("\n") == 3
    assert obeyed(written.getvalue().replace("\n", "")) == []


@given(st.text())
@example(EVIL)
def test_json_lines_are_exact_ascii_in_one_line_with_nothing_to_obey(text):
    line = json_line({"key": text})

    assert json.loads(line) == {"key": text}
    assert line.isascii()
    assert obeyed(line) == []


@given(st.binary(), st.integers(0, 40))
@example(EVIL.encode("utf-8", "surrogatepass"), 3)
@example("图片\t\x1b[31m\n".encode(), 1)
def test_what_is_listed_on_a_terminal_is_obeyed_nowhere_however_it_is_cut(data, cut):
    shown = io.BytesIO()
    stream = PrintableStream(shown)
    for piece in (data[:cut], data[cut:]):
        assert stream.write(piece) == len(piece)
    assert set(obeyed(shown.getvalue().decode())) <= {"\n", "\t"}
    with suppress(UnicodeDecodeError):
        if not obeyed(data.decode()):
            assert shown.getvalue() == data


class Terminal(io.TextIOWrapper):
    """Standard output that says whether it is a terminal."""

    is_one = True

    def isatty(self):
        return self.is_one


def test_lists_and_exports_are_printable_on_a_terminal_and_exact_in_a_pipe(monkeypatch):
    stdout = Terminal(io.BytesIO(), write_through=True)
    monkeypatch.setattr("sys.stdout", stdout)

    console.result_stream("keys").write(b"\x1b[31mred\n")
    stdout.is_one = False
    console.result_stream("keys").write(b"\x1b[31mred\n")

    assert stdout.buffer.getvalue() == b"\\x1b[31mred\n\x1b[31mred\n"


@given(
    st.lists(st.lists(st.text(st.sampled_from('a\n",\\\x1b')), min_size=1), max_size=5), st.integers(0, 40)
)
@example([["a\nbucketpull: all is well", 'b"\n"']], 3)
def test_a_line_of_csv_stays_a_line_on_a_terminal_whatever_the_keys_are(rows, cut):
    text, shown = io.StringIO(), io.BytesIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    data = text.getvalue().encode()
    stream = PrintableStream(shown, is_csv=True)
    for piece in (data[:cut], data[cut:]):
        stream.write(piece)
    assert shown.getvalue().count(b"\n") == len(rows)
    assert "\x1b" not in shown.getvalue().decode()


def test_what_the_broker_or_a_key_says_is_no_order_to_systemd(tmp_path, monkeypatch):
    """Each line of a notice is an assignment of its own: sd_notify(3)."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        WorkerNotices(Words("en")).alive("gone: x\nMAINPID=1\nSTOPPING=1 \udcff")
        told = systemd.recv(1000).decode()

    assert told.splitlines() == ["READY=1", "STATUS=gone: x\\nMAINPID=1\\nSTOPPING=1 \\udcff"]
