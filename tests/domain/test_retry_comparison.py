"""Whether objects fail once each is told by retries that are answered at the same time as first requests."""

from bucketpull.domain.retry_comparison import RetryComparison


def _answers(comparison, began, seconds, first, retries):
    """Note 50 answers of each kind a second, of which each fourth, third, ... fails; 0 is none. Return whether that showed something."""
    has_shown = False
    for number in range(round(seconds * 50)):
        now = began + number / 50
        has_shown |= comparison.note(now, False, first > 0 and number % first == 0)
        has_shown |= comparison.note(now, True, retries > 0 and number % retries == 0)
    return has_shown


def test_where_first_requests_fail_and_their_retries_do_not_each_object_fails_once():
    comparison = RetryComparison()

    assert _answers(comparison, 0.0, 2.0, first=2, retries=0)
    assert comparison.is_once


def test_where_both_fail_alike_nothing_is_said_of_the_objects():
    comparison = RetryComparison()

    assert not _answers(comparison, 0.0, 20.0, first=4, retries=4)
    assert not comparison.is_once


def test_retries_that_are_answered_when_nothing_fails_say_nothing():
    """As where they come after the pace was lowered."""
    comparison = RetryComparison()

    for second in range(60):
        for number in range(10):
            comparison.note(second + number / 100, False, True)
        for number in range(10):
            comparison.note(second + 0.5 + number / 100, True, False)

    assert not comparison.is_once


def test_a_few_failures_may_be_chance():
    comparison = RetryComparison()

    assert not _answers(comparison, 0.0, 0.2, first=2, retries=0)
    assert not comparison.is_once


def test_once_retries_fail_as_well_first_requests_count_again():
    comparison = RetryComparison()
    _answers(comparison, 0.0, 10.0, first=2, retries=0)

    assert not _answers(comparison, 10.0, 3.0, first=3, retries=2)
    assert not comparison.is_once


def test_retries_that_fail_for_a_limit_are_no_reason_to_believe_first_requests_that_always_do():
    comparison = RetryComparison()
    _answers(comparison, 0.0, 2.0, first=1, retries=0)

    _answers(comparison, 2.0, 60.0, first=1, retries=3)

    assert comparison.is_once
