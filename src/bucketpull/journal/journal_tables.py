"""Everything that is behind one open journal, read from its file as one."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Self

import msgspec

from bucketpull.domain.counting import add_counts
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Position
from bucketpull.domain.order import ANY, Order
from bucketpull.domain.retry import RETRY_SECONDS
from bucketpull.journal.failures import Failures
from bucketpull.journal.frontier import AGAIN, Frontier
from bucketpull.journal.journal_connection import JournalConnection
from bucketpull.journal.listed_pages import PageRow, Pages
from bucketpull.journal.stale_copies import StaleCopies
from bucketpull.journal.sums import Books, decode_books, encode_books
from bucketpull.journal.volume_numbers import Volumes


class Run(msgspec.Struct):
    """The number of the present run (0 before the first), and whether it `looks_back`: pages may be known from before it.

    `tidied` is the last run after which what it had not seen was forgotten.
    """

    number: int
    looks_back: bool
    tidied: int


class Tables(msgspec.Struct):
    """The tables of a journal, and the sums that are kept in memory with them.

    New work is given out in this `order`; what was tried once is tried again after `retry_seconds`.
    """

    connection: JournalConnection
    order: Order
    retry_seconds: float
    journal: str
    job: str
    run: Run
    books: Books
    volumes: Volumes
    frontier: Frontier
    pages: Pages
    failures: Failures
    copies: StaleCopies

    @classmethod
    def load(
        cls, connection: JournalConnection, order: Order = ANY, retry_seconds: float = RETRY_SECONDS
    ) -> Self:
        """Read the sums, and hand each table what it needs."""
        with connection.reading():
            journal, job, number, past, tidied = connection.only_row("job")
            run = Run(number, bool(past), tidied)
            books = decode_books(connection.only_row("books")[0])
            volumes = Volumes(connection)
        frontier = Frontier(connection, books, volumes, order)
        tables = Pages(connection), Failures(connection, books), StaleCopies(connection, volumes)
        return cls(connection, order, retry_seconds, journal, job, run, books, volumes, frontier, *tables)

    def list_again(self, rows: Collection[PageRow]) -> None:
        """Trust nothing that is known of pages when they are listed; list those again that this run has listed before."""
        for row in rows:
            self.pages.doubt(row.directory, row.cursor)
        listed = [row for row in rows if row.run == self.run.number > 0]
        self.add_again([Position(row.directory, row.cursor, row.until) for row in listed])

    def add_again(self, positions: Sequence[Position]) -> None:
        """List pages again that this run has listed before: what it has stored of them is known from then."""
        if positions:
            self.frontier.add_scans(positions, tier=AGAIN)
            self.look_back()

    def look_back(self) -> None:
        """Have what is listed from now on compared with what is known of pages, in a first run too."""
        self.run.looks_back = True
        self.write_run()

    def replace_damaged(self) -> None:
        """Remove batches whose bytes were damaged, and list the pages again of which objects are neither booked nor outstanding without them.

        Those objects count as listed no more until then. Where no page is found for them the books do not balance, and the job ends incomplete.
        """
        if not self.frontier.damaged:
            return
        left = Counter[tuple[bytes, str]]()
        for batch in self.frontier.batches():
            for span in batch.spans:
                left[span.directory, span.cursor] += span.objects
        counters = self.books.counters
        add_counts(counters.retries, {Reason.POISON.value: self.frontier.remove_damaged()})
        lost = []
        for directory, cursor, unbooked in self.pages.unsettled(self.run.number):
            missing = unbooked - left[directory, cursor]
            row = self.pages.known(directory, cursor)
            if missing > 0 and row is not None:
                size = row.size * missing // row.objects  # a batch tells no bytes by page
                row.objects -= missing
                row.size -= size
                counters.listed -= missing
                counters.listed_bytes -= size
                lost.append(row)
        for row in lost:
            self.pages.change(row)
        self.list_again(lost)

    def reloaded(self) -> Self:
        """Read the sums again, which are not those in memory: another process wrote them, or a transaction was undone."""
        return self.load(self.connection, self.order, self.retry_seconds)

    def write(self) -> None:
        """Write the sums, at the end of a transaction."""
        self.connection.rows("write-books", encode_books(self.books))

    def write_run(self) -> None:
        """Write the number of the run and what goes with it."""
        self.connection.rows("update-job", self.run.number, self.run.looks_back, self.run.tidied)
