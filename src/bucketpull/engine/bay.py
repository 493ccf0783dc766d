"""One volume as a process sees it: its writer, the assignments that wait for it, and what is wrong with it."""

from collections import deque

from bucketpull.domain.errors import Reason, VolumeError, VolumeFull
from bucketpull.domain.record import Mount
from bucketpull.engine.sheet import Leaf, Sheet
from bucketpull.ports import Writer

# A full disk may have been made room on; before that much time, an assignment sent before the agent knew is not tried.
FULL_SECONDS = 5.0


def trouble_of(error: VolumeError) -> Reason:
    """Return the reason that a volume's error stands for."""
    return Reason.VOLUME_FULL if isinstance(error, VolumeFull) else Reason.VOLUME_SICK


class Bay:
    """A volume's place in a process. `queued` are bytes handed to the writer and not written, `written` those it wrote.

    `writer` is None where the volume could not be opened; then `trouble` says why.
    """

    def __init__(self, mount: Mount, writer: Writer | None, trouble: Reason | None, detail: str) -> None:
        self.mount = mount
        self.writer = writer
        self.trouble = trouble
        self.detail = detail
        self.hashes = mount.verify == "md5"
        self.compares = mount.verify != "none"
        self.sheets: deque[Sheet] = deque()
        self.queued = 0
        self.written = 0
        self._troubled_at = 0.0

    def add(self, sheet: Sheet, now: float) -> None:
        """Put an assignment in line. A volume that was full is tried again."""
        if self.trouble is Reason.VOLUME_FULL and now - self._troubled_at > FULL_SECONDS:
            self.trouble = None
        self.sheets.append(sheet)

    def take(self) -> tuple[Sheet, Leaf, int] | None:
        """Return the next object in order, or None."""
        while self.sheets:
            sheet = self.sheets[0]
            found = sheet.take()
            if found is not None:
                return sheet, *found
            self.sheets.popleft()
        return None

    def stop(self, trouble: Reason, detail: str, now: float) -> list[Sheet]:
        """Note that the volume takes nothing; return the assignments whose untaken objects are displaced by that."""
        self.trouble = trouble
        self.detail = detail
        self._troubled_at = now
        stopped = list(self.sheets)
        for sheet in stopped:
            sheet.displace_untaken(trouble, detail)
        self.sheets.clear()
        return stopped

    def unstarted(self) -> int:
        """Return how many objects wait here."""
        return sum(sheet.unstarted for sheet in self.sheets)
