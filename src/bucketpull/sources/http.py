"""HTTP as all sources speak it (RFC 9110): the headers of a request, to which a source adds its own; and of an answer what its status means, and
what its headers say of dates, waits, versions, parts and the server's clock.
"""

import math
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.http_exchange import DATED, Response, Verdict, Wanted

USER_AGENT: Final = "bucketpull"
STATUS: Final[dict[int, Reason]] = {
    401: Reason.CREDENTIALS,
    403: Reason.FORBIDDEN,
    404: Reason.GONE,
    408: Reason.TIMEOUT,
    410: Reason.GONE,
    412: Reason.RANGE,
    416: Reason.RANGE,
    429: Reason.THROTTLED,
    503: Reason.THROTTLED,  # nginx's `limit_req` gives it to all above the limit, without Retry-After
}
"""What a status of a refusal means where the service says nothing else."""
CDN_STATUS: Final[dict[int, Reason]] = {
    404: Reason.MISSING,
    408: Reason.TIMEOUT,
    410: Reason.MISSING,
    412: Reason.RANGE,
    416: Reason.RANGE,
    429: Reason.THROTTLED,
}
"""The same of a CDN, which does not know whether an object is gone."""
_DATE: Final = "%a, %d %b %Y %H:%M:%S GMT"
NOT_MODIFIED: Final = 304  # nobody asked whether it was: it leads nowhere, and brings nothing
UNALTERED: Final = frozenset({"", "identity"})
"""Content encodings of bodies that are sent as they are."""
IN_MEMORY_BYTES: Final = 16 << 20
_RANGE: Final = r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)"


def request_headers(user_agent: str = USER_AGENT, accept: str = "*/*") -> tuple[str, ...]:
    """Return the headers of every request, for an object or a page: its bytes are to come as they are."""
    return f"Accept: {accept}", "Accept-Encoding: identity", f"User-Agent: {user_agent}"


def range_headers(start: int, version: str) -> tuple[str, ...]:
    """Return the further headers that ask for what is behind byte `start`, of one version only; of any where that is not known ("")."""
    asked = f"Range: bytes={start}-"
    if version.startswith(DATED):
        return asked, f"If-Unmodified-Since: {version.removeprefix(DATED)}"
    return (asked, f"If-Match: {version}") if version else (asked,)


def reason_of(status: int, table: Mapping[int, Reason] = STATUS, refused: Reason = Reason.REJECTED) -> Reason:
    """Class a status that is not the wanted one; `refused` stands for what a 4xx means that is not in the table."""
    known = table.get(status)
    if known is not None:
        return known
    if 300 <= status < 400 and status != NOT_MODIFIED:
        return Reason.REDIRECTED
    if status >= 500:
        return Reason.SERVER_ERROR
    return refused if status >= 400 else Reason.GARBAGE


def check_arrived(response: Response, most_bytes: int) -> None:
    """Make sure that the answer to a listing request came whole. Raises AnswerError where it did not, or is larger than any listing."""
    if response.failure is Reason.SIZE or (response.failure and response.received > most_bytes):
        raise AnswerError(Reason.GARBAGE, f"more than {most_bytes} bytes in place of a listing")
    if response.failure is not None:
        raise AnswerError(response.failure, response.detail)


def glimpse(body: bytes) -> str:
    """Return the beginning of a body, for a message."""
    return repr(body[:80].decode("utf-8", "replace"))


def retry_after(value: str, now: float) -> float | None:
    """Read `Retry-After`: seconds or a date; None for anything else. At most an hour."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(float(value), 3600.0)
    at = seconds_of(value)
    return None if at is None else min(max(0.0, at - now), 3600.0)


def http_date(seconds: int) -> str:
    """Write Unix seconds as RFC 1123 does: `Sun, 06 Nov 1994 08:49:37 GMT`."""
    return time.strftime(_DATE, time.gmtime(seconds))


def seconds_of(date: str) -> float | None:
    """Read an RFC 1123 date as Unix seconds; None if it is none."""
    import calendar  # 0.4 ms of a start, of which most see no date that is not the listed one

    try:
        return float(calendar.timegm(time.strptime(date, _DATE)))
    except (ValueError, OverflowError):
        return None


def note_date(verdict: Verdict, wanted: Wanted, response: Response) -> None:
    """Note when an object changed, where no list tells and the answer does."""
    if verdict.reason is None and wanted.mtime < 0:
        verdict.mtime = _moment(response.headers().get("last-modified", ""))


@lru_cache(maxsize=1024)
def _moment(date: str) -> int:
    found = seconds_of(date)
    return -1 if found is None or found < 0 else int(found)


def version_of(headers: Mapping[str, str]) -> str:
    """Name the version an answer is of: its strong ETag, else its date of change, else "".

    An ETag without quotes, which RFC 9110 forbids and some servers send, is one too: they take it back as they gave it.
    """
    etag = headers.get("etag", "")
    if etag and not etag.startswith(("W/", "w/")):
        return etag
    changed = headers.get("last-modified", "")
    return DATED + changed if changed else ""


def start_of(response: Response, headers: Mapping[str, str]) -> int:
    """Tell at which byte a body begins: 0 if it is the whole in place of a part, -1 if a part does not say so.

    Some servers send a part with status 200, or another than was asked for: the header says what it is.
    """
    if response.status != 206 and "content-range" not in headers:
        return 0
    return _content_range(headers.get("content-range", ""))[0]


def misplaced(
    response: Response,
    headers: Mapping[str, str],
    version: str,
    start: int,
    wanted: Wanted,
    wanted_version: str,
) -> Verdict | None:
    """Find a body that is not what was asked for: another part, another version, the whole in place of a part, a cut one.

    A server may send less than was asked for (RFC 9110, 15.3.7): where a part does not tell the whole's length, only the listed one can.
    """
    if response.status == 200 and "content-range" not in headers:
        if start:
            return Verdict(Reason.RANGE, "the whole object came in place of a part", version=version)
        return None
    first, total = _content_range(headers.get("content-range", ""))
    if first != start:
        return Verdict(Reason.RANGE, f"the part begins at {first}, not at {start}", version=version)
    if start and wanted_version and version != wanted_version:
        detail = f"the object changed: {version or 'no version'}, before {wanted_version}"
        return Verdict(Reason.RANGE, detail, version=version)
    end = start + response.received
    if end == (total if total >= 0 else wanted.size):
        return None
    reason, told = Reason.TRUNCATED, f"{end} of {total} bytes"
    if total < 0:
        reason, told = Reason.RANGE, f"a part up to byte {end}; of how many is not told"
    return Verdict(reason, told, version=version, start=start)


def _content_range(value: str) -> tuple[int, int]:
    """Read `bytes 5-9/10` as (5, 10); (-1, -1) if it is none; the total is -1 where it is not told."""
    found = re.fullmatch(_RANGE, value)
    if found is None:
        return -1, -1
    return int(found[1]), -1 if found[2] == "*" else int(found[2])


_TOLERANCE_SECONDS: Final = 60.0
_ON_THE_WAY_SECONDS: Final = 90.0


class ServerClock:
    """How much the service's clock is ahead of ours, learnt when it refuses the date of a request.

    `offset` in seconds is what to add to our time. Requests that were on their way when it was learnt are refused too, and sent again.
    """

    def __init__(self) -> None:
        self.offset = 0.0
        self._learnt_at = -math.inf

    def learn(self, response: Response, now: float, *, alone: bool = False) -> Reason:
        """Take the service's time from an answer that came at `now` (Unix seconds, ours), and say what the refusal means.

        If our time, as corrected, is theirs already, or theirs is not told, nothing can be corrected: `skew`, but for those on their
        way meanwhile; `alone` tells that this request was not.
        """
        stated = seconds_of(response.headers().get("date", ""))
        if stated is None:
            return Reason.SKEW
        if abs(now + self.offset - stated) < _TOLERANCE_SECONDS:
            is_late = not alone and 0 <= now - self._learnt_at < _ON_THE_WAY_SECONDS
            return Reason.CLOCK if is_late else Reason.SKEW
        self.offset, self._learnt_at = stated - now, now
        return Reason.CLOCK


class SharedAnswers:
    """Answers of a length that is not listed, by version and length: what several objects got is a page of whatever stands before the service."""

    def __init__(self) -> None:
        self._last: tuple[str, int, bytes, bytes] | None = None
        self._shared: tuple[str, int] | None = None

    def is_shared(self, wanted: Wanted, version: str, size: int) -> bool:
        """Note an answer; tell whether another object got the same."""
        answer, before = (version, size, wanted.directory, wanted.name), self._last
        if before is not None and before[:2] == (version, size) and before != answer:
            self._shared = version, size
        self._last = answer
        return self._shared == (version, size)
