"""Whether the outstanding work of a journal can ever be done: a job waits for it, so what nobody can do would keep it for ever."""

from bucketpull.domain.model import Outstanding
from bucketpull.journal.books import Books
from bucketpull.journal.store import Store, damaged


def check_outstanding(store: Store, books: Books) -> None:
    """Hold the rows of work against what a row may be, and against the sums.

    Raises:
        JournalDamaged: One is such that no machine is ever given it, or the sums are of others.

    """
    with store.reading():
        impossible = store.rows("impossible-work")
        *sums, usual, last, again = map(int, store.rows("sums-of-work")[0])
    if impossible:
        raise damaged(store.folder, f"work {impossible[0][0]} is such that nobody can do it")
    if Outstanding(*sums) != books.outstanding or [usual, last, again] != books.tiers:
        raise damaged(store.folder, "its sums are not those of its outstanding work")
