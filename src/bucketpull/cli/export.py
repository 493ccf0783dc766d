"""`bucketpull export`: the manifest of a job, also in the forms of `list`: for services that fetch by URL, or for nginx to serve."""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.batching import groups
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode, VolumeError
from bucketpull.domain.keys import urls_of
from bucketpull.domain.model import bytes_of, key_of, show, text_of
from bucketpull.domain.status import VolumeState
from bucketpull.journal.database import OPTION
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.report.console import result_stream, tell
from bucketpull.report.list_forms import FORMS, Columns, Encoded, Form, NginxMap, csv_rows, spreadsheet_safe
from bucketpull.report.list_output import (
    ListOutput,
    ParquetFile,
    StreamOutput,
    check_output,
    is_folder,
    open_output,
)
from bucketpull.report.output_files import replacing
from bucketpull.volumes.live_objects import Stored
from bucketpull.wiring.file_checks import check_file
from bucketpull.wiring.ledgers import Ledgers, ledgers

NGINX: Final = "nginx-map"
PARQUET: Final = "parquet"
SHORT: Final = ["csv", "csv-safe", "jsonl", PARQUET, NGINX]
FORMATS: Final = [*SHORT[:-1], *(name for name in FORMS if name not in SHORT), NGINX]
_WHICH_FORM: Final = (
    "say once in which form: --format, --csv, --csv-safe, --jsonl, --parquet or --nginx-map; "
    "for several, run it once for each"
)


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]", type=options.UnvisitedPath())
@options.output
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    metavar="FORMAT",
    help="csv, csv-safe, jsonl and parquet are tables of where each object lies, nginx-map is for nginx to serve them; "
    "keys, keys0, urls, oss, gcs, oms and volcengine are those of `bucketpull list`.",
)
@click.option("--csv", is_flag=True, help="The same as --format csv.")
@click.option("--csv-safe", is_flag=True, help="The same as --format csv-safe.")
@click.option("--jsonl", is_flag=True, help="The same as --format jsonl.")
@click.option("--parquet", is_flag=True, help="The same as --format parquet.")
@click.option("--nginx-map", is_flag=True, help="The same as --format nginx-map.")
@click.option("--base-url", metavar="URL", help="What URLs begin with (default: the job's --cdn-url).")
@options.by_broker
@options.common
@options.interruptible("interrupted: no whole list is written; run it again")
def export(
    files: tuple[str, ...], output: str | None, form: str | None, base_url: str | None, **flags: Any
) -> int:
    """Write what the job's volumes hold: key, size, mtime, md5, volume, path, machine, file; to FILE or standard output.

    The ledgers of the volumes are read: of those that are here, or with --broker of all machines of a running job. Exit 3 if
    one cannot be had. While it runs, TMPDIR takes 20 bytes an object, where the volume is.

    \b
    bucketpull export --csv manifest.csv --job photos
    bucketpull export --jsonl --job photos | jq .key
    bucketpull export --parquet manifest.parquet --job photos
    bucketpull export --nginx-map /etc/nginx/photos.map --job photos
    bucketpull export --format urls --output urls.txt --job photos
    bucketpull export --csv manifest.csv --job photos --broker
    """
    short = [name for name in SHORT if flags.pop(name.replace("-", "_"))]
    form = _one_of([*short, *([form] if form else [])], _WHICH_FORM)
    places = [*files, *([output] if output is not None else [])]
    file = _one_of(places or ["-"], "name one place to write: FILE or --output")
    settings, by_broker = options.asking(flags)
    if form == PARQUET:
        if file == "-":
            raise ConfigError("--format parquet: give --output FILE")
        importlib.import_module("pyarrow")  # whoever lacks it is told before anything is made
    missing: list[str] = []
    with ledgers(settings, by_broker=by_broker) as found:
        base = base_url or found.configuration().get(f"{OPTION}cdn_url", "").partition(" ")[0]
        written, left_out = _write(form, _form(form, base), file, groups(_stored(found, missing), _GROUP))
    for text in missing:
        tell(f"volume {text}; its objects are missing here")
    if file != "-":
        settings.tell(f"{counted(written, 'objects')} in {file}")
    return ExitCode.INCOMPLETE if missing or left_out else ExitCode.COMPLETE


def _one_of(given: list[str], remedy: str) -> str:
    if len(given) != 1:
        raise click.UsageError(remedy)
    return given[0]


_GROUP: Final = 10_000  # objects handed to a writer at a time
_ROW_GROUP: Final = 200_000  # each of them costs 20 kB of memory until a file of Parquet is closed
COLUMNS: Final[dict[str, type]] = {
    "key": str,
    "size": int,
    "mtime": int,
    "md5": str,
    "volume": str,
    "path": str,
    "offset": int,
    "length": int,
    "machine": str,
    "mount": str,
    "file": str,
}
"""The columns of a manifest. `size` in bytes as listed, or as fetched where no list says it, `mtime` in Unix seconds, `md5` in hex ("": unknown).

An object is `length` bytes from byte `offset` of `path` on, which is below the volume: a file of its own, or a pack. `file` is the
same path in full, as it is on `machine`, where the volume is mounted at `mount`.
"""

_IN_HEX: Final = ("key_hex", "path_hex")
Held = tuple[KnownVolume, Stored]
Group = list[Held]


def _fields(volume: KnownVolume, stored: Stored, text: Callable[[bytes], str]) -> tuple[str | int, ...]:
    """Return an object's fields in the order of `COLUMNS`; `text` makes text of keys and paths."""
    path, offset, length, _ = stored.location
    return (
        text(key_of(stored.directory, stored.name)),
        stored.size if stored.size >= 0 else length,
        stored.mtime,
        stored.md5.hex(),
        volume.id,
        text(path),
        offset,
        length,
        volume.machine,
        volume.path,
        text(bytes_of(volume.path) + b"/" + path),
    )


def _row(volume: KnownVolume, stored: Stored) -> dict[str, str | int]:
    r"""Return an object's fields by name; bytes that are not UTF-8 are escaped as \xNN, and `key_hex` and `path_hex` have those of such a key and path."""
    row = dict(zip(COLUMNS, _fields(volume, stored, show), strict=True))
    for name, value in zip(_IN_HEX, (key_of(stored.directory, stored.name), stored.location[0]), strict=True):
        try:
            value.decode()
        except UnicodeDecodeError:
            row[name] = value.hex()
    return row


def _stored(ledgers: Ledgers, missing: list[str]) -> Iterator[Held]:
    """Give volume and object, of those below the job's prefix: jobs may share a disk."""
    prefix = bytes_of(ledgers.configuration().get("prefix", ""))
    for volume in ledgers.volumes():
        if volume.state is VolumeState.LOST:
            continue
        try:
            for page in ledgers.objects(volume, prefix):
                missing += [f"{volume.id}: {damage}" for damage in page.damages]
                for stored in page.rows:
                    yield volume, stored
        except VolumeError as error:
            missing.append(f"{volume.id} ({volume.machine}:{volume.path}): {error.detail}")


def _csv(group: Group, safe: Callable[[str], str] = str) -> Encoded:
    """Write keys and paths byte by byte as they are, or as `safe` makes them."""
    return Encoded(csv_rows(_fields(*held, lambda text: safe(text_of(text))) for held in group), [])


def _jsonl(group: Group) -> Encoded:
    return Encoded(msgspec.json.Encoder().encode_lines([_row(*held) for held in group]), [])


def _no_bytes(group: Group) -> Encoded:
    raise NotImplementedError  # see `ParquetManifest.write`


_HEAD: Final = (",".join(COLUMNS) + "\n").encode()
MANIFESTS: Final[dict[str, Form[Group]]] = {
    "csv": Form(_csv, ".csv", _HEAD),
    "csv-safe": Form(partial(_csv, safe=spreadsheet_safe), ".csv", _HEAD),
    "jsonl": Form(_jsonl, ".jsonl"),
    PARQUET: Form(_no_bytes, ".parquet"),
}


class ParquetManifest(StreamOutput[Group]):
    """A manifest as Parquet."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(MANIFESTS[PARQUET], stream)
        self._file = ParquetFile(stream, COLUMNS | dict.fromkeys(_IN_HEX, str), _ROW_GROUP)

    def write(self, objects: Group) -> list[bytes]:
        """See `ListOutput`."""
        rows = [{**dict.fromkeys(_IN_HEX, ""), **_row(*held)} for held in objects]
        self._file.add(importlib.import_module("pyarrow").RecordBatch.from_pylist(rows, self._file.schema))
        return []

    def finish(self) -> None:
        """See `ListOutput`."""
        self.close()
        super().finish()

    def close(self) -> None:
        """See `ListOutput`."""
        self._file.close()


def _output(form: Form[Group], stream: BinaryIO) -> ListOutput[Group]:
    return ParquetManifest(stream) if form is MANIFESTS[PARQUET] else StreamOutput(form, stream)


def _form(name: str, base: str) -> Form[Group]:
    """Return the form of a name; `base` is what objects' URLs begin with, "" if that is not known. Raises ConfigError where it needs that."""
    if name in MANIFESTS:
        return MANIFESTS[name]
    if name == NGINX:
        nginx = NginxMap()
        return Form(lambda group: nginx.encode(_columns(group, _paths(group))), ".map")
    listed = FORMS[name]
    if listed.needs_urls and not base:
        raise ConfigError(f"--format {name}: where can the objects be fetched? Give --base-url")
    above = base.rstrip("/") + "/"
    return Form(lambda group: listed.encode(_columns(group, urls_of(above, _keys(group)))), *listed[1:])


@contextmanager
def _opened(name: str, form: Form[Group], file: str) -> Iterator[ListOutput[Group]]:
    """Open where a form goes; a file lies under another name until it is whole; - is standard output.

    Raises ConfigError where it cannot go there.
    """
    check_output(name, form, None if file == "-" else Path(file))
    if file == "-":
        yield StreamOutput(form, result_stream(name))
        return
    if not is_folder(form) and (os.path.isdir(file) or not os.path.exists(file)):
        check_file("--output", file)
    try:
        if is_folder(form) or form.is_sorted:
            with closing(open_output(form, Path(file))) as output:
                yield output
        else:
            with replacing(file) as stream, closing(_output(form, stream)) as output:
                yield output
    except OSError as error:
        raise ConfigError(
            f"{file}: not written: {error.strerror or error}; name a file that can be"
        ) from error


def _write(name: str, form: Form[Group], file: str, stored: Iterable[Group]) -> tuple[int, int]:
    """Write objects; return how many were written, and how many have no place in the form."""
    written = 0
    left_out: list[bytes] = []
    with _opened(name, form, file) as output:
        for group in stored:
            odd = output.write(group)
            written += len(group) - len(odd)
            left_out += odd
        output.finish()
    if left_out:
        shown = ", ".join(show(key) for key in left_out[:3])
        tell(f"left out: {counted(len(left_out), 'keys')} that this form cannot hold, such as {shown}")
        if name == NGINX:
            tell(
                "nginx reads no packs, takes keys that differ in upper and lower case alone for one, and no key with `$`, control characters or "
                "4,000 bytes: `bucketpull serve` has them all"
            )
    return written, len(left_out)


def _keys(group: Group) -> list[bytes]:
    return [key_of(stored.directory, stored.name) for _, stored in group]


def _columns(group: Group, urls: list[str]) -> Columns:
    return Columns(
        _keys(group),
        [stored.location.length for _, stored in group],
        [stored.mtime for _, stored in group],
        [stored.md5.hex() for _, stored in group],
        urls,
    )


def _paths(group: Group) -> list[str]:
    """Return the full paths of files; nginx can serve no objects in packs, which have "" here."""
    return [
        "" if stored.location.pack else text_of(os.path.join(os.fsencode(volume.path), stored.location.path))
        for volume, stored in group
    ]
