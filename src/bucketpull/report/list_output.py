"""Where a list goes: a stream, a file, or a folder of files; the latter two go on after a kill where they were last marked.

A mark (`STATE`) says how much of the output is whole, and what its writer needs to go on from there; the output is synced
before. What was written after the last mark is cut off when the list goes on.
"""

import errno
import gzip
import importlib
import os
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, TypeVar, cast

import msgspec

from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.model import Position
from bucketpull.report.list_forms import Columns, Encoded, Form, oss_manifest
from bucketpull.report.output_files import Folder, is_stream
from bucketpull.trusted_path import make_folder

T = TypeVar("T")
STATE: Final = ".bucketpull-list.json"
_PARQUET_ROWS: Final = 1_000_000
_GROUP_ROWS: Final = 64_000  # a row group of each page would cost readers and us twice as much
_GZIP_LEVEL: Final = 6


class ListState(msgspec.Struct):
    """What a list needs to go on, beside its output: which list it is, what is still to be listed, and what was counted."""

    identity: msgspec.Raw = msgspec.Raw(b"null")
    frontier: list[Position] = []
    objects: int = 0
    left_out: int = 0
    failed: int = 0


class Mark(msgspec.Struct):
    """How far an output is whole: `files` by name and bytes, `size` bytes of the one in writing; `more` is its writer's."""

    files: list[tuple[str, int]] = []
    size: int = 0
    more: ListState = msgspec.field(default_factory=ListState)


_decode = json_decoder(Mark)


class ListOutput(Generic[T]):
    """Takes objects of a form."""

    def __init__(self, form: Form[T]) -> None:
        self._form = form

    @property
    def can_mark(self) -> bool:
        """Whether a mark can be set now: all that was written is in files that it can name."""
        return False

    def write(self, objects: T) -> list[bytes]:
        """Write objects; return the keys that have no place in the form."""
        encoded = self._form.encode(objects)
        self._put(encoded.data)
        return encoded.left_out

    def _put(self, data: bytes) -> None:
        raise NotImplementedError

    def mark(self, state: ListState) -> None:
        """Sync what is written, and say so beside it."""

    def finish(self) -> None:
        """Give the output its final form and name; forget the mark."""

    def close(self) -> None:
        """Close it; what is marked is kept."""


class StreamOutput(ListOutput[T]):
    """A stream, such as standard output: it cannot be continued later."""

    def __init__(self, form: Form[T], stream: BinaryIO) -> None:
        super().__init__(form)
        self._stream = stream
        stream.write(form.head)

    def _put(self, data: bytes) -> None:
        self._stream.write(data)

    def finish(self) -> None:
        """Flush it."""
        self._stream.flush()


class FileOutput(ListOutput[T]):
    """One file; until it is whole it lies beside its place as FILE.part."""

    def __init__(self, form: Form[T], path: Path, mark: Mark | None) -> None:
        super().__init__(form)
        self._folder = Folder(path.parent)
        self._sort_in = str(path.parent)
        self._name, self._part = path.name, path.name + ".part"
        self._state = state_of(path, is_folder=False).name
        if mark is not None:
            self._file = self._folder.reopen_at(self._part, mark.size)
        else:
            self._file = self._folder.create(self._part)
            self._file.write(b"" if form.is_sorted else form.head)

    @property
    def can_mark(self) -> bool:
        """See `ListOutput`."""
        return True

    def _put(self, data: bytes) -> None:
        self._file.write(data)

    def mark(self, state: ListState) -> None:
        """See `ListOutput`."""
        _sync(self._file)
        write_state(self._folder, self._state, Mark([], self._file.tell(), state))

    def finish(self) -> None:
        """See `ListOutput`."""
        self._file.flush()
        if self._form.is_sorted:
            self._sort()
        self._file.close()
        self._folder.rename(self._part, self._name)
        self._folder.remove(self._state)

    def close(self) -> None:
        """See `ListOutput`."""
        self._file.close()
        self._folder.close()

    def _sort(self) -> None:
        """Sort the lines by their bytes, on disk: sort(1) keeps its memory whatever the file's size."""
        in_order = self._part + ".sorted"
        with self._folder.create(in_order) as file:
            file.write(self._form.head)
            file.flush()
            self._file.seek(0)  # not opened by its name, at which another file may lie by now
            command = ["sort", "--temporary-directory", self._sort_in]
            environment = {**os.environ, "LC_ALL": "C"}
            done = subprocess.run(command, stdin=self._file, stdout=file, env=environment, check=False)  # noqa: S603
        if done.returncode:  # it has told why
            raise OSError(errno.EIO, f"sort(1) ended with exit code {done.returncode}")
        self._folder.rename(in_order, self._part)


class FolderOutput(ListOutput[T]):
    """Files of a bounded size in a folder: list-00001, list-00002 and so on; the last of them may be in writing."""

    def __init__(self, form: Form[T], folder: Path, mark: Mark | None) -> None:
        super().__init__(form)
        self._folder = Folder(folder)
        self._files = list(mark.files) if mark is not None else []
        self._written = mark.size if mark is not None else 0
        self._file: BinaryIO | None = None
        if self._written:
            self._file = self._folder.reopen_at(self._next_name(), self._written)

    @property
    def can_mark(self) -> bool:
        """See `ListOutput`: a compressed file cannot be continued in its middle."""
        return self._file is None or not self._form.is_gzipped

    def _put(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            stop = self._fitting(data, start)
            self._open().write(data[start:stop])
            self._written += stop - start
            start = stop
            if start < len(data):
                self._end_file()

    def _fitting(self, data: bytes, start: int) -> int:
        """Return the end of the lines that have room in a file; a line longer than a file has one of its own."""
        room = (self._form.most_bytes or 0) - self._written
        if len(data) - start <= room:
            return len(data)
        stop = data.rfind(b"\n", start, start + max(room, 0)) + 1
        if not stop and self._written:
            self._end_file()
            return self._fitting(data, start)
        return stop or data.index(b"\n", start) + 1

    def mark(self, state: ListState) -> None:
        """See `ListOutput`."""
        if self._file is not None:
            _sync(self._file)
        write_state(self._folder, STATE, Mark(self._files, self._written, state))

    def finish(self) -> None:
        """See `ListOutput`."""
        self._end_file()
        if self._form.has_manifest:
            with self._folder.create("manifest.json") as file:
                file.write(oss_manifest(self._files))
        self._folder.remove(STATE)

    def close(self) -> None:
        """See `ListOutput`."""
        if self._file is not None:
            self._file.close()
        self._folder.close()

    def _next_name(self) -> str:
        return f"list-{len(self._files) + 1:05d}{self._form.suffix}"

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = self._folder.create(self._next_name())
            if self._form.is_gzipped:
                self._file = _gzipped(self._file)
        return self._file

    def _end_file(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._files.append(self._folder.synced(self._next_name()))
        self._file, self._written = None, 0


def _gzipped(file: BinaryIO) -> Any:  # noqa: ANN401 - a stream, which typeshed does not know as one
    packed = gzip.GzipFile("", "wb", _GZIP_LEVEL, file)
    packed.myfileobj = file  # type: ignore[assignment] # closed with it, as one that it opens itself
    return packed


class ParquetFile:
    """A file of Parquet in writing. Rows are gathered into groups: each group costs its readers, and our memory until the end."""

    def __init__(self, stream: BinaryIO, columns: Mapping[str, type], most_rows: int) -> None:
        self._arrow = importlib.import_module("pyarrow")
        types = {str: self._arrow.string(), int: self._arrow.int64()}
        self.schema = self._arrow.schema([(name, types[kind]) for name, kind in columns.items()])
        parquet = importlib.import_module("pyarrow.parquet")
        self._writer = parquet.ParquetWriter(stream, self.schema, compression="zstd")
        self._most_rows = most_rows
        self._batches: list[Any] = []
        self.rows = self._written = 0

    def add(self, batch: Any) -> None:  # noqa: ANN401 - a batch of pyarrow
        """Add rows, of this file's schema."""
        self._batches.append(batch)
        self.rows += batch.num_rows
        if self.rows - self._written >= self._most_rows:
            self._write_group()

    def _write_group(self) -> None:
        self._writer.write_table(self._arrow.Table.from_batches(self._batches))
        self._batches, self._written = [], self.rows

    def close(self) -> None:
        """Write what is left, and the end."""
        if self._batches:
            self._write_group()
        self._writer.close()


def _no_bytes(columns: Columns) -> Encoded:
    raise NotImplementedError  # see `ParquetOutput.write`


PARQUET: Final = Form(_no_bytes, ".parquet", has_md5s=True)
_COLUMNS: Final = {"key": str, "size": int, "mtime": int, "md5": str, "url": str, "key_hex": str}


class ParquetOutput(FolderOutput[Columns]):
    """Parquet files of a million objects in a folder; a file counts when it is whole."""

    def __init__(self, folder: Path, mark: Mark | None) -> None:
        super().__init__(PARQUET, folder, mark)
        self._table: ParquetFile | None = None

    @property
    def can_mark(self) -> bool:
        """See `ListOutput`."""
        return self._table is None

    def write(self, objects: Columns) -> list[bytes]:
        """See `ListOutput`."""
        if self._table is None:
            self._table = ParquetFile(self._open(), _COLUMNS, _GROUP_ROWS)
        self._table.add(_batch(objects, self._table.schema))
        if self._table.rows >= _PARQUET_ROWS:
            self._end_file()
        return []

    def close(self) -> None:
        """See `ListOutput`."""
        if self._table is not None:
            self._table.close()
        super().close()

    def _end_file(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None
        super()._end_file()


def _batch(columns: Columns, schema: Any) -> Any:  # noqa: ANN401 - of pyarrow
    arrow, text = importlib.import_module("pyarrow"), schema.field("key").type
    try:
        keys, odd = arrow.array(columns.keys, text), arrow.nulls(len(columns.keys), text)
    except arrow.ArrowInvalid:  # some are not UTF-8
        keys = [key.decode("utf-8", "backslashreplace") for key in columns.keys]
        pairs = zip(columns.keys, keys, strict=True)
        odd = [None if shown.encode() == key else key.hex() for key, shown in pairs]
    numbers = [
        column if -1 not in column else [None if each < 0 else each for each in column]
        for column in columns[1:3]
    ]
    texts = [column if "" not in column else [each or None for each in column] for column in columns[3:5]]
    return arrow.record_batch([keys, *numbers, *texts, odd], schema=schema)


def is_folder(form: Form[Any]) -> bool:
    """Whether a form is a folder of files."""
    return form is PARQUET or form.most_bytes is not None


def check_output(name: str, form: Form[Any], path: Path | None) -> None:
    """Make sure that a form can go where it is wanted, None for standard output.

    Raises ConfigError where it needs a place of its own, or a library that lacks.
    """
    if (is_folder(form) or form.is_sorted) and (path is None or is_stream(path)):
        raise ConfigError(f"--format {name}: give --output {'DIR' if is_folder(form) else 'FILE'}")
    if form is PARQUET:
        importlib.import_module("pyarrow")  # whoever lacks it is told before anything is made


def open_output(form: Form[T], path: Path, mark: Mark | None = None) -> ListOutput[T]:
    """Open the file or the folder of a form, cut back to its mark. Raises OSError where it cannot be opened."""
    if not is_folder(form):
        return FileOutput(form, path, mark)
    make_folder(path, parents=True)
    if form is PARQUET:
        return cast("ListOutput[T]", ParquetOutput(path, mark))
    return FolderOutput(form, path, mark)


def state_of(path: Path, is_folder: bool) -> Path:
    """Return where the mark of an output lies."""
    return path / STATE if is_folder else path.with_name(path.name + STATE)


def read_state(path: Path) -> Mark | None:
    """Read a mark; None where there is none. Raises ConfigError where it cannot be read."""
    try:
        with closing(Folder(path.parent)) as folder, folder.reopen(path.name) as file:
            return _decode(file.read())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: not the state of a list: {error}; remove it to begin anew") from error


def write_state(folder: Folder, name: str, mark: Mark) -> None:
    """Write a mark in place of the last one, so that a kill leaves either."""
    fresh = name + ".new"
    with folder.create(fresh) as file:
        file.write(msgspec.json.encode(mark))
        _sync(file)
    folder.rename(fresh, name)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
