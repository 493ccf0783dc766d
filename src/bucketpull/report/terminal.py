"""The live display: one screen part that says how far, how fast, what holds it back, and what fails.

Wide terminals (150 columns on) show volumes and machines beside the books; narrow ones below them. It never is
higher than the terminal: the last volumes and machines give way to a count.
"""

import atexit
import contextlib
import math
import os
import time
from typing import TextIO

from rich.console import Console, ConsoleDimensions, Group, OverflowMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bucketpull.domain.messages import Pulse
from bucketpull.domain.progress import JobState, Note, Snapshot
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.report import figures, times
from bucketpull.report.document import endpoints_of, lists_only
from bucketpull.report.events import state_of
from bucketpull.report.printable import columns, fitted, printable
from bucketpull.report.summary import (
    by_reason,
    limit_text,
    speed_texts,
    summary_lines,
    time_left,
    waiting_text,
)
from bucketpull.report.times import clock
from bucketpull.report.words import Words

WIDE = 150
NOTES = 3
PASSING_SECONDS = 60.0
ONCE_SECONDS = 600.0  # of trouble that is told once and has no end of its own
_STATES = {
    JobState.COMPLETE: "bold green",
    JobState.INCOMPLETE: "bold yellow",
    JobState.PAUSED: "bold yellow",
    JobState.WAITING: "bold yellow",
    JobState.NO_ROOM: "bold red",
    JobState.BUDGET_SPENT: "yellow",
    JobState.NO_BROKER: "bold red",
    JobState.REFUSED: "bold red",
    JobState.INTERRUPTED: "bold yellow",
}
_VOLUMES = {VolumeState.OPEN: "green", VolumeState.SICK: "bold red", VolumeState.LOST: "bold red"}
_COLUMNS, _LINES = 80, 25  # of a terminal that does not say
_BESIDE_NAME, _LEAST_NAME = 48, 32  # columns of a volume's numbers, and of its name
_LEVELS = {"warning": "yellow", "error": "bold red"}


class TerminalReporter:
    """Draws the job in place, twice a second; notes scroll above it; the summary stays at the end.

    `stream` is a terminal that can move its cursor.
    """

    def __init__(self, stream: TextIO, words: Words) -> None:
        self._console = Console(file=stream, highlight=False, emoji=False, markup=False)
        self._stream = stream
        self._words = words
        self._process = 0
        self._measure()
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,
            vertical_overflow="crop",
        )

    def show(self, snapshot: Snapshot) -> None:
        """Draw the job, unless the terminal has not taken the last drawing yet."""
        if getattr(self._stream, "behind", False):
            return
        width, height = self._measure()
        if not self._live.is_started:
            self._live.start()
            self._process = os.getpid()
            atexit.register(self._leave)  # whatever ends the process, the cursor comes back
        self._live.update(display(snapshot, self._words, width, height - 1), refresh=True)

    def _leave(self) -> None:
        """Give the terminal back, unless it is gone, or this is a process forked from the one that draws."""
        if self._process == os.getpid():
            with contextlib.suppress(OSError, ValueError):
                if self._live.is_started:
                    # rich draws it once more, whole: what is higher than the terminal would stay
                    self._live.update(Text(), refresh=True)
                self._live.stop()

    def _measure(self) -> tuple[int, int]:
        """Return the size of the terminal that is written to; rich would ask the standard streams.

        A serial console, or a terminal that a program made, may state none: 0 columns, in which nothing is shown.
        """
        with contextlib.suppress(OSError, ValueError):
            columns, lines = os.get_terminal_size(self._stream.fileno())
            self._console.size = ConsoleDimensions(columns or _COLUMNS, lines or _LINES)
        return self._console.size

    def note(self, level: str, event: str, text: str) -> None:
        """Write one event above the display."""
        line = f"{clock(time.time())} {level}: {event}: {self._words.message(text)}"
        self._console.print(_text(line, _LEVELS.get(level, "dim")), soft_wrap=True)

    def close(self, snapshot: Snapshot) -> None:
        """Replace the display by the summary."""
        self._leave()
        atexit.unregister(self._leave)
        first, *rest = summary_lines(snapshot, self._words)
        self._console.print(_text(first, _STATES.get(snapshot.state, "bold")), soft_wrap=True)
        for line in rest:
            self._console.print(_text(line, "bold red" if line.startswith("  !") else ""), soft_wrap=True)


def _bar(share: float, style: str, width: int | None = None) -> ProgressBar:
    return ProgressBar(1.0, share, width, complete_style=style, finished_style=style)


def display(snapshot: Snapshot, words: Words, width: int, height: int) -> RenderableType:
    """Lay the job out for a terminal of so many columns and lines."""
    head = [_title(snapshot, words), _overall(snapshot), _when(snapshot, words, width), Text()]
    facts, notes = _facts(snapshot, words), _notes(snapshot, words)
    distributed = len(snapshot.machines) > 1
    wide = width >= WIDE
    used = len(head) + 1 + bool(snapshot.stages) + sum(_height(note, width) for note in notes)
    room = height - used - (0 if wide else facts.row_count + 1)
    tables: list[RenderableType] = []
    if snapshot.volumes:
        share = room if not distributed else max(3, room // 2)
        name = _LEAST_NAME if wide else max(_LEAST_NAME, width - _BESIDE_NAME)
        tables.append(_volumes(snapshot.volumes, words, share, name, distributed))
    if distributed:
        tables.append(
            _machines(
                [each for each in snapshot.machines if not lists_only(each)],
                words,
                max(3, room - min(len(snapshot.volumes) + 2, room // 2)),
            )
        )
    if not wide:
        return Group(*head, facts, *notes, Text(), *tables)
    beside = Table.grid(padding=(0, 3))
    beside.add_row(facts, Group(*tables))
    return Group(*head, beside, *notes)


def _text(text: str, style: str, *, overflow: OverflowMethod | None = None) -> Text:
    """Return what others may have written as a text that the terminal shows, and obeys nothing of."""
    return Text(printable(text), style, no_wrap=False, overflow=overflow)


def _ends(left: RenderableType, right: Text) -> Table:
    """Put a text or a bar at the left and a text at the right end of a line; the left one gives way."""
    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    row.add_column(no_wrap=True, justify="right")
    row.add_row(left, right)
    return row


def _title(snapshot: Snapshot, words: Words) -> RenderableType:
    state = Text(words("state." + snapshot.state), _STATES.get(snapshot.state, "bold cyan"))
    right = Text.assemble(state, "  ", (times.duration(snapshot.seconds, words.language), "dim"))
    return _ends(Text.assemble(("bucketpull ", "bold"), printable(snapshot.source)), right)


def _overall(snapshot: Snapshot) -> RenderableType:
    estimate = snapshot.estimate
    if not estimate.knows_share:
        return _ends(_bar(0.0, ""), Text(figures.size(snapshot.counters.bytes), "bold"))
    style = _STATES.get(snapshot.state, "cyan").removeprefix("bold ")
    return _ends(_bar(estimate.share, style), Text(figures.percent(estimate.share), "bold"))


def _when(snapshot: Snapshot, words: Words, width: int) -> RenderableType:
    estimate = snapshot.estimate
    done = figures.size(estimate.share * estimate.total_bytes)
    amount = words("of", done, figures.size(estimate.total_bytes)) if estimate.total_bytes else ""
    left = time_left(snapshot, words)
    return _ends(Text(left), Text(amount if columns(left + amount) < width else "", "dim"))


def _facts(snapshot: Snapshot, words: Words) -> Table:
    """The books, speeds, endpoints, retries and failures, one a line."""
    books = snapshot.counters
    now, mean = speed_texts(snapshot.rates, words)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row(words("objects"), _books(snapshot, words))
    facts.add_row(words("speed"), Text.assemble((now, "bold"), (f"  {mean}", "dim")))
    if snapshot.stages:
        facts.add_row(words("stages"), _stages(snapshot, words))
    if endpoints_of(snapshot):
        facts.add_row(words("in_flight"), _in_flight(snapshot, words))
    listed = words("all_listed" if snapshot.listing_done else "more", figures.count(books.listed))
    facts.add_row(words("listing"), f"{listed}  {words('directories', figures.count(books.directories))}")
    waiting = waiting_text(snapshot, words)
    if waiting:
        facts.add_row("", _text(waiting, "yellow"))
    if snapshot.cost is not None:
        spent = words("spent", figures.size(snapshot.spent.bytes), figures.count(snapshot.spent.requests))
        facts.add_row(
            words("cost"), Text.assemble((figures.money(snapshot.cost), "bold"), (f"  {spent}", "dim"))
        )
    for name, counts, style in (
        ("retries", snapshot.retries, "yellow"),
        ("failures", snapshot.failures, "red"),
    ):
        if any(counts.values()):
            facts.add_row(words(name), _text(by_reason(counts), style))
    return facts


def _in_flight(snapshot: Snapshot, words: Words) -> Text:
    """The transfers of each endpoint, of how many it may have, and what limits them."""
    transfers = "  ".join(
        f"{name} {endpoint.in_flight}/{endpoint.level:.0f}{state_of(name, endpoint, snapshot.machines, words)}"
        for name, endpoint in sorted(endpoints_of(snapshot).items())
    )
    return Text.assemble(printable(transfers), "  ", (printable(limit_text(snapshot, words)), "yellow"))


def _notes(snapshot: Snapshot, words: Words) -> list[Text]:
    """The latest events, whole: what they begin with is known, what they end with is the reason.

    Trouble stays until it ends, ten minutes if no end is ever told; what is no trouble, or ended it, leaves after a minute.
    """
    latest = {note.about or number: note for number, note in enumerate(snapshot.notes)}
    shown = [
        note
        for note in snapshot.notes
        if (not note.about or latest[note.about] is note) and snapshot.at - note.at < _stays(note)
    ]
    return [
        _text(words.message(note.text), _LEVELS.get(note.level, "dim"), overflow="fold")
        for note in shown[-NOTES:]
    ]


def _stays(note: Note) -> float:
    if note.level == "info":
        return PASSING_SECONDS
    return math.inf if note.about else ONCE_SECONDS


def _height(text: Text, width: int) -> int:
    """Return about how many lines a text takes: words at a line's end may add one to those that follow."""
    return -(-text.cell_len // max(1, width - 8)) or 1


def _stages(snapshot: Snapshot, words: Words) -> Table:
    """The stages of an object's way with their speeds; the last of the fast ones is before what limits."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in snapshot.stages:
        table.add_column(justify="right", no_wrap=True, min_width=8)
    table.add_row(*(Text(words(f"stage.{name}"), "dim") for name in snapshot.stages))
    table.add_row(*(figures.speed(stage.per_second) for stage in snapshot.stages.values()))
    return table


def _books(snapshot: Snapshot, words: Words) -> Text:
    books = snapshot.counters
    text = Text.assemble((figures.count(books.stored), "bold"), f" {words('stored')}")
    for name, number, style in (
        ("skipped", books.skipped, ""),
        ("excluded", books.excluded, "dim"),
        ("failed", books.failed, "red"),
        ("vanished", books.vanished, "yellow"),
    ):
        if number:
            text.append(f"  {figures.count(number)} {words(name)}", style)
    return text


def _volumes(volumes: list[VolumeStatus], words: Words, lines: int, width: int, distributed: bool) -> Table:
    table = _table(words("volume"), "", words("free"), words("objects"), words("speed"))
    shown = _shortened(len(volumes), lines)
    for volume in volumes[:shown]:
        used = 1 - volume.free_bytes / volume.total_bytes if volume.total_bytes else 0.0
        name = f"{volume.machine}:{volume.path}" if distributed else volume.path
        sick = volume.state is not VolumeState.OPEN
        table.add_row(
            _text(
                fitted(printable(name), width), "bold" if not sick else _VOLUMES.get(volume.state, "yellow")
            ),
            Text(words("volume." + volume.state), _VOLUMES.get(volume.state, "yellow"))
            if sick
            else _bar(used, "cyan" if used < 0.95 else "yellow", 10),
            figures.size(volume.free_bytes) if volume.total_bytes else "-",
            figures.count(volume.stored_objects) if volume.total_bytes else "-",
            f"{figures.size(volume.written_per_second)}/s",
        )
    return _with_rest(table, len(volumes) - shown, words)


def _machines(machines: list[Pulse], words: Words, lines: int) -> Table:
    table = _table(words("machine"), words("limit"), words("in_flight"), words("fetched"), words("bytes"))
    shown = _shortened(len(machines), lines)
    for machine in machines[:shown]:
        flying = sum(endpoint.in_flight for endpoint in machine.endpoints.values())
        limit = words("limit." + machine.limited_by) if machine.limited_by else ""
        table.add_row(
            _text(machine.machine, "bold"),
            _text(limit, "yellow"),
            f"{flying}",
            figures.count(machine.objects),
            figures.size(machine.bytes),
        )
    return _with_rest(table, len(machines) - shown, words)


def _table(first: str, second: str, *numbers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(first, min_width=12, no_wrap=True, overflow="ellipsis")
    table.add_column(second, no_wrap=True, min_width=10)
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table


def _shortened(rows: int, lines: int) -> int:
    """Return how many rows fit below a header, with a line for the others' number if not all do."""
    return rows if rows + 1 <= lines else max(1, lines - 2)


def _with_rest(table: Table, left_out: int, words: Words) -> Table:
    if left_out > 0:
        table.add_row(Text(words("and_more", left_out), "dim"))
    return table
