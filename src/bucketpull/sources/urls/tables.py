"""A list of URLs as a table: lines, commas or tabs (CSV, TSV), or Parquet, read by the page from a cursor on."""

import csv
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol

from bucketpull.domain.errors import AnswerError, ConfigError, Reason
from bucketpull.domain.model import bytes_of, text_of
from bucketpull.extras import adding
from bucketpull.sources.list_files import (
    BOM,
    LONGEST_LINE,
    LOOKED_AT_BYTES,
    PAGE_LINES,
    ListPosition,
    check_text,
    read_lines,
)
from bucketpull.sources.urls.rows import OddRow, UrlRow, is_same_object, row_of, shown_row

_LONGEST_ROW: Final = 1 << 20  # as many cells as the columns that we read have, and more
COLUMNS: Final = ("url", "key", "size", "md5", "mtime")
_KEY_HEX: Final = "key_hex"  # the bytes of a key that is no text, as `bucketpull list` writes them
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

    Raises ConfigError where it cannot be read, has no column `url`, or needs a library that is not there.
    """
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".parquet":
            return _ParquetTable(path)
        check_text(path)
        if suffix in _DELIMITERS:
            return _TextTable(path, _DELIMITERS[suffix])
    except OSError as error:
        raise ConfigError(f"list {path}: {error.strerror or error}; name a file that can be read") from error
    return _Lines(path)


def check_urls(path: str) -> None:
    """Make sure that a list is one of URLs: of other lists each line would be a failure.

    Raises ConfigError where its first page names no object, or it is refused as by `table_of`.
    """
    try:
        found = table_of(path).page("")
    except AnswerError:  # a damaged part is the job's to tell
        return
    if found.odd and not found.rows:
        with Path(path).open("rb") as file:
            is_json = file.read(LOOKED_AT_BYTES).removeprefix(BOM).lstrip()[:1] in {b"{", b"["}
        if is_json:
            raise ConfigError(
                f"list {path}: is JSON; write its URLs one a line, for example with `jq -r .url`"
            )
        raise ConfigError(
            f"list {path}: none of its first rows is a URL: {found.odd[0]}; keys of a bucket are read by --keys FILE with s3://BUCKET or upyun://BUCKET"
        )


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
            names = next(csv.reader([text_of(head.removeprefix(BOM))], delimiter=delimiter), [])
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
                damaged: list[str] = []
                found = list(self._cells(counted, place.line, damaged))
        except OSError as error:
            detail = f"list {self._path}: from line {place.line} on: {error}"
            raise AnswerError(Reason.GARBAGE, detail) from error
        rows, odd = _understood(found)
        odd += damaged
        if len(found) < PAGE_LINES:
            return Rows(rows, odd, None)
        following = ListPosition(place.offset + counted.bytes, place.line + counted.lines)
        return Rows(rows, odd, following.text())

    def _cells(self, lines: "_Counted", line: int, damaged: list[str]) -> Iterator[tuple[int, Cells]]:
        """Read rows; one that cannot be read costs itself, and is told in `damaged`."""
        reader = csv.reader(lines, delimiter=self._delimiter)
        for _ in range(PAGE_LINES):
            number = line + reader.line_num
            try:
                cells = next(reader, None)
            except csv.Error as error:
                damaged.append(f"line {number}: {error}")
                cells = []
            if cells is None:
                return
            if lines.is_over:
                damaged.append(f"line {number}: a quote is not closed up to the end of the list")
                cells = []
            yield (
                number,
                {name: bytes_of(cells[place]) for name, place in self._columns.items() if place < len(cells)},
            )


class _Counted:
    """Lines of a file as text, with how much of it was taken."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes = self.lines = 0
        self.is_over = False

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        line = self._file.readline(_LONGEST_ROW)
        if not line:
            self.is_over = True
            raise StopIteration
        if len(line) == _LONGEST_ROW and not line.endswith(b"\n"):
            raise csv.Error(f"a line of more than {_LONGEST_ROW} bytes")
        self.bytes += len(line)
        self.lines += 1
        return text_of(line)


class _ParquetTable:
    """Parquet, by pyarrow; a cursor is the number of a row group and of a row in it."""

    def __init__(self, path: str) -> None:
        try:
            arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise ConfigError(
                f"list {path}: Parquet is read by pyarrow; add the extra parquet by `{adding('parquet')}`"
            ) from None
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
    found = [name.strip().lower() for name in names]
    places = {name: place for place, name in enumerate(found)}
    for name in (*COLUMNS, _KEY_HEX):
        if found.count(name) > 1:
            raise ConfigError(f"list {path}: its head has {found.count(name)} columns {name}; leave one")
    if "url" not in places:
        shown = ", ".join(names)[:100]
        known = ", ".join(COLUMNS)
        raise ConfigError(f"list {path}: its head has no column url but {shown!r}; the columns are {known}")
    return {name: places[name] for name in (*COLUMNS, _KEY_HEX) if name in places}


def _understood(cells: Iterable[tuple[int, Cells]]) -> tuple[list[UrlRow], list[str]]:
    rows: dict[bytes, UrlRow] = {}
    odd: list[str] = []
    for number, each in cells:
        if not any(each.values()):
            continue
        size, md5, mtime = (text_of(each.get(name, b"")) for name in ("size", "md5", "mtime"))
        try:
            key = _key_of(each)
            row = row_of(each.get("url", b""), key, size, md5, mtime)
            kept = rows.setdefault(row.key, row)  # a key that stands there again is wanted once
            if kept.url != row.url and (key or not is_same_object(kept.url, row.url)):
                raise OddRow(
                    f"{shown_row(row.key)} is the key of another URL, {kept.url[:100]!r}, too; name another in a column key"
                )
        except OddRow as error:
            odd.append(f"line {number}: {error}")
    return list(rows.values()), odd


def _key_of(cells: Cells) -> bytes:
    written = cells.get(_KEY_HEX, b"").strip()
    if not written:
        return cells.get("key", b"")
    try:
        return bytes.fromhex(text_of(written))
    except ValueError:
        raise OddRow(f"{shown_row(written)} is not in hex") from None


def _bytes(value: object) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    isoformat = getattr(value, "isoformat", None)
    return bytes_of(str(isoformat() if isoformat else value))
