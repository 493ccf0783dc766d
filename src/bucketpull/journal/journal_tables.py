"""Everything that is behind one open journal, read from its file as one."""

from collections.abc import Callable
from typing import Self

import msgspec

from bucketpull.domain.errors import Reason
from bucketpull.domain.order import Order
from bucketpull.journal.failures import Failures
from bucketpull.journal.frontier import Frontier
from bucketpull.journal.listed_pages import Pages
from bucketpull.journal.stale_copies import StaleCopies
from bucketpull.journal.store import Store
from bucketpull.journal.sums import Books, decode_books, encode_books
from bucketpull.journal.volume_numbers import Volumes

NextTry = Callable[[int], float | None]
NextPageTry = Callable[[Reason, int], float | None]


class Run(msgspec.Struct):
    """The number of the present run (0 before the first), and whether pages may be known from before it.

    `tidied` is the last run after which what it had not seen was forgotten.
    """

    number: int
    past: bool
    tidied: int


class Tables(msgspec.Struct):
    """The tables of a journal, the sums that are kept in memory with them, and the retry policies."""

    store: Store
    journal: str
    job: str
    run: Run
    books: Books
    volumes: Volumes
    frontier: Frontier
    pages: Pages
    failures: Failures
    copies: StaleCopies
    next_try: NextTry
    next_page_try: NextPageTry

    @classmethod
    def load(cls, store: Store, next_try: NextTry, next_page_try: NextPageTry, order: Order) -> Self:
        """Read the sums, and hand each table what it needs."""
        with store.reading():
            journal, job, number, past, tidied = store.only_row("job")
            run = Run(number, bool(past), tidied)
            books = decode_books(store.only_row("books")[0])
            volumes = Volumes(store)
        frontier = Frontier(store, books, volumes, order)
        tables = Pages(store), Failures(store, books), StaleCopies(store, volumes)
        return cls(store, journal, job, run, books, volumes, frontier, *tables, next_try, next_page_try)

    def write(self) -> None:
        """Write the sums, at the end of a transaction."""
        self.store.rows("write-books", encode_books(self.books))

    def write_run(self) -> None:
        """Write the number of the run and what goes with it."""
        self.store.rows("update-job", self.run.number, self.run.past, self.run.tidied)
