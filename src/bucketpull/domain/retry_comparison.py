"""Whether requests fail because they are the first for their object, and not because of pace or load. Sans-I/O."""

import math


class RetryComparison:
    """Compares how first requests and retries fail that are answered at the same time (a log-rank test).

    A limit on the rate, or a server under load, treats both alike. Where hardly a retry fails while many first requests do, objects
    fail once each: that says nothing of pace and load. A retry that fails still does. Once retries fail as often as first requests,
    both count again.
    """

    # Answers of one group are compared, for within it the pace, or a limit's second, is the same for all.
    GROUP_SECONDS = 0.2  # less than the least wait after a refusal: no request is compared with its own retry
    GROUP_ANSWERS = 30
    ENOUGH = 8.0  # retries expected to fail if they do as first requests do: that hardly one did is no chance
    HARDLY = 0.2  # of those expected
    MOST = 40.0  # what is older fades

    __slots__ = (
        "_answers",
        "_came",
        "_expected",
        "_failed",
        "_failed_retries",
        "_group_ends",
        "_retries",
        "is_once",
        "seen",
    )

    def __init__(self) -> None:
        self.is_once = False
        """Whether failures of first requests say nothing of pace and load."""
        self.seen = 0.0, 0.0
        """How many retries were expected to fail so far, and how many did."""
        self._expected = self._came = 0.0  # the same, as far as it is remembered
        self._group_ends = -math.inf
        # Of the answers of a group:
        self._answers = self._retries = self._failed = self._failed_retries = 0

    def note(self, now: float, is_retry: bool, has_failed: bool) -> bool:
        """Count an answer; tell whether this has just shown that objects fail once each."""
        has_turned = (now >= self._group_ends or self._answers >= self.GROUP_ANSWERS) and self._end_group(now)
        self._answers += 1
        self._retries += is_retry
        self._failed += has_failed
        self._failed_retries += is_retry and has_failed
        return has_turned and self.is_once

    def _end_group(self, now: float) -> bool:
        """Compare the answers of a group, and begin the next one; tell whether that changed what is known."""
        expected = came = 0.0
        if 0 < self._retries < self._answers:
            expected, came = self._failed * self._retries / self._answers, float(self._failed_retries)
        self.seen = self.seen[0] + expected, self.seen[1] + came
        self._group_ends = now + self.GROUP_SECONDS
        self._answers = self._retries = self._failed = self._failed_retries = 0
        return self.learn(expected, came)

    def learn(self, expected: float, came: float) -> bool:
        """Take how many retries were expected to fail, and how many did; tell whether that changed what is known."""
        self._expected += expected
        self._came += came
        return self._expected >= self.ENOUGH and self._decide()

    def _decide(self) -> bool:
        was_once = self.is_once
        self.is_once = self._came < self._expected * (1.0 if was_once else self.HARDLY)
        if self.is_once is not was_once:
            self._expected = self._came = 0.0
        elif self._expected > self.MOST:
            self._expected, self._came = self._expected / 2, self._came / 2
        return self.is_once is not was_once
