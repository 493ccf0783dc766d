import io
import json
import re
import subprocess
import sys

import msgspec
import pytest
from tests.report.conftest import volume

from bucketpull.domain.endpoints import State
from bucketpull.domain.progress import JobState
from bucketpull.domain.status import EndpointStatus, VolumeState
from bucketpull.report.line_reporter import LineReporter
from bucketpull.report.reporters import EventReporter, QuietReporter
from bucketpull.report.summary import progress_line, status_lines, summary_lines, time_left, volume_lines
from bucketpull.report.words import Words


def columns(text):
    return sum(2 if ord(letter) > 0x2E80 else 1 for letter in text)


def test_one_line_an_interval_and_one_at_each_change_of_state(running):
    stream = io.StringIO()
    reporter = LineReporter(stream, Words())

    for tick in range(80):
        running.seconds += 0.5
        if tick == 30:
            running.state = "paused"
        reporter.show(running)

    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert sum("paused" in line for line in lines) == 3
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_line_stays_below_160_columns_however_large_the_numbers(running, language):
    running.counters.failed = running.counters.skipped = 123_456_789_012
    reporter = LineReporter(stream := io.StringIO(), Words(language))

    reporter.show(running)

    assert columns(stream.getvalue().rstrip()) < 160


def test_a_line_says_how_far_how_fast_what_fails_and_when_it_ends(running):
    assert progress_line(running, Words()) == (
        "transferring 59.3 %; stored 180,345,678 (4,512/s, 149 MB/s); failed 14; skipped 1,234; "
        "left 1 d 3 h (1 d to 1 d 9 h)"
    )


def test_a_job_that_starts_says_nothing_of_books_that_are_not_open_yet(running):
    running.state = JobState.STARTING
    assert progress_line(running, Words()) == "starting"


def test_without_a_known_total_there_is_no_percentage_but_a_time_at_least(running):
    running.estimate.total_bytes, running.estimate.high = 0, None

    line = progress_line(running, Words())

    assert "%" not in line
    assert "left at least 1 d 3 h" in line


def test_the_same_line_in_chinese(running):
    assert progress_line(running, Words("zh")).startswith(
        "传输中 59.3 %；已存 180,345,678 (4,512/s, 149 MB/s)；失败 14"  # noqa: RUF001
    )


def test_a_stream_that_cannot_encode_a_text_gets_replacements_not_an_exception(running):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")

    LineReporter(stream, Words()).note("warning", "volume.sickened", "/mnt/照片: sick")

    stream.seek(0)
    assert stream.read()[len("2026-01-01 00:00:00 ") :] == "warning: volume.sickened: /mnt/??: sick\n"


def test_the_summary_reconciles_and_says_what_the_exit_code_means(ended):
    text = "\n".join(summary_lines(ended, Words()))

    assert text.splitlines()[0] == "incomplete: upyun://photos/2024"
    assert re.search(
        r"  listed +10,000 +333 MB\n= stored +9,000 +300 MB\n\+ skipped +986", text.replace("\n  ", "\n")
    )
    assert "missing 12, forbidden 2" in text
    assert "exit 3: something failed or is missing;\n    `bucketpull failures` says what" in text
    assert all(len(line) <= 80 for line in status_lines(ended, Words(), running=False)[-2:])
    assert "do not balance" not in text


def test_a_summary_whose_books_do_not_balance_says_so(ended):
    ended.counters.stored -= 1

    assert "the books do not balance: 10,000 listed, 9,999 accounted for" in "\n".join(
        summary_lines(ended, Words())
    )


def test_of_a_job_that_ended_and_has_work_again_it_is_said_how_that_is_done(ended):
    ended.state = JobState.INCOMPLETE
    ended.outstanding.objects = ended.outstanding.batches = 1

    said = "it has ended, and there is work again; run the same command again to do it"
    assert status_lines(ended, Words(), running=False)[-1] == said
    assert "再次运行同一条命令" in status_lines(ended, Words("zh"), running=False)[-1]


def test_the_summary_of_an_interrupted_job_counts_what_is_outstanding(running):
    running.state = "interrupted"

    text = "\n".join(summary_lines(running, Words("zh")))

    assert re.search(r"未完成 +1,654,304", text)
    assert "退出码 130" in text


def test_plain_lines_do_not_import_rich():
    code = "import sys, bucketpull.report.reporters, bucketpull.report.reporters; sys.exit('rich' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "waiting for logs/a\\x1bb, 42 s"), ("zh", "正在等待 logs/a\\x1bb，已 42 秒")],  # noqa: RUF001
)
def test_a_line_names_the_object_that_everything_waits_for(running, language, text):
    running.machines[0].waiting_for = "logs/a\x1bb"
    running.machines[0].still_seconds = 42.0

    LineReporter(stream := io.StringIO(), Words(language)).show(running)

    assert text in stream.getvalue()

    running.state = JobState.PAUSED
    assert text not in progress_line(running, Words(language))


def test_a_line_says_for_how_long_an_endpoint_that_gave_nothing_is_waited_for(running):
    first = running.machines[0]
    first.waiting_for, first.still_seconds = "a.jpg", 42.0
    first.endpoints["rest"] = EndpointStatus(0, 1.0, 9, 0, 1.0, state=State.DOWN, most_seconds=600.0)

    told = [progress_line(running, Words()), *status_lines(running, Words(), running=True)]

    assert sum("waiting for a.jpg, 42 s of at most 10 min" in line for line in told) == 2


@pytest.mark.parametrize("reporter", [LineReporter, lambda stream, _: EventReporter(stream)])
def test_progress_is_told_on_after_the_machines_clock_was_set_back(running, reporter):
    shown = reporter(stream := io.StringIO(), Words())
    shown.show(running)

    running.seconds, running.at = running.seconds + 11.0, running.at - 2 * 86400
    shown.show(running)

    assert len(stream.getvalue().splitlines()) == 2


def test_a_complete_job_says_nothing_at_all(ended):
    ended.state = "complete"
    reporter = QuietReporter(stream := io.StringIO(), Words())

    reporter.show(ended)
    reporter.note("warning", "volume.filled", "full")
    reporter.close(ended)

    assert stream.getvalue() == ""


def test_errors_and_the_reason_of_a_bad_end_are_told(ended):
    reporter = QuietReporter(stream := io.StringIO(), Words())

    reporter.note("error", "volume.sickened", "/mnt/disk1")
    reporter.close(ended)

    first, second = stream.getvalue().splitlines()
    assert first == "error: volume.sickened: /mnt/disk1"
    assert second.startswith("exit 3: ")


def test_while_all_that_is_left_waits_to_be_tried_again_it_says_for_how_long(running):
    running.outstanding.again_at = running.at + 252
    assert time_left(running, Words("en")) == "what failed is tried again in 4 min 12 s"

    running.at += 252
    assert time_left(running, Words("en")).startswith("left ")


def test_while_all_that_is_left_waits_for_a_machine_it_says_for_which(running):
    running.outstanding.waits_for = ["gamma"]
    assert time_left(running, Words("en")) == "what is left waits for machine gamma"

    running.outstanding.again_at = running.at + 1
    assert time_left(running, Words("en")).startswith("what failed is tried again")
    running.outstanding.again_at, running.state = 0.0, JobState.PAUSED
    assert time_left(running, Words("en")).startswith("time left not known")


def test_while_nothing_comes_from_the_source_it_says_which_endpoint_is_down_and_for_how_long(running):
    down = EndpointStatus(0, 4.0, 15, 0, 1.0, state=State.DOWN, state_seconds=2400.0)
    for machine in running.machines:
        machine.endpoints = {"list": down}
    text = "waiting for the source: list (down 40 min; all 2 machines)"

    assert time_left(running, Words("en")) == text
    assert text in progress_line(running, Words())
    assert text in "\n".join(status_lines(running, Words(), running=True))

    running.state = JobState.PAUSED
    assert text not in progress_line(running, Words())


@pytest.mark.parametrize(
    ("listing", "cdn", "rest", "told"),
    [
        (State.DOWN, State.UP, State.UP, "list"),
        (State.UP, State.DOWN, State.UP, ""),  # objects come from the other endpoint
        (State.UP, State.DOWN, State.REFUSING, "cdn rest"),
        (State.DOWN, State.DOWN, State.UP, "list"),
    ],
)
def test_an_endpoint_is_waited_for_where_no_other_stands_in_for_it(running, listing, cdn, rest, told):
    states = {"list": listing, "cdn": cdn, "rest": rest}
    asked = {name: EndpointStatus(0, 4.0, 9, 0, 1.0, state=state) for name, state in states.items()}
    for machine in running.machines:
        machine.endpoints = asked

    text = time_left(running, Words())

    assert ("waiting for the source" in text) == bool(told)
    assert [name for name in states if f"{name} (" in text] == told.split()

    asked["rest"].in_flight, asked["rest"].state = 1, State.UP
    assert time_left(running, Words()).startswith("left ")


def test_the_listing_is_not_waited_for_when_it_is_done(running):
    running.listing_done = True
    for machine in running.machines:
        machine.endpoints = {"list": EndpointStatus(0, 4.0, 9, 0, 1.0, state=State.DOWN)}

    assert time_left(running, Words()).startswith("left ")


@pytest.mark.parametrize(
    "state", [JobState.PAUSED, JobState.WAITING, JobState.NO_ROOM, JobState.BUDGET_SPENT]
)
def test_a_job_that_stands_still_has_no_time_left(running, state):
    running.state = state
    assert time_left(running, Words("en")) == "time left not known while nothing is fetched"
    assert time_left(running, Words("zh")) == "当前没有下载，剩余时间不可知"  # noqa: RUF001


def events(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_line_is_an_event_with_its_time(running, ended):
    stream = io.StringIO()
    reporter = EventReporter(stream, now=lambda: 1234.5)

    reporter.show(running)
    reporter.note("warning", "volume.sickened", "二号盘\nsick")
    reporter.close(ended)

    progress, note, end = events(stream)
    assert (progress["event"], progress["at"], progress["state"]) == ("progress", running.at, "transferring")
    assert note == {
        "event": "note",
        "level": "warning",
        "name": "volume.sickened",
        "text": "二号盘\nsick",
        "at": 1234.5,
    }
    assert (end["event"], end["state"], end["exit"]) == ("end", "incomplete", 3)
    assert end["summary"]["listed"] == 10_000


def test_progress_comes_once_an_interval(running):
    stream = io.StringIO()
    reporter = EventReporter(stream)

    for _ in range(20):
        running.seconds += 0.5
        reporter.show(running)

    assert len(events(stream)) == 10


def test_the_summary_of_several_machines_says_where_each_volume_is(ended):
    ended.machines = []  # they left when the job ended
    ended.volumes = [volume(1, "alpha"), volume(1, "beta")]
    text = "\n".join(summary_lines(ended, Words()))
    assert "alpha:/mnt/disk1" in text
    assert "beta:/mnt/disk1" in text
    ended.volumes = [volume(1, "alpha")]
    assert "alpha:" not in "\n".join(summary_lines(ended, Words()))


def test_what_is_not_known_of_a_volume_is_said_in_words():
    known, unknown = volume(1), volume(2)
    unknown.total_bytes = 0
    legend = "  ?: not known until a worker that has the volume joins the running job"

    _, _, second, *_, last = volume_lines([known, unknown], Words())
    assert (second.count("?"), last) == (3, legend)
    assert legend not in volume_lines([known], Words())
    unknown.state = VolumeState.LOST
    assert "?" not in "".join(volume_lines([known, unknown], Words())), "nobody will ever know"


def test_each_label_of_the_summary_leaves_its_values_their_column(ended):
    ended.retries = ended.failures = ended.counters.doubts = {"checksum": 200}
    for language in ("en", "zh"):
        lines = [line for line in summary_lines(ended, Words(language)) if "checksum" in line]
        assert len(lines) == 3
        assert {columns(line.partition("checksum")[0]) for line in lines} == {16}


def test_many_reasons_are_told_in_lines_that_a_terminal_has_room_for(ended):
    ended.retries = {f"reason-{number}": 1000 + number for number in range(9)}
    lines = [line for line in summary_lines(ended, Words()) if "reason-" in line]

    assert lines[0].startswith("  retries       reason-8 1,008, ")
    assert all(line.startswith(" " * 16) for line in lines[1:])
    assert max(map(len, lines)) <= 80
    assert ", ".join(line[16:].removesuffix(",") for line in lines).count("reason-") == 9
    assert all(line.removesuffix(",")[-1].isdigit() for line in lines)


def test_pages_that_could_not_be_listed_are_told_though_no_object_failed(ended):
    ended.state = JobState.INCOMPLETE
    ended.counters.unlisted = 2

    assert "! 2 pages could not be listed" in "\n".join(summary_lines(ended, Words()))
    assert "! 2 pages could not be listed" in "\n".join(status_lines(ended, Words(), running=False))
    ended.counters.unlisted = 0
    assert "could not be listed" not in "\n".join(summary_lines(ended, Words()))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_volume_whose_path_is_long_takes_two_lines_of_the_summary(ended, language):
    short, long = ended.volumes[0], msgspec.structs.replace(ended.volumes[0], path="/mnt/" + "archive-" * 4)
    ended.volumes = [msgspec.structs.replace(short, path="/d"), long]
    words = Words(language)

    lines = summary_lines(ended, words)

    at = next(index for index, line in enumerate(lines) if line.endswith(long.path))
    assert lines[at + 1].startswith(f"{' ' * 16}{words('volume.' + long.state)}  ")
    assert "/d  " in lines[at - 1]
    assert max(map(columns, lines)) <= 80
