"""Where a list goes: a stream, a file, or a folder of files; the latter two go on after a kill where they were last marked.

A mark (`STATE`) says how much of the output is whole, and what its writer needs to go on from there; the output is synced
before. What was written after the last mark is cut off when the list goes on.
"""

import gzip
import importlib
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec

from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.errors import ConfigError
from bucketpull.report.list_forms import Columns, Form, oss_manifest
from bucketpull.report.output_files import Folder
from bucketpull.trusted_path import make_folder

STATE: Final = ".bucketpull-list.json"
_PARQUET_ROWS: Final = 1_000_000
_GROUP_ROWS: Final = 64_000  # a row group of each page would cost readers and us twice as much
_GZIP_LEVEL: Final = 6


class Mark(msgspec.Struct):
    """How far an output is whole: `files` by name and bytes, `size` bytes of the one in writing; `more` is the caller's."""

    files: list[tuple[str, int]] = []
    size: int = 0
    more: msgspec.Raw = msgspec.Raw(b"null")


_decode = json_decoder(Mark)


class ListOutput(Protocol):
    """Takes objects. A mark can be set while all that was written is in files that it can name."""

    @property
    def can_mark(self) -> bool:
        """Whether a mark can be set now."""

    def write(self, columns: Columns) -> list[bytes]:
        """Write objects; return the keys that have no place in the form."""

    def mark(self, more: bytes) -> None:
        """Sync what is written, and say so beside it."""

    def finish(self) -> None:
        """Give the output its final form and name; forget the mark."""

    def close(self) -> None:
        """Close it; what is marked is kept."""


class _Encoded:
    """What writes objects as bytes of a form."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def write(self, columns: Columns) -> list[bytes]:
        """See `ListOutput`."""
        encoded = self._form.encode(columns)
        self._put(encoded.data)
        return encoded.left_out

    def _put(self, data: bytes) -> None:
        raise NotImplementedError


class StreamOutput(_Encoded):
    """Standard output: it cannot be continued later."""

    can_mark = False

    def __init__(self, form: Form, stream: BinaryIO) -> None:
        super().__init__(form)
        self._stream = stream
        stream.write(form.head)

    def _put(self, data: bytes) -> None:
        self._stream.write(data)

    def mark(self, more: bytes) -> None:
        """See `ListOutput`."""

    def finish(self) -> None:
        """See `ListOutput`."""
        self._stream.flush()

    def close(self) -> None:
        """See `ListOutput`."""


class FileOutput(_Encoded):
    """One file; until it is whole it lies beside its place as FILE.part."""

    can_mark = True

    def __init__(self, form: Form, path: Path, mark: Mark | None) -> None:
        super().__init__(form)
        self._folder = Folder(path.parent)
        self._sort_in = str(path.parent)
        self._name, self._part = path.name, path.name + ".part"
        self._state = state_of(path, is_folder=False).name
        self._file = (
            self._folder.create(self._part) if mark is None else self._folder.reopen(self._part, "r+b")
        )
        if mark is not None:
            self._file.truncate(mark.size)
            self._file.seek(mark.size)
        elif not form.is_sorted:
            self._file.write(form.head)

    def _put(self, data: bytes) -> None:
        self._file.write(data)

    def mark(self, more: bytes) -> None:
        """See `ListOutput`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        write_state(self._folder, self._state, Mark([], self._file.tell(), msgspec.Raw(more)))

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
            subprocess.run(command, stdin=self._file, stdout=file, env=environment, check=True)  # noqa: S603
        self._folder.rename(in_order, self._part)


class FolderOutput(_Encoded):
    """Files of a bounded size in a folder: list-00001, list-00002 and so on; the last of them may be in writing."""

    def __init__(self, form: Form, folder: Path, mark: Mark | None, name: str) -> None:
        super().__init__(form)
        self._folder = Folder(folder)
        self._is_oss = name == "oss"
        self._files = list(mark.files) if mark is not None else []
        self._written = 0
        self._file: BinaryIO | None = None
        if mark is not None and mark.size:
            self._file = self._folder.reopen(self._next_name(), "r+b")
            self._file.truncate(mark.size)
            self._file.seek(mark.size)
            self._written = mark.size

    @property
    def can_mark(self) -> bool:
        """See `ListOutput`: a compressed file cannot be continued in its middle."""
        return not self._form.is_gzipped or self._file is None

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

    def mark(self, more: bytes) -> None:
        """See `ListOutput`."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        size = self._written if self._file is not None else 0
        write_state(self._folder, STATE, Mark(self._files, size, msgspec.Raw(more)))

    def finish(self) -> None:
        """See `ListOutput`."""
        self._end_file()
        if self._is_oss:
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
            file = self._folder.create(self._next_name())
            opened: Any = _Gzip(file) if self._form.is_gzipped else file
            self._file = opened
        assert self._file is not None
        return self._file

    def _end_file(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._files.append(self._folder.synced(self._next_name()))
        self._file, self._written = None, 0


class ParquetOutput:
    """Parquet files of a million objects in a folder; a file counts when it is whole."""

    def __init__(self, folder: Path, mark: Mark | None) -> None:
        self._arrow = importlib.import_module("pyarrow")
        self._parquet = importlib.import_module("pyarrow.parquet")
        self._folder = Folder(folder)
        self._files = list(mark.files) if mark is not None else []
        self._file: Any = None
        self._writer: Any = None
        self._batches: list[Any] = []
        self._rows = self._written = 0
        text, number = self._arrow.string(), self._arrow.int64()
        self._schema = self._arrow.schema(
            [
                ("key", text),
                ("size", number),
                ("mtime", number),
                ("md5", text),
                ("url", text),
                ("key_hex", text),
            ]
        )

    @property
    def can_mark(self) -> bool:
        """See `ListOutput`."""
        return self._writer is None

    def write(self, columns: Columns) -> list[bytes]:
        """See `ListOutput`."""
        if self._writer is None:
            self._file = self._folder.create(self._next_name())
            self._writer = self._parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        self._batches.append(self._batch(columns))
        self._rows += len(columns.keys)
        if self._rows - self._written >= _GROUP_ROWS:
            self._write_group()
        if self._rows >= _PARQUET_ROWS:
            self._end_file()
        return []

    def _batch(self, columns: Columns) -> Any:  # noqa: ANN401 - a batch of pyarrow
        arrow, text = self._arrow, self._schema.field("key").type
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
        return arrow.record_batch([keys, *numbers, *texts, odd], schema=self._schema)

    def _write_group(self) -> None:
        if self._batches:
            self._writer.write_table(self._arrow.Table.from_batches(self._batches))
        self._batches, self._written = [], self._rows

    def mark(self, more: bytes) -> None:
        """See `ListOutput`."""
        write_state(self._folder, STATE, Mark(self._files, 0, msgspec.Raw(more)))

    def finish(self) -> None:
        """See `ListOutput`."""
        self._end_file()
        self._folder.remove(STATE)

    def close(self) -> None:
        """See `ListOutput`."""
        if self._writer is not None:
            self._writer.close()
            self._file.close()
        self._folder.close()

    def _next_name(self) -> str:
        return f"list-{len(self._files) + 1:05d}.parquet"

    def _end_file(self) -> None:
        if self._writer is None:
            return
        self._write_group()
        self._writer.close()
        self._file.close()
        self._files.append(self._folder.synced(self._next_name()))
        self._writer, self._rows, self._written = None, 0, 0


def open_output(name: str, form: Form, path: Path, mark: Mark | None = None) -> ListOutput:
    """Open the file of a form, or the folder of one that has several; cut back to its mark. Raises OSError where it cannot be opened."""
    if form.most_bytes is None:
        return FileOutput(form, path, mark)
    make_folder(path, parents=True)
    return FolderOutput(form, path, mark, name)


def state_of(path: Path, is_folder: bool) -> Path:
    """Return where the mark of an output lies."""
    return path / STATE if is_folder else path.with_name(path.name + STATE)


def read_state(path: Path) -> Mark | None:
    """Read a mark; None where there is none. Raises ConfigError where it cannot be read."""
    try:
        with closing(Folder(path.parent)) as folder, folder.reopen(path.name, "rb") as file:
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
        file.flush()
        os.fsync(file.fileno())
    folder.rename(fresh, name)


class _Gzip(gzip.GzipFile):
    """Closes what is below it as well."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__("", "wb", _GZIP_LEVEL, raw)
        self._raw = raw

    def close(self) -> None:
        """Write the end, and close the file."""
        super().close()
        self._raw.close()
