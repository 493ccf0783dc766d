"""A bucket of S3 or of a service that speaks its protocol: listed by key, each object a signed GET, or from a CDN before it.

Its only state is what it learns from answers: the offset of the server's clock when that refuses a date, and newer temporary
credentials when it refuses the old.
"""

from typing import Final
from urllib.parse import quote, urlsplit

from bucketpull.domain.endpoints import EndpointSpec, Purpose
from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.http_exchange import LISTING_SECONDS, Request, Response, Verdict, Wanted
from bucketpull.domain.keys import is_plain, quoted
from bucketpull.domain.model import Page, Position, bytes_of, show
from bucketpull.sources.addresses import hosts_of, path_of, sites_of
from bucketpull.sources.http import (
    IN_MEMORY_BYTES,
    ServerClock,
    SharedAnswers,
    check_arrived,
    range_headers,
    request_headers,
    retry_after,
)
from bucketpull.sources.s3 import verdicts
from bucketpull.sources.s3.config import S3Config, address_of
from bucketpull.sources.s3.credentials import CurrentKeys
from bucketpull.sources.s3.list_response import read_listing
from bucketpull.sources.s3.paging import Ask, ask_for, followed, refused
from bucketpull.sources.s3.signing import Anonymous, Authorization, Credentials, Signer
from bucketpull.sources.s3.verdicts import ASKED, EXPIRED, Complaint, complaint

LIST: Final = "list"
ORIGIN: Final = "s3"
CDN: Final = "cdn"
_LISTING_BYTES: Final = 8 << 20  # a key of 1,024 bytes with every one escaped takes 3 KiB


class S3Source:
    """One bucket; the configuration is `checked`. Implements `ports.Source`."""

    def __init__(self, config: S3Config) -> None:
        self._config = config
        self._address = address_of(config)
        self._path = self._address.path + "/"
        self._root = bytes_of(config.prefix)
        self._below = self._root + b"/" if self._root else b""
        self._cdn = None if config.cdn_url is None else path_of(config.cdn_url) + "/"
        self._routes = (ORIGIN,) if self._cdn is None else (CDN, ORIGIN)
        self.endpoints = _endpoints(config, self._address.site)
        self._headers = request_headers(config.user_agent)
        self._clock = ServerClock()
        self._current = CurrentKeys(config.credentials())
        self._listing, self._reading = self._authorize(self._current.keys)
        self._directory, self._folder = b"", ""  # of the last request
        self._unlisted = SharedAnswers()
        self._signed: tuple[str, ...] = ()
        self._whole: tuple[str, ...] = self._headers

    def root(self) -> Position:
        """Begin at the configured folder, or at the first key."""
        return Position(self._root)

    def page_here(self, position: Position) -> Page | None:  # noqa: ARG002
        """Nothing lies here: all is asked for."""
        return None

    def list_request(self, position: Position, site: str, now: float) -> Request:
        """Ask for a page by name or by token (ListObjectsV2, or ListObjects where the service knows no other)."""
        path = self._address.path or "/"
        query = self._query(ask_for(position))
        signed = self._listing.lines(path, query, now + self._clock.offset)
        return Request(
            f"{site}{path}?{query}", signed + self._headers, _LISTING_BYTES, most_seconds=LISTING_SECONDS
        )

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """Read the answer to a listing request."""
        try:
            return self._page(position, response, now)
        except AnswerError as error:
            page = refused(position, error)
            if page is None:
                raise
            return page

    def routes(self, directory: bytes, name: bytes, size: int) -> tuple[str, ...]:  # noqa: ARG002
        """Prefer the CDN."""
        return self._routes

    def object_request(
        self, wanted: Wanted, endpoint: str, site: str, now: float, start: int = 0, version: str = ""
    ) -> Request:
        """Ask for an object, or for the rest of it."""
        most = max(IN_MEMORY_BYTES, wanted.size)
        extra = range_headers(start, version) if start else ()
        directory = wanted.directory
        if directory is not self._directory:
            self._directory, self._folder = directory, quoted(directory) + "/" if directory else ""
        if endpoint == CDN and self._cdn is not None:
            path = self._cdn + self._folder + quoted(wanted.name)
            return Request(site + path, self._headers + extra if extra else self._headers, most)
        path = self._path + self._folder + quoted(wanted.name)
        signed = self._reading.lines(path, "", now + self._clock.offset)
        if signed is not self._signed:
            self._signed, self._whole = signed, signed + self._headers
        return Request(site + path, self._whole + extra if extra else self._whole, most)

    def judge(
        self, wanted: Wanted, endpoint: str, response: Response, now: float, start: int = 0, version: str = ""
    ) -> Verdict:
        """Decide whether an answer is the object."""
        if endpoint == CDN:
            return verdicts.of_copy(wanted, response, now, start, version)
        if start == 0:
            verdict = verdicts.quick(wanted, response)
            if verdict is not None:
                return verdict
        verdict = verdicts.of_origin(wanted, response, now, start, version)
        if verdict.reason is None and start == 0:
            verdict = verdicts.checked_whole(wanted, response, now, verdict)
            if verdict.reason is None and wanted.size not in {-1, verdict.size}:
                self._check_alone(wanted, verdict)
        if verdict.reason is Reason.CLOCK:
            verdict.reason = self._clock.learn(response, now)
        elif verdict.reason is Reason.CREDENTIALS:
            said = complaint(response, response.headers())
            if said.code == "SignatureDoesNotMatch" and not is_plain(wanted.name):
                verdict.reason = Reason.FORBIDDEN  # perhaps only this name's encoding is at odds
            else:
                verdict.reason = self._renewed(said, response, now)
        elif verdict.reason is Reason.REGION:
            verdict.detail = self._elsewhere(complaint(response, response.headers()))
        return verdict

    def usage_query(self, site: str, now: float) -> None:
        """No service tells the size of a bucket by this protocol."""

    def _check_alone(self, wanted: Wanted, verdict: Verdict) -> None:
        """Refuse an answer of a length that is not listed if another object got the same."""
        if self._unlisted.is_shared(wanted, verdict.version, verdict.size):
            verdict.reason = Reason.GARBAGE
            verdict.detail = f"the same {verdict.size} bytes came for other objects, {wanted.size} are listed"

    def _query(self, ask: Ask) -> str:
        """Write the parameters sorted by name, as the signature wants them."""
        parameters = [("encoding-type", b"url"), ("max-keys", b"%d" % ask.keys)]
        after = self._below + ask.after if ask.after else b""
        token = bytes_of(ask.token)
        if ask.is_old:
            parameters.append(("marker", token or after))
        else:
            parameters += [("continuation-token", token), ("list-type", b"2"), ("start-after", after)]
        parameters.append(("prefix", self._below))
        return "&".join(f"{name}={quote(value, safe='~')}" for name, value in sorted(parameters) if value)

    def _page(self, position: Position, response: Response, now: float) -> Page:
        check_arrived(response, _LISTING_BYTES)
        if response.status != 200 or verdicts.is_error(response.body):
            raise self._refusal(position, response, now)
        # An MD5 an object makes a batch twice as large: only where somebody compares it, or writes it down.
        wanted = self._cdn is not None or self._config.lists_versions
        listing = read_listing(response.body, etags=wanted)
        if wanted:
            listing = listing._replace(etags=verdicts.md5s(listing.etags))
        names, below = listing.keys, self._below
        if below and not names and not listing.odd and not listing.is_truncated and not position.cursor:
            # No folder exists by itself: a wrong name would look like a bucket that is pulled completely.
            raise AnswerError(
                Reason.NO_BUCKET,
                f"no key begins with {show(below)!r}; a prefix is a whole folder, --include takes patterns, --keys single keys",
            )
        if below:
            if not all(key.startswith(below) for key in names):
                listing = listing.below(below)
            names = [key[len(below) :] for key in listing.keys]
        return followed(position, names, listing)

    def _refusal(self, position: Position, response: Response, now: float) -> AnswerError:
        """Class the refusal of a page: what concerns the listing concerns the job."""
        headers = response.headers()
        said = complaint(response, headers)
        reason, detail = said.reason, said.detail
        if reason is Reason.CLOCK:
            reason = self._clock.learn(response, now, alone=not position.cursor)
        elif reason is Reason.CREDENTIALS:
            reason = self._renewed(said, response, now)
        elif reason is Reason.REGION:
            detail = self._elsewhere(said)
        elif reason is Reason.GONE:
            reason = Reason.GARBAGE if "html" in headers.get("content-type", "") else Reason.NO_BUCKET
        return AnswerError(reason, detail, retry_after(headers.get("retry-after", ""), now))

    def _renewed(self, said: Complaint, response: Response, now: float) -> Reason:
        """Sign with newer keys where these have expired; with them the request may be tried again."""
        if said.code in EXPIRED and self._current.renew(now - response.seconds, now):
            self._listing, self._reading = self._authorize(self._current.keys)
            return Reason.CLOCK
        return Reason.CREDENTIALS

    def _elsewhere(self, said: Complaint) -> str:
        config = self._config
        remedy = f"use --region {said.region}" if said.region else "set --region to the bucket's"
        return f"bucket {config.bucket} is not in region {config.region}; {remedy} ({said.detail})"[:300]

    def _authorize(self, credentials: Credentials | None) -> tuple[Authorization, Authorization]:
        """Return what signs requests for pages, and what signs those for objects."""
        payer = (("x-amz-request-payer", "requester"),) if self._config.request_payer else ()
        reading = (ASKED, *payer)
        if credentials is None:
            return Anonymous(payer), Anonymous(reading)
        region, host = self._config.region, self._address.host
        return Signer(credentials, region, host, payer), Signer(credentials, region, host, reading)


def _endpoints(config: S3Config, site: str) -> tuple[EndpointSpec, ...]:
    """Declare the service, and the CDN where one is named."""
    title = f"the endpoint {urlsplit(site).netloc}"
    listing = EndpointSpec(name=LIST, purpose=Purpose.LIST, sites=(site,), title=title, first=8, highest=64)
    origin = EndpointSpec(name=ORIGIN, purpose=Purpose.FETCH, sites=(site,), title=title, first=32)
    if config.cdn_url is None:
        return listing, origin
    copies = EndpointSpec(
        name=CDN,
        purpose=Purpose.FETCH,
        sites=sites_of(config.cdn_url),
        title=f"the CDN {hosts_of(config.cdn_url)}",
        is_origin=False,
        first=32,
    )
    return listing, copies, origin
