"""The UPYUN service as a source: lists by REST, fetches from the CDN, or by REST what the CDN cannot give.

Its only state is what it learns from answers: the offset of the server's clock, when that refuses a date; how its heads look;
and whether the CDN's dates are the listing's.
"""

from itertools import product
from typing import Final

import msgspec

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.http_exchange import (
    LISTING_SECONDS,
    NUMBERS,
    Request,
    Response,
    UsageQuery,
    Verdict,
    Wanted,
)
from bucketpull.domain.keys import is_plain, quoted
from bucketpull.domain.memo import Memo
from bucketpull.domain.model import Page, Position, bytes_of
from bucketpull.sources.addresses import path_of
from bucketpull.sources.http import (
    IN_MEMORY_BYTES,
    ServerClock,
    SharedAnswers,
    check_arrived,
    http_date,
    range_headers,
    request_headers,
    seconds_of,
)
from bucketpull.sources.upyun import verdicts
from bucketpull.sources.upyun.config import CDN, REST, UpyunConfig, authorization_of, endpoints_of, uri_prefix
from bucketpull.sources.upyun.list_response import Listing, read_listing
from bucketpull.sources.upyun.paging import Paging, is_slash_folder
from bucketpull.sources.upyun.signing import cdn_token
from bucketpull.sources.upyun.stages import ask_for
from bucketpull.sources.upyun.verdicts import MARKUP_STARTS, complaint, quick, refusal, rest_reason

_LISTING_BYTES_PER_ENTRY = 2048  # a name of 255 bytes with every one escaped takes 1,530
_FEW = 2  # entries where only the next one matters
_MONTH_SECONDS = 30 * 86_400
STAMP_CHARACTERS: Final = 29
_DAY_SECONDS: Final = 86_400
_MOST_DAYS: Final = 4096
_SIXTY: Final = tuple(b"%02d:" % number for number in range(60))
_MINUTES: Final = tuple(map(b"".join, product(_SIXTY[:24], _SIXTY)))
_SECONDS: Final = tuple(b"%02d GMT" % second for second in range(60))
_HEX: Final = b"0123456789abcdefABCDEF"
_MD5_CHARACTERS: Final = 32
_MD5_ENDS: Final = b'"\r'
_MOST_SHAPES: Final = 4096


class UpyunSource:
    """One bucket. Implements `ports.Source`."""

    def __init__(self, config: UpyunConfig) -> None:
        self._config = config.checked()
        self.endpoints = endpoints_of(config)
        self._uri = uri_prefix(config)
        self._cdn = None if config.cdn_url is None else path_of(config.cdn_url) + "/"
        self._root = bytes_of(config.prefix.strip("/"))
        self._style = quoted(config.style.encode()).replace("%21", "!")
        self._separator = config.separator.encode()
        self._asks_both = self._cdn is not None and not self._style
        self._authorization = authorization_of(config)
        self._clock = ServerClock()
        self._unlisted = SharedAnswers()
        self._directory, self._folder = b"", ""  # of the last request: objects come directory by directory
        self._routed, self._is_plain_folder = b"", True
        self._usual_headers = usual = request_headers(config.user_agent)
        referer = (f"Referer: {config.referer}",) if config.referer else ()
        self._cdn_headers = (*usual, *referer, *config.headers)
        self._rest_headers = (*usual, "x-upyun-folder: false")
        listing = (*request_headers(config.user_agent, "application/json"), "x-upyun-folder: true")
        self._list_headers = (*listing, f"x-list-limit: {config.list_limit}")
        self._few_headers = (*listing, f"x-list-limit: {_FEW}")
        self._listing_bytes = _LISTING_BYTES_PER_ENTRY * config.list_limit + (1 << 20)
        self._dates = Dates()
        self._usual = {CDN: FastPath(CDN, self._dates), REST: FastPath(REST, None)}
        self._pages = Paging(config.bucket, config.list_limit, config.split_listing)

    def root(self) -> Position:
        """Begin at the configured folder, or at the bucket's root."""
        return Position(self._root)

    def page_here(self, position: Position) -> Page | None:  # noqa: ARG002
        """Nothing lies here: all is asked for."""
        return None

    def list_request(self, position: Position, site: str, now: float) -> Request:
        """Ask for one page of one folder."""
        ask = ask_for(position)
        uri = self._uri + "/" if is_slash_folder(position) else self._directory_uri(position.directory)
        headers = self._few_headers if ask.few else self._list_headers
        descending = ("x-list-order: desc",) if ask.descending else ()
        cursor = (f"x-list-iter: {ask.cursor}",) if ask.cursor else ()
        signed = self._authorization.lines(uri, now + self._clock.offset)
        return Request(
            site + uri,
            (*signed, *headers, *descending, *cursor),
            self._listing_bytes,
            most_seconds=LISTING_SECONDS,
        )

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """Understand a listing answer."""
        try:
            return self._pages.page(position, self._listing(position, response, now))
        except AnswerError as error:
            page = self._pages.instead(position, error)
            if page is None:
                raise
            return page

    def routes(self, directory: bytes, name: bytes, size: int) -> tuple[str, ...]:  # noqa: ARG002
        """Prefer the CDN, unless the key may mean another object to it.

        It takes what follows the first separator in a path for an image version, and where a path has empty segments
        or such as `..`, caches usually answer for the path without them.
        """
        if self._cdn is None:
            return _REST_ONLY
        if directory is not self._routed:
            self._routed = directory
            self._is_plain_folder = directory.find(self._separator) < 0 and not _has_odd_segment(directory)
        if self._is_plain_folder and name.find(self._separator) < 0:
            if self._asks_both:
                return _REST_ONLY if _SLASH in name or name in _ODD else _CDN_FIRST
            return _CDN_ONLY
        if self._asks_both:
            return _REST_ONLY
        raise AnswerError(
            Reason.REJECTED,
            f"with {self._separator.decode()!r} or an empty segment in it the key means another object to the CDN; without --style it comes by REST",
        )

    def object_request(
        self, wanted: Wanted, endpoint: str, site: str, now: float, start: int = 0, version: str = ""
    ) -> Request:
        """Ask for an object."""
        directory, name = wanted.directory, wanted.name
        most = max(IN_MEMORY_BYTES, wanted.size)
        extra = range_headers(start, version) if start else ()
        if directory is not self._directory:
            self._directory, self._folder = directory, quoted(directory) + "/" if directory else ""
        path = self._folder + quoted(name)
        if endpoint == CDN and self._cdn is not None:
            headers = self._cdn_headers + extra if extra else self._cdn_headers
            token = self._protection(directory, name, now) if self._config.token_secret else ""
            return Request(site + self._cdn + path + self._style + token, headers, most)
        uri = self._uri + path
        signed = self._authorization.lines(uri, now + self._clock.offset)
        return Request(site + uri, signed + self._rest_headers + extra, most)

    def judge(
        self, wanted: Wanted, endpoint: str, response: Response, now: float, start: int = 0, version: str = ""
    ) -> Verdict:
        """Decide whether an answer is the object."""
        if start == 0 and not self._style:
            verdict = self._usual[endpoint].judge(wanted, response)
            if verdict is not None:
                return verdict
        verdict = verdicts.close(
            verdicts.Asked(wanted, endpoint, now, start, version, bool(self._style)), response
        )
        if start == 0 and not self._style and verdict.reason in {None, Reason.SIZE}:
            self._check_alone(wanted, endpoint, response, verdict)
        if endpoint == CDN and not self._style and (verdict.reason is None or verdict.doubtful):
            self._doubt_age(verdict, response, wanted.mtime)
            return verdict
        if verdict.reason is Reason.CLOCK:
            verdict.reason = self._clock.learn(response, now)
        elif verdict.reason is Reason.CREDENTIALS and not is_plain(wanted.name):
            verdict.reason = Reason.FORBIDDEN  # perhaps only this name's encoding is at odds
        return verdict

    def _check_alone(self, wanted: Wanted, endpoint: str, response: Response, verdict: Verdict) -> None:
        """Refuse an answer of REST of a length that is not listed if another object got the same, from REST or from the CDN."""
        size = response.received
        if not verdict.version or wanted.size in {-1, size} or response.failure is not None:
            return
        if self._unlisted.is_shared(wanted, verdict.version, size) and endpoint == REST:
            verdict.reason = Reason.GARBAGE
            verdict.detail = f"the same {size} bytes came for other objects, {wanted.size} are listed"

    def _doubt_age(self, verdict: Verdict, response: Response, mtime: int) -> None:
        """Refuse what the CDN kept from a time before the listed one."""
        stated = response.headers().get("last-modified", "")
        if self._dates.is_stale(stated, mtime):
            verdict.reason, verdict.doubtful = Reason.STALE, False
            verdict.detail = f"of {stated}, listed is {self._dates.stamp(mtime).decode()}"

    def usage_query(self, site: str, now: float) -> UsageQuery | None:
        """Ask for the size of the whole bucket."""
        uri = self._uri + "?usage"
        headers = (*self._authorization.lines(uri, now + self._clock.offset), *self._usual_headers)
        return UsageQuery(Request(site + uri, headers, 65_536), _read_usage)

    def _directory_uri(self, directory: bytes) -> str:
        return f"{self._uri}{quoted(directory)}/" if directory else self._uri

    def _listing(self, position: Position, response: Response, now: float) -> Listing:
        headers = response.headers()
        check_arrived(response, self._listing_bytes)
        if response.status != 200 or headers.get("x-error-code"):
            raise self._refusal(position, response, now)
        try:
            return read_listing(response.body, headers)
        except AnswerError:
            if complaint(response, headers).code:
                raise self._refusal(position, response, now) from None
            raise

    def _refusal(self, position: Position, response: Response, now: float) -> AnswerError:
        """Class the refusal of a page; what concerns the root concerns the job."""
        headers = response.headers()
        said = complaint(response, headers)
        reason = rest_reason(said.status, said.code)
        at_root = position.directory == self._root
        if reason is Reason.CLOCK:
            reason = self._clock.learn(response, now, alone=at_root and not position.cursor)
        elif reason is Reason.GONE and at_root and not position.cursor:
            reason = Reason.NO_BUCKET
        elif reason is Reason.GONE and "html" in headers.get("content-type", ""):
            reason = Reason.GARBAGE
        elif reason is Reason.FORBIDDEN and at_root:
            reason = Reason.PERMISSION
        elif reason is Reason.CREDENTIALS and not at_root and not is_plain(position.directory):
            reason = Reason.FORBIDDEN
        return refusal(reason, said, headers, now)

    def _protection(self, directory: bytes, name: bytes, now: float) -> str:
        """Return the query that a protected domain asks for; the path is signed decoded. It is the same for all requests of a month."""
        path = b"/" + (directory + b"/" + name if directory else name)
        expires = (int(now) // _MONTH_SECONDS + 12) * _MONTH_SECONDS
        return "?_upt=" + cdn_token(self._config.token_secret, expires, path + self._style.encode())


_REST_ONLY = (REST,)
_CDN_ONLY = (CDN,)
_ODD = frozenset({b"", b".", b".."})
_CDN_FIRST = (CDN, REST)
_SLASH: Final = ord("/")  # a number is found in half the time that `find` takes


def _read_usage(response: Response) -> int:
    """Return the bucket's size in bytes."""
    if response.failure is not None:
        raise AnswerError(response.failure, response.detail)
    text = response.body.strip()
    if response.status != 200:
        said = complaint(response, response.headers())
        raise AnswerError(rest_reason(said.status, said.code), said.detail)
    if not text.isdigit() or len(text) > 18:
        raise AnswerError(Reason.GARBAGE, f"no size of a bucket: {text[:80]!r}")
    return int(text)


def _has_odd_segment(directory: bytes) -> bool:
    return bool(directory) and not _ODD.isdisjoint(directory.split(b"/"))


# --- answers that look like an earlier good one, judged by what may differ between them and nothing else: the heads of one server's
# answers are alike but for numbers: lengths, dates, hashes (see `Response.shape`). What `verdicts` found out about a whole head holds
# for all of its shape: the next takes 1.2 µs, its date compared, in place of 1.8 µs without.


class Dates:
    """Whether copies are as recent as listed: a stale one may have the size of the new object.

    It compares the `Last-Modified` of an endpoint's answers against the listing's times of change (Unix seconds; -1 is not known).

    Stale copies are few, and so are objects that were changed after they were listed. Where many dates differ, this server's
    mean something else (the time of a copy, a clock that is off): then they are believed no more. `useful` tells whether they
    still are.
    """

    FREE: Final = 8
    SHARE: Final = 0.2

    def __init__(self) -> None:
        self.useful = True
        self._equal = 0
        self._other = 0
        self._days = Memo[int, bytes](_MOST_DAYS)

    def agree(self, stated: bytes, mtime: int) -> bool:
        """Tell quickly that a date is the listed one; 0.3 µs."""
        day, second = self._days.get(mtime // _DAY_SECONDS), mtime % _DAY_SECONDS
        if stated != (
            self.stamp(mtime) if day is None else day + _MINUTES[second // 60] + _SECONDS[second % 60]
        ):
            return False
        self._equal += 1
        return True

    def is_stale(self, stated: str, mtime: int) -> bool:
        """Tell whether a date is older than the listed one, and that means something."""
        if not self.useful or mtime < 0:
            return False
        changed = seconds_of(stated)
        if changed is None:
            return False
        if changed == mtime:
            self._equal += 1
            return False
        self._other += 1
        self.useful = self._other <= self.FREE + self.SHARE * self._equal
        return self.useful and changed < mtime

    def stamp(self, seconds: int) -> bytes:
        """Write a time as headers do: `Sun, 06 Nov 1994 08:49:37 GMT`."""
        day, second = divmod(seconds, _DAY_SECONDS)
        written = self._days.get(day)
        if written is None:
            written = http_date(seconds)[: len("Sun, 06 Nov 1994 ")].encode()
            self._days[day] = written
        return written + _MINUTES[second // 60] + _SECONDS[second % 60]


class _Known(msgspec.Struct, frozen=True, gc=False):
    """What stands before the values of a shape's headers, as the server writes it; b"" where there is no such header."""

    md5: bytes
    date: bytes


class FastPath:
    """What is known of the answers of one endpoint; `dates` is None where they say nothing about staleness."""

    __slots__ = ("_dates", "_endpoint", "_known")

    def __init__(self, endpoint: str, dates: Dates | None) -> None:
        self._endpoint = endpoint
        self._dates = dates
        self._known = Memo[bytes, _Known](_MOST_SHAPES)

    def judge(self, wanted: Wanted, response: Response) -> Verdict | None:
        """Judge the usual answer: 200, whole, as long and as young as listed, nothing odd in its head. None: look closely."""
        head = response.header_lines[0] if response.shape else b"".join(response.header_lines)
        shape = response.shape or head.translate(None, NUMBERS)
        known = self._known.get(shape)
        if (
            known is None
            or response.status != 200
            or response.received != wanted.size
            or response.failure is not None
            or (response.chunks and response.chunks[0][0] in MARKUP_STARTS)
        ):
            return self._look(wanted, response, head, shape)
        before = known.md5
        if not self._is_young(known, head, wanted.mtime):
            return None
        if not before:
            return Verdict(None, "", None, wanted.size)
        at = head.find(before) + len(before)
        stated = head[at : at + _MD5_CHARACTERS]
        if stated.translate(None, _HEX) or head[at + _MD5_CHARACTERS] not in _MD5_ENDS:
            return quick(wanted, self._endpoint, response)
        return Verdict(None, "", None, wanted.size, stated.decode("ascii").lower())

    def _look(self, wanted: Wanted, response: Response, head: bytes, shape: bytes) -> Verdict | None:
        verdict = quick(wanted, self._endpoint, response)
        if verdict is None:
            return None
        known = self._known[shape] = _known_of(head)
        return verdict if self._is_young(known, head, wanted.mtime) else None

    def _is_young(self, known: _Known, head: bytes, mtime: int) -> bool:
        dates, date = self._dates, known.date
        if dates is None or not dates.useful or not date or mtime < 0:
            return True
        at = head.find(date) + len(date)
        return dates.agree(head[at : at + STAMP_CHARACTERS], mtime)


def _known_of(head: bytes) -> _Known:
    text = head.lower()
    etag, md5, date = (
        _before_value(head, text, name) for name in (b"etag", b"content-md5", b"last-modified")
    )
    if etag:
        at = head.find(etag) + len(etag)
        value = head[at : head.find(b"\r", at)]
        if value[:1] == value[-1:] == b'"' and not value[1:-1].translate(None, _HEX):
            return _Known(etag + b'"', date)
    return _Known(md5, date)


def _before_value(head: bytes, text: bytes, name: bytes) -> bytes:
    """Return a header's name as the server writes it, with what surrounds it; b"" where it is not there, or spaced oddly."""
    at = text.find(b"\r\n%s: " % name)
    return b"" if at < 0 else head[at : at + len(name) + 4]
