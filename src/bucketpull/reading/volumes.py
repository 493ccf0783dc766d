"""The volumes of a server: those that are here, and those that went and may come back."""

import os
import threading
from collections.abc import Sequence
from typing import Final

from bucketpull.domain.errors import VolumeError
from bucketpull.reading.volume import Found, ReadableVolume
from bucketpull.volumes.key_index import Read

LOOK_SECONDS: Final = 2.0


class Away(Exception):
    """An object was not found, and a volume that may have it is not here."""


class Volumes:
    """Finds objects on all volumes that answer. `look` is to be called now and again, in a thread."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = list(paths)
        self._open: dict[str, ReadableVolume] = {}
        self.troubles: dict[str, str] = {}
        self._lock = threading.Lock()
        self.look()

    def find(self, key: bytes, read: Read = os.pread) -> Found | None:
        """Find an object; of several copies the newest counts.

        Raises:
            BlockingIOError: `read` waits for no disk, and one would have to be waited for.
            Away: It is not on the volumes that are here, and one is away, or does not give it.

        """
        hits, is_whole = [], not self.troubles
        for path, volume in list(self._open.items()):
            try:
                found = volume.find(key, read)
            except BlockingIOError:
                raise
            except (OSError, VolumeError) as error:
                self.troubles.setdefault(path, str(error))
                is_whole = False
            else:
                if found is not None:
                    hits.append(found)
        if hits:
            return hits[0] if len(hits) == 1 else max(hits, key=lambda found: found.mtime)
        if is_whole:
            return None
        raise Away

    def look(self) -> None:
        """Open what is here again, let go of what went, take notice of what was stored."""
        with self._lock:
            for path in self.paths:
                try:
                    self._look_at(path)
                except (OSError, VolumeError) as error:
                    self.troubles[path] = str(error)
                    self._open.pop(path, None)
                else:
                    self.troubles.pop(path, None)

    def _look_at(self, path: str) -> None:
        volume = self._open.get(path)
        if volume is None:
            self._open[path] = ReadableVolume(path)
        else:
            volume.check()
            volume.refresh()

    def close(self) -> None:
        """Let go of all."""
        for volume in self._open.values():
            volume.close()
        self._open.clear()
