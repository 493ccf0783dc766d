"""Buckets by formula: one flat directory of any size, and a tree of any number of small directories."""

from typing import Final

from upyun_simulator.contents import Contents, Entry, Folder, FormulaFolder, Item, Numbered
from upyun_simulator.sizes import Sizes

_ADD_UP: Final = 200_000  # objects up to which the usage is exact (0.3 s)
_NONE: Final = Numbered(0, "")


class Formula(Contents):
    """What the families share: an object is found through its folder, the usage through the mean size."""

    def __init__(self, count: int, sizes: Sizes, seed: int) -> None:
        self.count, self._sizes, self._seed = count, sizes, seed
        self._usage: int | None = None

    def folder(self, path: str) -> Folder | None:
        """See `Contents.folder`."""
        return self._find(path)

    def _find(self, path: str) -> FormulaFolder | None:
        raise NotImplementedError

    def item(self, key: str) -> Item | None:
        """See `Contents.item`."""
        path, slash, name = key.rpartition("/")
        folder = self._find(path + slash)
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

    def _find(self, path: str) -> FormulaFolder | None:
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

    def _find(self, path: str) -> FormulaFolder | None:
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
