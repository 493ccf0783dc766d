"""Whether a ledger is damaged somewhere, found out while its volume is in use, a piece at a time."""

import errno
from typing import Final

from bucketpull.volumes.ledger import Damage, Ledger

# A look: a ledger of 4 GB is read in some ten minutes, at a small part of a disk's speed
_PIECE_BYTES: Final = 4 << 20


class LedgerCheck:
    """Reads what a ledger had when it was opened, once, against its checksums: what is appended since was just written."""

    def __init__(self, ledger: Ledger, path: str) -> None:
        self._ledger = ledger
        self._path = path
        self._at, self._end = 0, ledger.end
        self._trouble = ""

    def look(self) -> None:
        """Read the next piece, if there is one.

        Raises:
            OSError: The ledger is closed, or the machine is short of something.

        """
        if self._at >= self._end:
            return
        stop = min(self._at + _PIECE_BYTES, self._end)
        try:
            for entry in self._ledger.salvage(self._at):
                if isinstance(entry, Damage):
                    self._found(f"has a ledger that is damaged from byte {entry.offset} to {entry.end}")
                self._at = entry.end
                if self._at >= stop:
                    return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._found(f"has a ledger that cannot be read from byte {self._at} on ({error.strerror})")
            self._at = self._end

    def met(self, offset: int) -> None:
        """Note an entry that was asked for and is not whole."""
        self._found(f"has a ledger that is damaged at byte {offset}")

    def warning(self) -> str:
        """Say where the ledger is damaged; "" where nothing was found."""
        return self._trouble and f"{self._trouble}; `bucketpull verify {self._path} --repair` heals it"

    def _found(self, trouble: str) -> None:
        self._trouble = self._trouble or trouble
