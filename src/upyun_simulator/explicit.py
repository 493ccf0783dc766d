"""Buckets written out: a manifest of keys, and formula buckets mounted on folders of it."""

import json
import tomllib
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from zlib import crc32

import msgspec

from upyun_simulator.content import parse_bytes
from upyun_simulator.contents import FOLDER, OLDEST, Contents, Entry, Folder, Item, mime_type, span


class ExplicitFolder(Folder):
    """A directory held in memory."""

    def __init__(self) -> None:
        self._names: dict[bool, list[str]] = {False: [], True: []}
        self._entries: dict[bool, dict[str, Entry]] = {False: {}, True: {}}

    def add(self, entry: Entry) -> None:
        """Add or replace one entry."""
        folders = entry.type == FOLDER
        if entry.name not in self._entries[folders]:
            insort(self._names[folders], entry.name)
        self._entries[folders][entry.name] = entry

    def scan(self, *, folders: bool, after: str | None, limit: int, desc: bool = False) -> list[Entry]:
        """See `Folder.scan`."""
        names, entries = self._names[folders], self._entries[folders]
        start, stop = span(names, after, limit, desc=desc)
        rows = [entries[name] for name in names[start:stop]]
        return rows[::-1] if desc else rows


class Explicit(Contents):
    """A bucket of the objects given, of empty folders, and of other contents mounted on folders (`photos/`)."""

    def __init__(
        self, items: Iterable[Item], folders: Iterable[str] = (), mounts: Mapping[str, Contents] | None = None
    ) -> None:
        self._items: dict[str, Item] = {}
        self._folders: dict[str, ExplicitFolder] = {"": ExplicitFolder()}
        self._mounts = dict(mounts or {})
        for path in [*folders, *self._mounts]:
            self._make_folder(path)
        for item in items:
            self._items[item.key] = item
            parent, slash, name = item.key.rpartition("/")
            self._make_folder(parent + slash).add(Entry(name, item.type, item.size, item.mtime))

    def _make_folder(self, path: str) -> ExplicitFolder:
        missing = []
        while path not in self._folders:
            self._folders[path] = ExplicitFolder()
            missing.append(path)
            parent, slash, _ = path[:-1].rpartition("/")
            path = parent + slash
        for made in missing:
            parent, slash, name = made[:-1].rpartition("/")
            self._folders[parent + slash].add(Entry(name, FOLDER, 0, OLDEST))
        return self._folders[missing[0] if missing else path]

    def _mounted(self, key: str) -> tuple[str, Contents] | None:
        return next(((at, what) for at, what in self._mounts.items() if key.startswith(at)), None)

    def folder(self, path: str) -> Folder | None:
        """See `Contents.folder`."""
        mounted = self._mounted(path)
        return mounted[1].folder(path[len(mounted[0]) :]) if mounted else self._folders.get(path)

    def item(self, key: str) -> Item | None:
        """See `Contents.item`."""
        mounted = self._mounted(key)
        if not mounted:
            return self._items.get(key)
        item = mounted[1].item(key[len(mounted[0]) :])
        return item and item._replace(key=key)

    def row(self, path: str, entry: Entry) -> Item | None:
        """See `Contents.row`."""
        mounted = self._mounted(path)
        item = (
            mounted[1].row(path[len(mounted[0]) :], entry) if mounted else self._items.get(path + entry.name)
        )
        return item and item._replace(key=path + entry.name)

    def usage(self) -> int:
        """See `Contents.usage`."""
        return sum(item.size for item in self._items.values()) + sum(m.usage() for m in self._mounts.values())


def plain_item(key: str, size: int) -> Item:
    """Return an object with the defaults: type by extension, time by a hash of the key."""
    return Item(key, size, OLDEST + crc32(key.encode("utf-8", "surrogatepass")) % 300_000_000, mime_type(key))


class _Object(msgspec.Struct, forbid_unknown_fields=True):
    size: int | str = 0
    mtime: int | None = None
    type: str | None = None
    secret: str = ""
    version: int = 0
    meta: dict[str, str] = {}


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    objects: dict[str, int | str | _Object] = {}
    folders: list[str] = []
    mounts: dict[str, str] = {}


def read_manifest(path: Path, parse_spec: Callable[[str], Contents]) -> Explicit:
    """Read a JSON or TOML manifest.

    `objects` maps each key to a size (`4096`, `"20KiB"`) or to a table of `size`, `mtime`, `type`, `secret`, `version` and `meta`;
    `folders` lists folders to exist even if empty; `mounts` maps folders to specs such as `flat:1000`.
    """
    text = path.read_text(encoding="utf-8")
    try:
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        manifest = msgspec.convert(data, _Manifest)
    except ValueError as error:
        msg = f"manifest {path} is not understood: {error}"
        raise ValueError(msg) from None
    items = [_manifest_item(key, value) for key, value in manifest.objects.items()]
    mounts = {_slashed(at): parse_spec(spec) for at, spec in manifest.mounts.items()}
    return Explicit(items, map(_slashed, manifest.folders), mounts)


def _manifest_item(key: str, value: int | str | _Object) -> Item:
    stated = value if isinstance(value, _Object) else _Object(size=value)
    size = stated.size if isinstance(stated.size, int) else parse_bytes(stated.size)
    plain = plain_item(key, size)
    return plain._replace(
        mtime=plain.mtime if stated.mtime is None else stated.mtime,
        type=stated.type or plain.type,
        version=stated.version,
        secret=stated.secret,
        meta=tuple(sorted(stated.meta.items())),
    )


def _slashed(path: str) -> str:
    return path if path.endswith("/") or not path else path + "/"
