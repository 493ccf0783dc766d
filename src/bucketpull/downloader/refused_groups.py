"""What an endpoint refuses or fails on, object for object, though it gives others: a suffix in a folder or in all, a folder, all below a top folder.

The smallest group that explains the refusals is believed; a failure that is its object's own counts as one. Its objects are asked of the next endpoint at once; one of them is tried
here now and then, and when it comes the group is forgotten. Times are monotonic seconds.
"""

from collections import OrderedDict
from typing import Final

from bucketpull.domain.retry import HARDLY

REFUSED: Final = 16  # objects in a row, in a folder; fewer than what an endpoint is suspected for
SEVERAL: Final = 3  # folders, before more than is in one of them is believed to be refused
FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 300.0
MOST_GROUPS: Final = 4096
_OF_ONE_FOLDER: Final = frozenset({"kind", "folder"})


class _Group:
    """One folder, top folder, suffix, or suffix in a folder: refusals in a row, the folders they were in, when it is to be tried again.

    `given` and `throttled` are what the endpoint had given, and refused as too much, before the first of them.
    """

    def __init__(self, given: int, throttled: int) -> None:
        self.given = given
        self.throttled = throttled
        self.is_believed = False
        self.refusals = 0
        self.folders: set[bytes] = set()
        self.wait = FIRST_SECONDS
        self.due = 0.0

    def is_chance(self, given: int, throttled: int) -> bool:
        """Tell whether so many in a row are refused by chance, as the endpoint refuses as too much what belongs to no group."""
        given, throttled = given - self.given, throttled - self.throttled
        return throttled > 0 and (throttled / (throttled + given)) ** self.refusals >= HARDLY


class RefusedGroups:
    """Those of one endpoint in one process; `known` is empty as long as nothing was refused."""

    def __init__(self) -> None:
        self.known: OrderedDict[tuple[str, bytes], _Group] = OrderedDict()
        self.believed = 0
        """How many were found to be refused by now."""

    def refused(self, directory: bytes, name: bytes, now: float, given: int = 0, throttled: int = 0) -> bool:
        """Note that an object was refused; tell whether that was to be expected of its group.

        `given` and `throttled` are all objects that the endpoint gave by now, and all that it refused as too much.
        """
        expected = False
        for key in _groups_of(directory, name):
            group = self.known.get(key)
            if group is None:
                group = self.known[key] = _Group(given, throttled)
            group.refusals += 1
            if len(group.folders) < SEVERAL:
                group.folders.add(directory)
            is_many = group.refusals >= REFUSED and (
                key[0] in _OF_ONE_FOLDER or len(group.folders) >= SEVERAL
            )
            if is_many and not group.is_believed and not group.is_chance(given, throttled):
                group.is_believed, group.due = True, now + group.wait
                self.believed += 1
            expected = expected or group.is_believed
        while len(self.known) > MOST_GROUPS:
            self.known.popitem(last=False)
        return expected

    def gave(self, directory: bytes, name: bytes) -> None:
        """Note that an object came: no group that it belongs to is refused."""
        for key in _groups_of(directory, name):
            self.known.pop(key, None)

    def refuses(self, directory: bytes, name: bytes, now: float) -> bool:
        """Tell whether an object had better be asked for elsewhere; False now and then, so that somebody tries."""
        for key in _groups_of(directory, name):
            group = self.known.get(key)
            if group is not None and group.is_believed:
                if now < group.due:
                    return True
                group.wait = min(2 * group.wait, LONGEST_SECONDS)
                group.due = now + group.wait
                return False
        return False


def _groups_of(directory: bytes, name: bytes) -> list[tuple[str, bytes]]:
    """Return what an object belongs to, the smallest first."""
    suffix = name.rpartition(b".")[2].lower() if b"." in name else b""
    kind = directory + b"/" + suffix
    return [("kind", kind), ("folder", directory), ("top", directory.partition(b"/")[0]), ("suffix", suffix)]
