"""A list of URLs as a source: pages are read from the file, each object is fetched from its own URL."""

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.http_exchange import Request, Response, Verdict, Wanted
from bucketpull.domain.keys import quoted
from bucketpull.domain.model import Page, Part, Position, key_of
from bucketpull.sources.http import note_date, request_headers
from bucketpull.sources.list_files import CORRECT_IT, check_unchanged
from bucketpull.sources.plain import PlainSource
from bucketpull.sources.urls.config import UrlsConfig
from bucketpull.sources.urls.rows import is_unreadable
from bucketpull.sources.urls.tables import Table, table_of


class UrlsSource(PlainSource):
    """One list. Implements `ports.Source`; only who lists needs the file."""

    def __init__(self, config: UrlsConfig) -> None:
        referer = (f"Referer: {config.referer}",) if config.referer else ()
        headers = (*request_headers(config.user_agent), *referer, *config.headers)
        super().__init__((), "the servers of the list", headers)
        self._config = config
        self._table: Table | None = None

    def page_here(self, position: Position) -> Page:
        """Read some lines."""
        check_unchanged(self._config.path, self._config.state)
        if self._table is None:
            self._table = table_of(self._config.path)
        found = self._table.page(position.cursor)
        rows = found.rows
        part = Part(
            position.directory,
            position.cursor,
            [row.key for row in rows],
            [row.size for row in rows],
            [row.mtime for row in rows],
            [row.md5 for row in rows] if any(row.md5 for row in rows) else [],
            [row.url for row in rows],
        )
        following = [] if found.following is None else [Position(position.directory, found.following)]
        return Page(part, [], following, unreadable=found.odd)

    def routes(self, directory: bytes, name: bytes, size: int) -> tuple[str, ...]:
        """Refuse what names no object; it is tried again with others that failed."""
        if is_unreadable(name):
            raise AnswerError(Reason.REJECTED, CORRECT_IT)
        return super().routes(directory, name, size)

    def list_request(self, position: Position, site: str, now: float) -> Request:
        """Refuse: all pages are here."""
        raise NotImplementedError

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """Refuse: all pages are here."""
        raise NotImplementedError

    def url_of(self, wanted: Wanted, site: str) -> str:  # noqa: ARG002
        """Return an object's own address; where only its key is left, what that was made of."""
        return wanted.url or "http://" + quoted(key_of(wanted.directory, wanted.name))

    def judge(
        self, wanted: Wanted, endpoint: str, response: Response, now: float, start: int = 0, version: str = ""
    ) -> Verdict:
        """Judge by status, length and version, and by the MD5 of the list; what is not there should be."""
        verdict = super().judge(wanted, endpoint, response, now, start, version)
        if verdict.reason is None and wanted.version:
            verdict.md5 = wanted.version
            found = response.md5().hex() if start == 0 and response.chunks else wanted.version
            if found != wanted.version:
                detail = f"md5 {found} came, {wanted.version} is in the list"
                return Verdict(Reason.CHECKSUM, detail, version=verdict.version)
        elif verdict.reason is Reason.GONE:
            verdict.reason = Reason.NOT_FOUND
        note_date(verdict, wanted, response)
        return verdict
