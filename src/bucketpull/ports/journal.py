"""What the coordinator needs of the books of a job."""

from collections.abc import Collection, Sequence
from typing import Protocol

from bucketpull.domain.budget import ANY_ROOM, BudgetLeft, Spending
from bucketpull.domain.messages import FromWorker, Work
from bucketpull.domain.model import Counters, Extent, Former, Outstanding, Position, SentWork, Span, WorkKind
from bucketpull.domain.status import VolumeStatus


class Journal(Protocol):
    """The books of one job on disk, with one writer. Each call is one transaction and durable when it returns.

    A call is made by one thread at a time; reading by other processes (`status`, `where`) is always possible.
    """

    def begin(self, root: Position, now: float, selection: str | None = None) -> bool:
        """Go on with outstanding work (True), or start a new run with the root as its first scan (False).

        `selection` stands for what is wanted of the source. Outstanding work of a run that wanted something else is abandoned: the new
        run finds what is missing. None goes on with any.
        """

    def claim(
        self,
        kind: WorkKind,
        limit: int,
        machine: str,
        now: float,
        late: int | None = None,
        room: BudgetLeft = ANY_ROOM,
        takers: Collection[str] = (),
        *,
        in_order: bool = False,
    ) -> list[Work]:
        """Take work that is due, oldest first, and mark it sent to a machine.

        At most `late` of it was deferred before, while there is other work; None is any number. Of batches no more
        objects are taken than there is `room` for, one of them cut if need be; `in_order`, none before the objects of a prefix that
        goes first and is still being listed.
        Work with candidates goes only to the machine that has their volumes, or to any machine if that is not known, or if that one
        has been none of those that claim work, or of the `takers` which would take some, for five minutes.
        """

    def spending(self) -> Spending:
        """Return what the job has used in all its runs."""

    def note_spending(self, spent: Spending) -> None:
        """Note what the job has used in all its runs."""

    def reclaim(self, works: Sequence[int], machine: str) -> list[Work]:
        """Take those of some batches that are with nobody, and mark them sent to the machine that had begun them."""

    def commit(self, receipts: Sequence[FromWorker], now: float) -> list[int]:
        """Book receipts and handbacks, their new work and the counters, in one transaction.

        With the last receipt of a batch its machine has it no more, be it dropped: what is left of the batch elsewhere is ready.

        Returns:
            The ids of receipts that were dropped, because their work was booked before.

        """

    def sent(self) -> list[SentWork]:
        """Return the work that was claimed and not booked."""

    def release(self, works: Sequence[int]) -> None:
        """Make sent work ready again."""

    def holders(self, works: Sequence[int]) -> dict[int, str]:
        """Return which of these are outstanding, and the machine that each was sent to ("" where it is with none)."""

    def note_poison(self, details: Sequence[str]) -> None:
        """Record messages that nobody understands as failures, by their description; the same one counts once."""

    def see_volumes(self, volumes: Sequence[VolumeStatus]) -> None:
        """Note where volumes are and how: work with candidates goes to the machine that has them."""

    def doubt_restored(self, volumes: Sequence[VolumeStatus]) -> list[str]:
        """Count no more on what volumes lack that were restored from older copies: their ledgers end before a block that was booked.

        Return these volumes, by id. The pages of the blocks that they lack are compared when they are listed, and listed again if they were in this run.
        """

    def doubt_all(self) -> int:
        """Have the next run compare every page with what lies on volumes; return how many objects this run may have counted twice.

        Those are the objects of pages whose names overlap with others' of their directory: a bucket that changes while it is
        listed, and not in the order of names, may name an object on two of them.
        """

    def counted_on(self) -> dict[str, str]:
        """Return the volumes, those given up left out, with the path at which each was seen last ("" if no machine told of it)."""

    def machines(self) -> set[str]:
        """Return the machines that have volumes of the job, those given up left out."""

    def former(self, volumes: Sequence[str], limit: int) -> list[Former]:
        """Return some copies on volumes that count no more, at most so many a volume: they are to be removed there."""

    def noted_former(self) -> int:
        """Return how many copies were noted since the journal was opened: it changes when there are more."""

    def forget_former(self, ids: Sequence[int]) -> None:
        """Forget copies that were removed."""

    def counters(self) -> Counters:
        """Return the books of the present run."""

    def outstanding(self) -> Outstanding:
        """Return what is left to do."""

    def check_room(self) -> None:
        """Make sure that the journal can go on growing. Raises JournalError where its own disk is nearly full."""

    def holding(self, spans: Sequence[Span]) -> set[Extent] | None:
        """Return all ledger blocks that may hold objects of some pieces of pages; None where no run listed one of the pages."""

    def keep(self, block: Extent, spans: Sequence[Span]) -> None:
        """Note that a ledger block of a known volume holds objects of pieces of pages, some of which the journal does not know.

        Should they be listed again they are found there; what stands in the place of these pages is compared with it in the next run.
        """

    def where(self, directory: bytes, name: bytes) -> list[Extent]:
        """Return the ledger blocks in which an object may lie, newest first."""

    def close(self) -> None:
        """Close the journal."""
