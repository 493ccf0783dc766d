"""The directories directly below one, by name: a walk over the index that skips what lies deeper."""

from bucketpull.domain.progress import DirectoryState
from bucketpull.journal.tables import Tables


def directories_below(tables: Tables, parent: bytes, limit: int) -> list[DirectoryState]:
    """Return at most so many children, in order; a directory that nothing was listed of yet is not known."""
    prefix = parent + b"/" if parent else b""
    found: list[DirectoryState] = []
    at = prefix
    while len(found) < limit:
        row = tables.store.rows("next-directory", at)
        if not row or not row[0][0].startswith(prefix):
            break
        child = prefix + row[0][0][len(prefix) :].partition(b"/")[0]
        found.append(_books_of(tables, child))
        at = child + b"0"  # the byte after the slash: past everything below the child
    return found


def _books_of(tables: Tables, directory: bytes) -> DirectoryState:
    sums = tables.store.rows("directory-sums", directory, tables.run.number)[0]
    listed, size, stored, skipped, vanished, pages = sums
    failed, unlisted = tables.store.rows("directory-failures", directory)[0]
    outstanding = max(0, listed - stored - skipped - vanished - failed)
    if unlisted:
        state = "failed"
    elif not pages:
        state = "waiting"
    else:
        state = "transferring" if outstanding else "done"
    return DirectoryState(directory, state, listed, size, outstanding, failed)
