"""A command that only lists says within ten seconds why nothing comes, and does not wait for ever."""

import pytest

from bucketpull.domain.errors import AnswerError, ExitCode, Reason, SourceSilent
from bucketpull.wiring.source_client import FIRST_SECONDS, LONGEST_SECONDS, Patience, reach


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def waiting(clock, seconds, patience, step=1.0):
    until = clock.now + seconds
    while clock.now < until:
        clock.now += step
        patience.wait()


def test_why_nothing_comes_is_told_within_ten_seconds_and_each_time_the_wait_has_doubled():
    clock, told = Clock(), []
    patience = Patience("upyun://photos", clock, told.append)
    patience.blame(Reason.CONNECT, "Failed to connect to v0.example:443")
    waiting(clock, 60, patience)
    assert [text.split(": ")[1] for text in told] == [
        f"nothing has come for {seconds} s" for seconds in (8, 16, 32)
    ]
    assert FIRST_SECONDS <= 10
    assert "no connection (connect: Failed to connect to v0.example:443)" in told[0]


def test_it_ends_after_ten_minutes_without_anything_and_says_what_is_the_matter():
    clock = Clock()
    patience = Patience("upyun://photos", clock, [].append)
    patience.blame(Reason.DNS, "no.such.host")
    waiting(clock, LONGEST_SECONDS - 2, patience)
    patience.came()
    waiting(clock, LONGEST_SECONDS - 1, patience)
    with pytest.raises(
        SourceSilent, match=r"upyun://photos: nothing has come for 10 min: .*no\.such\.host"
    ) as found:
        waiting(clock, 2, patience)
    assert found.value.exit_code is ExitCode.INCOMPLETE


class Unreachable:
    """A client whose source refuses each connection, which takes a while of a clock."""

    def __init__(self, clock):
        self.source, self._clock = self, clock
        self.patience = Patience("s3://photos", clock, [].append)

    def root(self):
        return None

    def usage(self):
        return None

    def page(self, position):
        self._clock.now += LONGEST_SECONDS / 3
        raise AnswerError(Reason.TIMEOUT, "no answer from s3.example")


def test_a_source_that_never_gives_its_first_page_is_given_up():
    with pytest.raises(SourceSilent, match=r"s3\.example"):
        reach(Unreachable(Clock()))
