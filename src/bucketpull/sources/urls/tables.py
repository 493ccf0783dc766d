"""The forms of a list: lines, tables with commas or tabs (CSV, TSV), and Parquet; each read by the page from a cursor on."""

import csv
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol

from bucketpull.domain.errors import AnswerError, ConfigError, Reason
from bucketpull.sources.lists import BOM, LONGEST_LINE, PAGE_LINES, ListPosition, read_lines
from bucketpull.sources.urls.rows import OddRow, UrlRow, row_of

_LONGEST_ROW: Final = 1 << 20  # as many cells as the columns that we read have, and more
COLUMNS: Final = ("url", "key", "size", "md5", "mtime")
_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}

Cells = Mapping[str, bytes]


class Rows(NamedTuple):
    """A page of a list: its objects, what is wrong with other lines, and the cursor of the next page; None at the end."""

    rows: list[UrlRow]
    odd: list[str]
    following: str | None


class Table(Protocol):
    """A list in one of its forms."""

    def page(self, cursor: str) -> Rows:
        """Read a page.

        Raises:
            AnswerError: `cursor`, if it is none; `garbage`, if the file cannot be read.

        """
        ...


def table_of(path: str) -> Table:
    """Open a list by the end of its name: .csv, .tsv, .parquet, or lines.

    Raises:
        ConfigError: It cannot be read, has no column `url`, or needs a library that is not there.

    """
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".parquet":
            return _ParquetTable(path)
        if suffix in _DELIMITERS:
            return _TextTable(path, _DELIMITERS[suffix])
        Path(path).open("rb").close()
    except OSError as error:
        raise ConfigError(f"list {path}: {error.strerror or error}; name a file that can be read") from error
    return _Lines(path)


class _Lines:
    """One URL a line."""

    def __init__(self, path: str) -> None:
        self._path = path

    def page(self, cursor: str) -> Rows:
        """See `Table`."""
        found = read_lines(self._path, ListPosition.of(cursor))
        cells = ((number, {"url": line}) for number, line in zip(found.numbers, found.lines, strict=True))
        rows, odd = _understood(cells)
        return Rows(rows, found.odd + odd, found.following.text() if found.following else None)


class _TextTable:
    """CSV or TSV with a head."""

    def __init__(self, path: str, delimiter: str) -> None:
        self._path = path
        self._delimiter = delimiter
        with Path(path).open("rb") as file:
            head = file.readline(LONGEST_LINE)
        self._start = len(head)
        try:
            names = next(csv.reader([_text(head.removeprefix(BOM))], delimiter=delimiter), [])
        except csv.Error as error:
            raise ConfigError(
                f"list {path}: its first line does not name columns: {error}; give it a line of column names"
            ) from error
        self._columns = _columns_of(path, names)

    def page(self, cursor: str) -> Rows:
        """See `Table`. A cell may have line breaks in quotes, so a row ends where the reader says."""
        place = ListPosition.of(cursor) if cursor else ListPosition(self._start, 2)
        try:
            with Path(self._path).open("rb") as file:
                file.seek(place.offset)
                counted = _Counted(file)
                found = list(self._cells(csv.reader(counted, delimiter=self._delimiter), place.line))
        except (OSError, csv.Error) as error:
            detail = f"list {self._path}: from line {place.line} on: {error}"
            raise AnswerError(Reason.GARBAGE, detail) from error
        rows, odd = _understood(found)
        if len(found) < PAGE_LINES:
            return Rows(rows, odd, None)
        following = ListPosition(place.offset + counted.bytes, place.line + counted.lines)
        return Rows(rows, odd, following.text())

    def _cells(self, reader: Any, line: int) -> Iterator[tuple[int, Cells]]:  # noqa: ANN401 - csv's own type
        for _ in range(PAGE_LINES):
            number = line + reader.line_num
            cells = next(reader, None)
            if cells is None:
                return
            yield (
                number,
                {
                    name: cells[place].encode("utf-8", "surrogateescape")
                    for name, place in self._columns.items()
                    if place < len(cells)
                },
            )


class _Counted:
    """Lines of a file as text, with how much of it was taken."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes = self.lines = 0

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        line = self._file.readline(_LONGEST_ROW)
        if not line:
            raise StopIteration
        if len(line) == _LONGEST_ROW and not line.endswith(b"\n"):
            raise csv.Error(f"a line of more than {_LONGEST_ROW} bytes")
        self.bytes += len(line)
        self.lines += 1
        return _text(line)


class _ParquetTable:
    """Parquet, by pyarrow; a cursor is the number of a row group and of a row in it."""

    def __init__(self, path: str) -> None:
        try:
            arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
        except ImportError:
            remedy = "reading Parquet needs pip install 'bucketpull[parquet]'"
            raise ConfigError(f"list {path}: {remedy}") from None
        self._path = path
        self._broken: type[Exception] = arrow.ArrowException
        try:
            self._file = parquet.ParquetFile(path)
            names = self._file.schema_arrow.names
        except (ValueError, arrow.ArrowException) as error:  # the first: a name of a column that is no text
            raise ConfigError(
                f"list {path}: is not Parquet: {str(error)[:200]}; name a Parquet file"
            ) from error
        self._columns = list(_columns_of(path, names))
        self._batches: Iterator[Any] = iter(())
        self._at: tuple[int, int] | None = None  # what the next batch begins with: row group and row

    def page(self, cursor: str) -> Rows:
        """See `Table`. A row group may hold the whole list, so it is read by the batch; going back reads it again from its start."""
        group, row = ListPosition.of(cursor) if cursor else ListPosition(0, 0)
        if group >= self._file.num_row_groups:
            return Rows([], [], None)
        cells = self._read(group, row)
        before = sum(self._file.metadata.row_group(each).num_rows for each in range(group))
        rows, odd = _understood(
            (before + row + number, {name: _bytes(value) for name, value in each.items()})
            for number, each in enumerate(cells, 1)
        )
        if row + len(cells) < self._file.metadata.row_group(group).num_rows:
            return Rows(rows, odd, f"{group}:{row + len(cells)}")
        return Rows(rows, odd, f"{group + 1}:0" if group + 1 < self._file.num_row_groups else None)

    def _read(self, group: int, row: int) -> list[dict[str, Any]]:
        try:
            cells = self._cells(group, row)
            if not cells and row < self._file.metadata.row_group(group).num_rows:
                raise ValueError(f"it ends before row {row}")
        except (OSError, ValueError, MemoryError, self._broken) as error:
            detail = f"list {self._path}: row group {group} is damaged: {str(error)[:200]}"
            raise AnswerError(Reason.GARBAGE, detail) from error
        return cells

    def _cells(self, group: int, row: int) -> list[dict[str, Any]]:
        """Read the page that begins at a row of a row group."""
        skipped = 0
        if self._at != (group, row):
            self._batches = self._file.iter_batches(PAGE_LINES, row_groups=[group], columns=self._columns)
            skipped = row
        found: list[dict[str, Any]] = []
        for batch in self._batches:
            if skipped >= batch.num_rows:
                skipped -= batch.num_rows
                continue
            found = batch.slice(skipped).to_pylist()
            break
        self._at = group, row + len(found)
        return found


def _columns_of(path: str, names: Sequence[str]) -> dict[str, int]:
    places = {name.strip().lower(): place for place, name in enumerate(names)}
    if "url" not in places:
        shown = ", ".join(names)[:100]
        known = ", ".join(COLUMNS)
        raise ConfigError(f"list {path}: its head has no column url but {shown!r}; the columns are {known}")
    return {name: places[name] for name in COLUMNS if name in places}


def _understood(cells: Iterable[tuple[int, Cells]]) -> tuple[list[UrlRow], list[str]]:
    rows: dict[bytes, UrlRow] = {}
    odd: list[str] = []
    for number, each in cells:
        if not any(each.values()):
            continue
        size, md5, mtime = (_text(each.get(name, b"")) for name in ("size", "md5", "mtime"))
        try:
            row = row_of(each.get("url", b""), each.get("key", b""), size, md5, mtime)
        except OddRow as error:
            odd.append(f"line {number}: {error}")
        else:
            rows.setdefault(row.key, row)  # a key that stands there again is wanted once
    return list(rows.values()), odd


def _bytes(value: object) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat() if isoformat else value).encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
