"""The buckets that can be served: by formula (one flat directory, a tree), written out in a manifest, and two samples.

The samples are one that looks like a real site's, and one with every name that breaks naive clients. Formula buckets may be mounted on
folders of a manifest.
"""

import json
import tomllib
from abc import abstractmethod
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from upyun_simulator.contents import (
    FOLDER,
    OLDEST,
    Contents,
    Entry,
    Folder,
    FormulaFolder,
    Item,
    Numbered,
    mime_type,
    span,
)
from upyun_simulator.sizes import Sizes, parse_bytes, parse_sizes

_ADD_UP: Final = 200_000  # objects up to which the usage is exact (0.3 s)
_NONE: Final = Numbered(0, "")


class Formula(Contents):
    """What the families share: an object is found through its folder, the usage through the mean size."""

    def __init__(self, count: int, sizes: Sizes, seed: int) -> None:
        self.count, self._sizes, self._seed = count, sizes, seed
        self._usage: int | None = None

    @abstractmethod
    def folder(self, path: str) -> FormulaFolder | None:
        """See `Contents.folder`."""

    def item(self, key: str) -> Item | None:
        """See `Contents.item`."""
        path, slash, name = key.rpartition("/")
        folder = self.folder(path + slash)
        entry = folder.find(name) if folder else None
        return None if entry is None else Item(key, entry.length, entry.last_modified, entry.type)

    def row(self, path: str, entry: Entry) -> Item | None:
        """See `Contents.row`."""
        return Item(path + entry.name, entry.length, entry.last_modified, entry.type)

    def usage(self) -> int:
        """See `Contents.usage`."""
        if self._usage is None:
            exact = not self._sizes.fixed and self.count <= _ADD_UP
            self._usage = (
                sum(item.size for item in self.walk()) if exact else round(self.count * self._sizes.mean)
            )
        return self._usage


class Flat(Formula):
    """`count` files in the root, and nothing else."""

    def __init__(self, count: int, sizes: Sizes, seed: int = 0, suffix: str = ".jpg") -> None:
        super().__init__(count, sizes, seed)
        self._root = FormulaFolder("", Numbered(count, "img-", suffix), _NONE, sizes, seed)

    def folder(self, path: str) -> FormulaFolder | None:
        """See `Contents.folder`."""
        return None if path else self._root


class Tree(Formula):
    """`dirs` leaf directories, `depth` levels down, with `files` files in each; the levels above hold folders only."""

    def __init__(self, dirs: int, files: int, depth: int, sizes: Sizes, seed: int = 0) -> None:
        super().__init__(dirs * files, sizes, seed)
        self._dirs, self._depth = dirs, depth
        self._fan = max(1, round(dirs ** (1 / depth)))
        while self._fan**depth < dirs:
            self._fan += 1
        self._width = len(str(self._fan - 1))
        self._names = Numbered(self._fan, "d", width=self._width)
        self._files = Numbered(files, "img-", ".jpg")

    def folder(self, path: str) -> FormulaFolder | None:
        """See `Contents.folder`."""
        steps = path.split("/")[:-1]
        number = self._number(steps)
        if number is None:
            return None
        if len(steps) == self._depth:
            return FormulaFolder(path, self._files, _NONE, self._sizes, self._seed)
        return FormulaFolder(path, _NONE, self._children(number, len(steps)), self._sizes, self._seed)

    def _number(self, steps: list[str]) -> int | None:
        """Return the number of a node among the nodes of its level, None where the tree has no such node."""
        if len(steps) > self._depth:
            return None
        number = 0
        for step in steps:
            digit = self._names.find(step)
            if digit is None:
                return None
            number = number * self._fan + digit
        first_leaf = number * self._fan ** (self._depth - len(steps))
        return number if first_leaf < self._dirs or not steps else None

    def _children(self, number: int, level: int) -> Numbered:
        below = self._fan ** (self._depth - level - 1)
        left = self._dirs - number * self._fan * below
        return Numbered(min(self._fan, -(-left // below)), "d", width=self._width)


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


_MIB = 1024 * 1024
_PLACES = ("北京", "上海", "广州", "成都", "杭州", "乌鲁木齐", "paris", "new york", "são paulo", "zürich")


def demo_bucket() -> Explicit:
    """Return 10,000 small images in nested folders with Chinese and other names, and a few files of tens of MiB."""
    sizes = parse_sizes("lognormal:20KiB:0.7")
    keys = [f"images/2023/{number // 500:02d}月/商品-{number:05d}.jpg" for number in range(6_000)]
    keys += [f"用户相册/{_PLACES[n % 10]}/{n // 10 % 30:02d}/IMG_{n:04d}.jpg" for n in range(3_000)]
    keys += [f"avatars/{n % 100:02x}/{n:05d}.png" for n in range(1_000)]
    items = [plain_item(key, sizes.pick(hash_of(key))) for key in keys]
    items += [plain_item(f"videos/{name}", size * _MIB) for name, size in _LARGE.items()]
    items += [plain_item("README.txt", 812), plain_item("index.html", 6_204), plain_item("empty.txt", 0)]
    return Explicit(items, ["空文件夹/"])


_LARGE = {"产品介绍.mp4": 48, "opening.mp4": 33, "backup 2023.zip": 21, "manual.pdf": 12}


def hash_of(key: str) -> int:
    """Return a 32-bit hash that is the same in every process."""
    return crc32(key.encode("utf-8", "surrogatepass"))


NFC_NAME = "caf\u00e9.jpg"
NFD_NAME = "cafe\u0301.jpg"
ODD_NAMES = (
    "plain.jpg", "a+b.jpg", "a b.jpg", "a%20b.jpg", "100%", "50%25.jpg", "a%2Fb.jpg", "what?.jpg", "what?x=1", "tag#1.jpg",
    "a&b=c.jpg", "a;b.jpg", "a!b.jpg", "a!s400", "pic.jpg!small", "a-b_c.jpg", "[x].jpg", "{x}.jpg", "back\\slash.jpg", "..\\up.jpg",
    'double"quote.jpg', "single'quote.jpg", "`tick`.jpg", "<tag>.jpg", "pipe|.jpg", "star*.jpg", "colon:.jpg", "C:.jpg",
    "at@.jpg", "$HOME.jpg", "~", "~tilde", "@~at", "@#at", "^.jpg", "comma,.jpg", "-rf", "--help", "=1+1.csv",
    "\U0001f600 emoji.jpg", "\U0001f468\u200d\U0001f469\u200d\U0001f467.jpg", "中文 文件.jpg", "日本語.png", "العربية.jpg",
    "\u202egpj.exe", "zero\u200bwidth.jpg", "nbsp\u00a0name", "line\u2028separator", NFC_NAME, NFD_NAME,
    " leading space", "trailing space ", "trailing dot.", "  ", ".hidden", "...", ". .", ".bucketpull", "lost+found",
    "Case.JPG", "case.jpg", "CASE.JPG", "straße.jpg", "STRASSE.jpg", "ﬁle.jpg", "con.txt", "NUL", "aux.jpg", "COM1",
    "bell\x07.jpg", "escape\x1b[31m.jpg", "delete\x7f.jpg", "c1\x85.jpg", "unit\x1fseparator",
    "n" * 255, "n" * 251 + ".jpg", "中" * 85, "中" * 86, "m" * 256, "m" * 300 + ".jpg", "0", "null", "true", "-1", "1e9",
)  # fmt: skip
ODD_KEYS = (
    "/leading slash.jpg", "a//b.jpg", "a///c.jpg", "dots/./here.jpg", "dots/../up.jpg", "../../etc/passwd", "..", ".",
    "dots/..", "dots/.", "twice", "twice/inside.jpg", "twice/twice/deep.jpg", "Folder/x.jpg", "folder/x.jpg", "sp ace /x .jpg",
    "中文目录/图片 1.jpg", "q?/h#/p%/x.jpg", "ends!here/x.jpg", "con/x.jpg", ".bucketpull/journal", "/".join(["deep"] * 200) + "/x.jpg",
    "/".join(["long-segment-" * 10] * 33) + "/x.jpg",
)  # fmt: skip


def odd_bucket() -> Explicit:
    """Return the odd names in the root and in a folder, awkward paths, empty objects and empty folders."""
    keys = [*ODD_NAMES, *(f"odd/{name}" for name in ODD_NAMES), *ODD_KEYS]
    items = [plain_item(key, 1 + hash_of(key) % 3_000) for key in keys]
    items += [plain_item("zero-bytes", 0), plain_item("one-byte", 1), plain_item("zero.jpg", 0)]
    return Explicit(items, ["empty/", "empty/nested/", "nothing here/"])
