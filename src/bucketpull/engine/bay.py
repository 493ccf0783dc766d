"""The volumes as a process sees them: each one's writer, the assignments that wait for it, and what is wrong with it."""

from collections import deque
from collections.abc import Callable

from bucketpull.domain.errors import Reason, VolumeError, VolumeFull
from bucketpull.domain.model import show
from bucketpull.domain.record import Assignment, Mount, Outcome
from bucketpull.engine.sheet import Item, Sheet
from bucketpull.ports import Writer

# A full disk may have been made room on; before that much time, an assignment sent before the agent knew is not tried.
FULL_SECONDS = 2.0


def trouble_of(error: VolumeError) -> Reason:
    """Return the reason that a volume's error stands for."""
    return Reason.VOLUME_FULL if isinstance(error, VolumeFull) else Reason.VOLUME_SICK


class Bay:
    """One volume. `written` are the bytes that its writer wrote; `states_md5` tells whether the last answer stated one.

    `writer` is None where the volume could not be opened; then `trouble` says why.
    """

    def __init__(self, mount: Mount, writer: Writer | None) -> None:
        self.writer = writer
        self.trouble: Reason | None = None
        self.detail = ""
        self.hashes = mount.verify == "md5"
        self.compares = mount.verify != "none"
        self.states_md5 = False
        self.sheets: deque[Sheet] = deque()
        self.written = 0
        self._troubled_at = 0.0

    def troubled(self, trouble: Reason, detail: str, now: float) -> None:
        """Note that the volume takes nothing."""
        self.trouble = trouble
        self.detail = detail
        self._troubled_at = now

    def revive(self, now: float) -> None:
        """Try a volume again that was full a while ago."""
        if self.trouble is Reason.VOLUME_FULL and now - self._troubled_at > FULL_SECONDS:
            self.trouble = None

    @property
    def queued(self) -> int:
        """Bytes handed to the writer and not written."""
        return 0 if self.writer is None else self.writer.queued_bytes


class Yard:
    """All volumes of a process and all its assignments.

    Args:
        mount: Opens a volume's writer; raises `VolumeError`.
        outcome: Called with each assignment's outcome, once.

    """

    def __init__(self, mount: Callable[[Mount], Writer], outcome: Callable[[Outcome], None]) -> None:
        self.bays: dict[str, Bay] = {}
        self._mount = mount
        self._outcome = outcome
        self._turns: deque[Bay] = deque()
        self._sheets: set[Sheet] = set()

    def mount(self, mount: Mount, now: float) -> Bay | None:
        """Open a volume; return it if it was opened. One that is known is opened anew only if it was sick."""
        known = self.bays.get(mount.id)
        if known is not None and known.trouble is not Reason.VOLUME_SICK:
            return None
        try:
            bay = Bay(mount, self._mount(mount))
        except VolumeError as error:
            bay = Bay(mount, None)
            bay.troubled(trouble_of(error), error.detail, now)
        if known is not None:
            self._turns.remove(known)
            bay.written = known.written
        self.bays[mount.id] = bay
        self._turns.append(bay)
        return None if bay.writer is None else bay

    def assign(self, assignment: Assignment, now: float, stopping: bool) -> None:
        """Take an assignment; where it cannot be done, it ends at once."""
        sheet = Sheet(assignment)
        self._sheets.add(sheet)
        bay = self.bays.get(assignment.volume)
        if bay is not None:
            bay.revive(now)
        if stopping:
            sheet.displace_untaken(Reason.INTERRUPTED, "")
        elif bay is None:
            sheet.displace_untaken(Reason.VOLUME_SICK, "the volume was not made known to the process")
        elif bay.trouble is not None:
            sheet.displace_untaken(bay.trouble, bay.detail)
        else:
            bay.sheets.append(sheet)
        self.settle(sheet)

    def take(self, count: int, most_queued: int) -> tuple[Bay, Sheet, list[Item]] | None:
        """Return the next objects, at most so many; volumes take turns, without those with more bytes queued than that."""
        turns = self._turns
        for _ in range(len(turns)):
            bay = turns[0]
            turns.rotate(-1)
            sheets = bay.sheets
            while sheets and bay.queued <= most_queued:
                found = sheets[0].take(count)
                if found:
                    return bay, sheets[0], found
                sheets.popleft()
        return None

    def settle(self, sheet: Sheet) -> None:
        """Tell the outcome of an assignment if all its objects have ended."""
        if not sheet.left and sheet in self._sheets:
            self._sheets.remove(sheet)
            self._outcome(sheet.outcome())

    def troubled(self, bay: Bay, trouble: Reason, detail: str, now: float) -> None:
        """Note that a volume takes nothing: what was not begun for it goes back."""
        if bay.trouble is None:
            bay.troubled(trouble, detail, now)
            self._clear(bay, trouble, detail)

    def stop(self) -> None:
        """Hand back what was not begun."""
        for bay in self._turns:
            self._clear(bay, Reason.INTERRUPTED, "")

    def sweep(self) -> None:
        """Hand back whatever has not ended."""
        for sheet in list(self._sheets):
            sheet.displace_open(Reason.INTERRUPTED, "")
            self.settle(sheet)

    def _clear(self, bay: Bay, trouble: Reason, detail: str) -> None:
        sheets = list(bay.sheets)
        bay.sheets.clear()
        for sheet in sheets:
            sheet.displace_untaken(trouble, detail)
            self.settle(sheet)

    @property
    def idle(self) -> bool:
        """Whether no assignment is in hand."""
        return not self._sheets

    def unstarted(self) -> int:
        """Return how many objects were not begun."""
        return sum(sheet.unstarted for bay in self._turns for sheet in bay.sheets)

    def open_objects(self) -> int:
        """Return how many objects have not ended."""
        return sum(sheet.left for sheet in self._sheets)

    def waited_for(self) -> str:
        """Name an object that an assignment waits for, "" if none is in hand; for the line about a slow end."""
        for sheet in self._sheets:
            key = sheet.first_open()
            if key is not None:
                return show(key)
        return ""
