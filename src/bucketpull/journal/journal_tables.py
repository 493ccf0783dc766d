"""Everything that is behind one open journal, read from its file as one."""

from typing import Self

import msgspec

from bucketpull.domain.order import Order
from bucketpull.journal.batch_receipts import Batches, NextPageTry, NextTry, Run
from bucketpull.journal.failures import Failures
from bucketpull.journal.frontier import Frontier
from bucketpull.journal.listed_pages import Pages
from bucketpull.journal.scan_receipts import Scans
from bucketpull.journal.stale_copies import StaleCopies
from bucketpull.journal.store import Store
from bucketpull.journal.sums import Books, decode_books, encode_books
from bucketpull.journal.volume_numbers import Volumes


class Tables(msgspec.Struct):
    """The tables of a journal, and the sums that are kept in memory with them."""

    store: Store
    journal: str
    job: str
    run: Run
    books: Books
    volumes: Volumes
    frontier: Frontier
    pages: Pages
    failures: Failures
    batches: Batches
    scans: Scans
    copies: StaleCopies

    @classmethod
    def load(cls, store: Store, next_try: NextTry, next_page_try: NextPageTry, order: Order) -> Self:
        """Read the sums, and hand each table what it needs."""
        with store.reading():
            journal, job, number, past, tidied = store.only_row("job")
            run = Run(number, bool(past), tidied)
            books = decode_books(store.only_row("books")[0])
            volumes = Volumes(store)
        frontier = Frontier(store, books, volumes, order)
        pages, failures, copies = Pages(store), Failures(store, books), StaleCopies(store, volumes)
        batches = Batches(run, books, volumes, frontier, pages, failures, copies, next_try)
        scans = Scans(run, books, frontier, pages, failures, batches, next_page_try)
        return cls(
            store, journal, job, run, books, volumes, frontier, pages, failures, batches, scans, copies
        )

    def write(self) -> None:
        """Write the sums, at the end of a transaction."""
        self.store.rows("write-books", encode_books(self.books))

    def write_run(self) -> None:
        """Write the number of the run and what goes with it."""
        self.store.rows("update-job", self.run.number, self.run.past, self.run.tidied)
