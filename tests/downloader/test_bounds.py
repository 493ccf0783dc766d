"""One object, or one directory, that gets a reason for ever costs itself: all else is stored, and the job ends, within virtual hours."""

import pytest
from tests.downloader.rig import Rig, names_of

from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.model import Page, Position
from bucketpull.domain.retry import BOUNDS, LAST_PASS, PASSES, Scope, next_page_try, next_try
from bucketpull.downloader.parameters import Bounds
from bucketpull.testing.memory import part_of
from bucketpull.testing.virtual import Answer

BODY = b"x" * 10
OTHERS = 40
MOST_SECONDS = 2 * 3600.0
OF_THE_DISK = [reason for reason in Reason if BOUNDS[reason].scope in {Scope.VOLUME, Scope.MACHINE}] + [
    Reason.UNSTORABLE
]
OF_THE_SOURCE = [reason for reason in Reason if reason not in OF_THE_DISK and reason is not Reason.POISON]


class Job:
    """Gives work that was put off again when it is due, as the journal does; what is due last, when nothing else is left."""

    def __init__(self, rig):
        self.rig = rig
        self.stored = 0
        self.failed = []
        self.unplaced = []

    def pull(self, parts):
        waiting = [(0.0, 0, parts)]
        while waiting:
            waiting.sort(key=lambda each: each[0])
            due, passes, parts = waiting.pop(0)
            self.rig.run(lambda due=due: due == LAST_PASS or self.rig.clock.seconds >= due)
            self.rig.assign(parts, id=len(self.rig.outcomes), passes=passes)
            outcome = self.rig.settle(len(self.rig.outcomes) + 1)[-1]
            self.stored += outcome.stored
            self.failed += outcome.failures
            self.unplaced += names_of(outcome.unplaced)
            if outcome.deferred:
                wait = next_try(passes)
                assert wait is not None, "it was put off after the last pass"
                waiting.append((self.rig.clock.seconds + wait, passes + 1, outcome.deferred))

    def list(self, directories):
        waiting = [(0.0, Position(directory)) for directory in directories]
        while waiting:
            waiting.sort(key=lambda each: each[0])
            due, position = waiting.pop(0)
            self.rig.run(lambda due=due: due == LAST_PASS or self.rig.clock.seconds >= due)
            self.rig.scan([position], work=len(self.rig.receipts))
            count = len(self.rig.receipts)
            self.rig.run(lambda count=count: len(self.rig.receipts) > count or self.rig.fatals)
            if self.rig.fatals:
                return
            receipt = self.rig.receipts[-1]
            self.stored += len(receipt.pages)
            self.failed += receipt.failures
            for again in receipt.positions:
                (reason,) = receipt.retries
                wait = next_page_try(Reason(reason), again.passes - 1)
                assert wait is not None, "it was put off after the last pass"
                waiting.append((self.rig.clock.seconds + wait, again))


def names(count):
    return [b"n%03d" % number for number in range(count)]


@pytest.mark.parametrize("routes", [("edge", "origin"), ("origin",)])
@pytest.mark.parametrize("streamed", [1, 1 << 20])
@pytest.mark.parametrize(
    "reason", [reason for reason in OF_THE_SOURCE if BOUNDS[reason].remedy is not Remedy.STOP]
)
def test_an_object_that_gets_a_reason_for_ever_ends_alone(reason, routes, streamed):
    def answer(request):
        return Answer(failure=reason) if request.url.endswith("n007") else Answer(body=BODY)

    rig = Rig(answer, routes=routes, bounds=Bounds(streamed=streamed))
    rig.mount()
    job = Job(rig)
    job.pull([part_of(b"d", dict.fromkeys(names(OTHERS), len(BODY)))])

    assert job.stored == OTHERS - 1
    assert [failure.name for failure in job.failed] == [b"n007"]
    expected = Reason.GONE if reason is Reason.MISSING else reason
    assert job.failed[0].reason is expected
    assert job.failed[0].attempts <= 4 * 8 * len(routes)
    assert rig.clock.seconds < MOST_SECONDS
    assert rig.fatals == []


@pytest.mark.parametrize("routes", [("edge", "origin"), ("origin",)])
@pytest.mark.parametrize("reason", [Reason.TRUNCATED, Reason.SERVER_ERROR])
def test_the_requests_of_all_passes_are_counted(reason, routes):
    def answer(request):
        return Answer(failure=reason) if request.url.endswith("n007") else Answer(body=BODY)

    rig = Rig(answer, routes=routes)
    rig.mount()
    job = Job(rig)
    job.pull([part_of(b"d", dict.fromkeys(names(OTHERS), len(BODY)))])

    assert [failure.attempts for failure in job.failed] == [
        BOUNDS[reason].tries * (len(PASSES) + 1) * len(routes)
    ]


@pytest.mark.parametrize("streamed", [1, 1 << 20])
@pytest.mark.parametrize("reason", OF_THE_DISK)
def test_an_object_that_its_disk_refuses_for_ever_ends_alone(reason, streamed):
    rig = Rig(lambda request: Answer(body=BODY), bounds=Bounds(streamed=streamed))
    writer = rig.mount()
    writer.odd[b"d/n007"] = reason
    job = Job(rig)
    job.pull([part_of(b"d", dict.fromkeys(names(OTHERS), len(BODY)))])

    ended = [failure.name for failure in job.failed] + job.unplaced
    assert b"n007" in ended
    if BOUNDS[reason].remedy is not Remedy.HOLD:  # what is a volume's, its machine places elsewhere
        assert ended == [b"n007"]
        assert job.stored == OTHERS - 1
    assert rig.clock.seconds < MOST_SECONDS


@pytest.mark.parametrize("reason", [reason for reason in OF_THE_SOURCE if reason is not Reason.GONE])
def test_a_directory_that_gets_a_reason_for_ever_is_a_failure_and_all_others_are_listed(reason):
    directories = [b"d%03d" % number for number in range(OTHERS)]
    pages = {
        (directory, ""): Page(part_of(directory, {b"a": 1}), [], []) for directory in [b"", *directories]
    }

    def answer(request):
        return Answer(failure=reason) if "d007" in request.url else Answer()

    rig = Rig(answer, pages=pages)
    job = Job(rig)
    job.list([directories[0], *directories[1:]])

    assert rig.fatals == []
    assert job.stored == OTHERS - 1
    assert [(failure.directory, failure.name, failure.reason) for failure in job.failed] == [
        (b"d007", b"", reason)
    ]
    assert rig.clock.seconds < MOST_SECONDS
