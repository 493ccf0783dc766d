import io
import json

from bucketpull.report.events import EventReporter


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
        running.at += 0.5
        reporter.show(running)

    assert len(events(stream)) == 10
