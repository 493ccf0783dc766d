"""Changes to a bucket while it is served: objects replaced, added, deleted, over contents that are only computed."""

from bisect import bisect_left, bisect_right, insort
from collections import Counter

from upyun_simulator.contents import FOLDER, OLDEST, Contents, Entry, Folder, Item, mime_type


class Overlay(Contents):
    """Contents that can be changed; what was not changed comes from `base`.

    `revision` grows with each change, so that what was rendered before can be told from what is true now.
    """

    def __init__(self, base: Contents) -> None:
        self._base = base
        self._changed: dict[str, Item | None] = {}
        self._gone: set[str] = set()
        self._added: dict[tuple[str, bool], list[str]] = {}
        self._touched: Counter[str] = Counter()
        self._bytes = 0
        self.revision = 0

    def folder(self, path: str) -> Folder | None:
        """See `Contents.folder`."""
        if self._is_gone(path):
            return None
        base = self._base.folder(path)
        if not self._touched[path]:
            return base
        return _ChangedFolder(self, path, base)

    def item(self, key: str) -> Item | None:
        """See `Contents.item`."""
        if key in self._changed:
            return self._changed[key]
        if self._is_gone(key):
            return None
        return self._base.item(key)

    def row(self, path: str, entry: Entry) -> Item | None:
        """See `Contents.row`."""
        return self.item(path + entry.name) if self._touched[path] else self._base.row(path, entry)

    def usage(self) -> int:
        """See `Contents.usage`."""
        return self._base.usage() + self._bytes

    def put(self, key: str, size: int | None = None) -> Item:
        """Add an object, or replace one by a new version: other bytes, a later time (an hour), a new size if given.

        ValueError for a key in a folder that was deleted: what the base holds there can't come back.
        """
        if self._is_gone(key):
            msg = f"the folder of {key!r} was deleted: put the object elsewhere"
            raise ValueError(msg)
        old = self.item(key)
        if old is None:
            item = Item(key, size or 0, OLDEST, mime_type(key))
        else:
            size = old.size if size is None else size
            item = old._replace(size=size, mtime=old.mtime + 3600, version=old.version + 1)
        self._record(key, item, old)
        return item

    def _is_gone(self, path: str) -> bool:
        return any(map(path.startswith, self._gone))

    def delete(self, key: str) -> bool:
        """Delete one object, or with a trailing slash a folder with all in it; false where there is none."""
        if key.endswith("/") and self.item(key) is None:
            return self._delete_folder(key)
        old = self.item(key)
        if old is not None:
            self._record(key, None, old)
        return old is not None

    def _delete_folder(self, path: str) -> bool:
        if self.folder(path) is None:
            return False
        self._bytes -= sum(item.size for item in self.walk(path))
        self._gone.add(path)
        self._changed = {key: item for key, item in self._changed.items() if not key.startswith(path)}
        self._touched[_parent(path)[0]] += 1
        self.revision += 1
        return True

    def _record(self, key: str, item: Item | None, old: Item | None) -> None:
        self._changed[key] = item
        self._bytes += (item.size if item else 0) - (old.size if old else 0)
        self.revision += 1
        path, name = _parent(key)
        self._touched[path] += 1
        if item is not None and self._base.item(key) is None:
            self._add_name(path, name, folders=False)
            self._add_parents(path)

    def _add_parents(self, path: str) -> None:
        """Make the folders above an object exist, as the service does on upload."""
        while path and self._base.folder(path) is None:
            self._touched[path] += 1
            path, name = _parent(path)
            self._touched[path] += 1
            self._add_name(path, name, folders=True)

    def _add_name(self, path: str, name: str, *, folders: bool) -> None:
        names = self._added.setdefault((path, folders), [])
        at = bisect_left(names, name)
        if names[at : at + 1] != [name]:
            insort(names, name)

    def current(self, path: str, entry: Entry) -> Entry | None:
        """Return what an entry of the base has become, None where it was deleted."""
        if entry.type == FOLDER:
            return None if f"{path}{entry.name}/" in self._gone else entry
        if path + entry.name not in self._changed:
            return entry
        item = self._changed[path + entry.name]
        return item and Entry(entry.name, item.type, item.size, item.mtime)

    def added(self, path: str, after: str | None, limit: int, *, folders: bool, desc: bool) -> list[Entry]:
        """Return up to `limit` entries that the base does not have, behind `after`, in order."""
        names = self._added.get((path, folders), [])
        if desc:
            ahead = names[: len(names) if after is None else bisect_left(names, after)][::-1]
        else:
            ahead = names[0 if after is None else bisect_right(names, after) :]
        found: list[Entry] = []
        for name in ahead:
            entry = self._added_entry(path, name, folders=folders)
            if entry is not None:
                found.append(entry)
            if len(found) == limit:
                break
        return found

    def _added_entry(self, path: str, name: str, *, folders: bool) -> Entry | None:
        if folders:
            return None if f"{path}{name}/" in self._gone else Entry(name, FOLDER, 0, OLDEST)
        item = self._changed.get(path + name)
        return item and Entry(name, item.type, item.size, item.mtime)


class _ChangedFolder(Folder):
    def __init__(self, overlay: Overlay, path: str, base: Folder | None) -> None:
        self._overlay, self._path, self._base = overlay, path, base

    def scan(self, *, folders: bool, after: str | None, limit: int, desc: bool = False) -> list[Entry]:
        rows = self._kept(after, limit, folders=folders, desc=desc)
        rows += self._overlay.added(self._path, after, limit, folders=folders, desc=desc)
        rows.sort(key=lambda entry: entry.name, reverse=desc)
        return rows[:limit]

    def _kept(self, after: str | None, limit: int, *, folders: bool, desc: bool) -> list[Entry]:
        kept: list[Entry] = []
        while self._base is not None and len(kept) < limit:
            rows = self._base.scan(folders=folders, after=after, limit=limit, desc=desc)
            if not rows:
                break
            after = rows[-1].name
            kept += filter(None, (self._overlay.current(self._path, row) for row in rows))
        return kept


def _parent(path: str) -> tuple[str, str]:
    """Split a key or a folder path into the folder above and the last name."""
    parent, slash, name = path.removesuffix("/").rpartition("/")
    return parent + slash, name
