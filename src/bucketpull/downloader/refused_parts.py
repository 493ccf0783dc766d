"""What an endpoint refuses, object for object, though it gives others: a folder, all below a top folder, a suffix.

The smallest part that explains the refusals is believed. Its objects are asked of the next endpoint at once; one of them is tried
here now and then, and when it comes the part is forgotten. Times are monotonic seconds.
"""

from collections import OrderedDict
from typing import Final

REFUSED: Final = 16  # objects in a row, in a folder; fewer than what an endpoint is suspected for
SEVERAL: Final = 3  # folders, before more than a folder is believed to be refused
FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 300.0
MOST_PARTS: Final = 4096


class _Part:
    """One folder, top folder or suffix: refusals in a row, the folders they were in, when it is to be tried again."""

    __slots__ = ("due", "folders", "refusals", "wait")

    def __init__(self) -> None:
        self.refusals = 0
        self.folders: set[bytes] = set()
        self.wait = FIRST_SECONDS
        self.due = 0.0


class RefusedParts:
    """Those of one endpoint in one process; `known` is empty as long as nothing was refused."""

    def __init__(self) -> None:
        self.known: OrderedDict[tuple[str, bytes], _Part] = OrderedDict()

    def refused(self, directory: bytes, name: bytes, now: float) -> bool:
        """Note that an object was refused; tell whether that was to be expected of its part."""
        expected = False
        for key in _parts_of(directory, name):
            part = self.known.setdefault(key, _Part())
            part.refusals += 1
            if len(part.folders) < SEVERAL:
                part.folders.add(directory)
            if part.refusals == REFUSED:
                part.due = now + part.wait
            expected = expected or _is_believed(key, part)
        while len(self.known) > MOST_PARTS:
            self.known.popitem(last=False)
        return expected

    def gave(self, directory: bytes, name: bytes) -> None:
        """Note that an object came: no part that it belongs to is refused."""
        for key in _parts_of(directory, name):
            self.known.pop(key, None)

    def refuses(self, directory: bytes, name: bytes, now: float) -> bool:
        """Tell whether an object had better be asked for elsewhere; False now and then, so that somebody tries."""
        for key in _parts_of(directory, name):
            part = self.known.get(key)
            if part is not None and _is_believed(key, part):
                if now < part.due:
                    return True
                part.wait = min(2 * part.wait, LONGEST_SECONDS)
                part.due = now + part.wait
                return False
        return False


def _is_believed(key: tuple[str, bytes], part: _Part) -> bool:
    return part.refusals >= REFUSED and (key[0] == "folder" or len(part.folders) >= SEVERAL)


def _parts_of(directory: bytes, name: bytes) -> list[tuple[str, bytes]]:
    """Return what an object belongs to, the smallest first."""
    suffix = name.rpartition(b".")[2].lower() if b"." in name else b""
    return [("folder", directory), ("top", directory.partition(b"/")[0]), ("suffix", suffix)]
