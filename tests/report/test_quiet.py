import io

from bucketpull.report.quiet import QuietReporter
from bucketpull.report.words import Words


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
