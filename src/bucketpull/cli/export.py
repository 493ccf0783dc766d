"""`bucketpull export`: the manifest of a job, also in the forms of `list`: for services that fetch by URL, or for nginx to serve."""

import csv
import importlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.errors import ConfigError, ExitCode, VolumeError
from bucketpull.domain.model import VolumeState, key_of, show
from bucketpull.domain.percent_encoding import urls_of
from bucketpull.journal.configuration import OPTION
from bucketpull.journal.volumes import KnownVolume
from bucketpull.report.figures import count
from bucketpull.report.list_output import FileOutput, FolderOutput, ListOutput, StreamOutput
from bucketpull.report.manifests import FORMS, Columns, Encoded, Form, nginx_map, spreadsheet_safe
from bucketpull.report.own_file import replacing
from bucketpull.trusted_path import make_folder
from bucketpull.volumes.live_objects import Stored
from bucketpull.wiring.file_checks import check_file
from bucketpull.wiring.ledgers import Ledgers, ledgers
from bucketpull.wiring.output import result_stream, tell
from bucketpull.wiring.settings import Settings

NGINX: Final = "nginx-map"
NAMES: Final = [*(name for name in FORMS if name not in {"csv", "csv-safe", "jsonl"}), NGINX]


@click.command()
@click.option("--csv", "form", flag_value="csv", help="Write comma-separated values with a header.")
@click.option(
    "--csv-safe",
    "form",
    flag_value="csv-safe",
    help="The same for a spreadsheet: what it could take for a formula stands behind an apostrophe.",
)
@click.option("--jsonl", "form", flag_value="jsonl", help="Write one JSON object a line.")
@click.option(
    "--parquet", "form", flag_value="parquet", help="Write Parquet; needs pip install 'bucketpull[parquet]'."
)
@click.option(
    "--format",
    "listed",
    type=click.Choice([name for name in NAMES if name != NGINX]),
    help="Write keys, URLs, or the list of a service that fetches by URL; see `bucketpull list`.",
)
@click.option(
    "--nginx-map", "form", flag_value=NGINX, help="Write a map for nginx: URI and file of each key."
)
@click.option("--base-url", metavar="URL", help="What URLs begin with (default: the job's --cdn-url).")
@click.argument("file", default="-", type=click.Path(allow_dash=True))
@options.by_broker
@options.common
def export(form: str | None, listed: str | None, file: str, base_url: str | None, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Write what the job's volumes hold: key, size, mtime, md5, volume, path, machine, file; to FILE or standard output.

    The ledgers of the volumes are read: of those that are here, or with --broker of all machines of a running job. Exit 3 if
    one cannot be had. TMPDIR takes 20 bytes an object for the while, where the volume is.

    \b
    bucketpull export --csv manifest.csv --job photos
    bucketpull export --jsonl --job photos | jq .key
    bucketpull export --parquet manifest.parquet --job photos
    bucketpull export --nginx-map /etc/nginx/photos.map --job photos
    bucketpull export --parquet manifest.parquet --job photos --broker
    """  # noqa: D301
    form = listed or form
    if form is None:
        raise click.UsageError(
            "say in which form: --csv, --csv-safe, --jsonl, --parquet, --format or --nginx-map"
        )
    settings, by_broker = options.asking(flags)
    if form in NAMES:
        return _write_as(settings, form, file, base_url, by_broker=by_broker)
    return _write(settings, form, file, by_broker=by_broker)


COLUMNS = ("key", "size", "mtime", "md5", "volume", "path", "offset", "length", "machine", "mount", "file")
_GROUP = 10_000  # rows handed to the writer at a time


class ManifestRow(msgspec.Struct):
    r"""An object. `size` in bytes as listed, `mtime` in Unix seconds, `md5` in hex ("": unknown).

    It is `length` bytes from byte `offset` of `path` on, which is below the volume: a file of its own, or a pack.

    `file` is the same path in full, as it is on `machine`, where the volume is mounted at `mount`.

    `key`, `path` and `file` are UTF-8; bytes that are none are escaped as \xNN, and `key_hex` has the key's bytes then.
    """

    key: str
    size: int
    mtime: int
    md5: str
    volume: str
    path: str
    offset: int
    length: int
    machine: str
    mount: str
    file: str
    key_hex: str = ""


Held = tuple[KnownVolume, Stored]
Write = Callable[[list[Held]], None]


def _write(settings: Settings, form: str, file: str, *, by_broker: bool) -> ExitCode:
    """Write the manifest; exit 3 if a volume is not here."""
    open_writer = _WRITERS[form]
    if form == "parquet" and (file == "-" or _parquet() is None):
        remedy = "give a FILE to write" if file == "-" else "pip install 'bucketpull[parquet]'"
        raise ConfigError(f"export --parquet: {remedy}, or export --jsonl")
    if file != "-" and not os.path.exists(file):
        check_file(f"export --{form}", file)
    elif os.path.isdir(file):
        raise ConfigError(f"export --{form} {file}: is a directory; name a file")
    with ledgers(settings, by_broker=by_broker) as found:
        missing: list[str] = []
        with _target(file) as stream, open_writer(stream) as write:
            rows = _write_all(_stored(found, missing), write)
    for text in missing:
        tell(f"volume {text}; its objects are missing here")
    if not settings.quiet and file != "-":
        tell(f"{count(rows)} objects in {file}")
    return ExitCode.INCOMPLETE if missing else ExitCode.COMPLETE


def _write_as(settings: Settings, form: str, file: str, base_url: str | None, *, by_broker: bool) -> ExitCode:
    """Write a form of `list`; exit 3 if a volume is not here, or a key has no place in the form."""
    with ledgers(settings, by_broker=by_broker) as found:
        base = base_url or found.configuration().get(f"{OPTION}cdn_url", "").partition(" ")[0]
        check_form(form, file, base)
        missing: list[str] = []
        base = base.rstrip("/") + "/"
        rows, left_out = write_form(form, file, base, _stored(found, missing))
    for text in missing:
        tell(f"volume {text}; its objects are missing here")
    if not settings.quiet and file != "-":
        tell(f"{count(rows)} objects in {file}")
    return ExitCode.INCOMPLETE if missing or left_out else ExitCode.COMPLETE


def _write_all(stored: Iterator[Held], write: Write) -> int:
    rows = 0
    group: list[Held] = []
    for each in stored:
        group.append(each)
        if len(group) == _GROUP:
            write(group)
            rows, group = rows + len(group), []
    write(group)
    return rows + len(group)


def _stored(ledgers: Ledgers, missing: list[str]) -> Iterator[Held]:
    """Give volume and object, of those below the job's prefix: jobs may share a disk."""
    prefix = ledgers.configuration().get("prefix", "").encode("utf-8", "surrogateescape")
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


@contextmanager
def _target(file: str) -> Iterator[BinaryIO]:
    """Open the file under another name until it is whole; - is standard output."""
    if file == "-":
        yield result_stream()
        return
    try:
        with replacing(Path(file)) as stream:
            yield stream
    except OSError as error:
        raise ConfigError(
            f"{file}: not written: {error.strerror or error}; name a file that can be"
        ) from error


def _row(volume: KnownVolume, stored: Stored) -> ManifestRow:
    key = key_of(stored.directory, stored.name)
    path, offset, length, _ = stored.location
    sums = (stored.size, stored.mtime, stored.md5.hex(), volume.id)
    full = f"{volume.path}/{show(path)}"
    row = ManifestRow(show(key), *sums, show(path), offset, length, volume.machine, volume.path, full)
    try:
        key.decode()
    except UnicodeDecodeError:
        row.key_hex = key.hex()
    return row


def _csv(stream: BinaryIO, shown: Callable[[str], str] = str) -> AbstractContextManager[Write]:
    """Write keys and paths byte by byte as they are, or as `shown` makes them."""

    def write(group: list[Held]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for volume, stored in group:
            key = key_of(stored.directory, stored.name)
            path, offset, length, _ = stored.location
            sums = (stored.size, stored.mtime, stored.md5.hex(), volume.id)
            where = (volume.machine, volume.path, shown(f"{volume.path}/{_raw(path)}"))
            writer.writerow((shown(_raw(key)), *sums, shown(_raw(path)), offset, length, *where))
        stream.write(text.getvalue().encode("utf-8", "surrogateescape"))

    stream.write((",".join(COLUMNS) + "\n").encode())
    return nullcontext(write)


def _raw(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _jsonl(stream: BinaryIO) -> AbstractContextManager[Write]:
    def write(group: list[Held]) -> None:
        for volume, stored in group:
            row = msgspec.structs.asdict(_row(volume, stored))
            if not row["key_hex"]:
                del row["key_hex"]
            stream.write(msgspec.json.encode(row) + b"\n")

    return nullcontext(write)


def _parquet() -> Any:  # noqa: ANN401 - an optional library
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        return None


@contextmanager
def _parquet_writer(stream: BinaryIO) -> Iterator[Write]:
    arrow, parquet = _parquet()
    text, number = arrow.string(), arrow.int64()
    types = {
        "key": text,
        "size": number,
        "mtime": number,
        "md5": text,
        "volume": text,
        "path": text,
        "offset": number,
        "length": number,
        "machine": text,
        "mount": text,
        "file": text,
        "key_hex": text,
    }
    schema = arrow.schema(list(types.items()))

    def write(group: list[Held]) -> None:
        rows = [msgspec.structs.asdict(_row(volume, stored)) for volume, stored in group]
        if rows:
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))

    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        yield write


_WRITERS: dict[str, Callable[[BinaryIO], AbstractContextManager[Write]]] = {
    "csv": _csv,
    "csv-safe": partial(_csv, shown=spreadsheet_safe),
    "jsonl": _jsonl,
    "parquet": _parquet_writer,
}


def check_form(name: str, file: str, base: str) -> None:
    """Make sure that a form can be written where it is wanted.

    Raises:
        ConfigError: It cannot.

    """
    form = FORMS.get(name)
    if form is not None and form.needs_urls and not base:
        raise ConfigError(f"--format {name}: where can the objects be fetched? Give --base-url")
    if form is not None and file == "-" and (form.most_bytes is not None or form.is_sorted):
        raise ConfigError(f"--format {name}: name a {'folder' if form.most_bytes else 'file'} to write")


def write_form(
    name: str,
    file: str,
    base: str,
    stored: Iterable[tuple[KnownVolume, Stored]],
) -> tuple[int, int]:
    """Write objects in a form.

    Args:
        name: The form, one of `NAMES`.
        file: Where to; "-" is standard output.
        base: What the objects' URLs begin with.
        stored: Volume and object.

    Returns:
        How many objects were written, and how many have no place in the form.

    """
    written = 0
    left_out: list[bytes] = []
    with closing(_open(name, file)) as output:
        encode = _nginx(output) if name == NGINX else None
        for group in _groups(stored):
            columns = _columns(group, base)
            odd = output.write(columns) if encode is None else encode(group, columns)
            written += len(group) - len(odd)
            left_out += odd
        output.finish()
    if left_out:
        shown = ", ".join(show(key) for key in left_out[:3])
        tell(f"{count(len(left_out))} keys have no place in this form and are left out, such as {shown}")
        if name == NGINX:
            tell("nginx reads no packs: what lies in them is served by `bucketpull serve`")
    return written, len(left_out)


def _open(name: str, file: str) -> ListOutput:
    form = FORMS.get(name) or Form(lambda columns: Encoded(b"", columns.keys), ".map")
    if form.most_bytes is not None:
        make_folder(file, parents=True)
        return FolderOutput(form, Path(file), None, name)
    return StreamOutput(form, result_stream()) if file == "-" else FileOutput(form, Path(file), None)


def _groups(stored: Iterable[tuple[KnownVolume, Stored]]) -> Iterable[list[tuple[KnownVolume, Stored]]]:
    group: list[tuple[KnownVolume, Stored]] = []
    for each in stored:
        group.append(each)
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group


def _columns(group: list[tuple[KnownVolume, Stored]], base: str) -> Columns:
    keys = [key_of(stored.directory, stored.name) for _, stored in group]
    return Columns(
        keys,
        [stored.location.length for _, stored in group],
        [stored.mtime for _, stored in group],
        [stored.md5.hex() for _, stored in group],
        urls_of(base, keys),
    )


def _nginx(
    output: ListOutput,
) -> Callable[[list[tuple[KnownVolume, Stored]], Columns], list[bytes]]:
    """Return what writes lines for nginx; objects in packs are no files that it could serve."""

    def write(group: list[tuple[KnownVolume, Stored]], columns: Columns) -> list[bytes]:
        files = [
            b"" if stored.location.pack else os.path.join(os.fsencode(volume.path), stored.location.path)
            for volume, stored in group
        ]
        good = [place for place, path in enumerate(files) if path]
        packed = [key for key, path in zip(columns.keys, files, strict=True) if not path]
        encoded = nginx_map([columns.keys[place] for place in good], [files[place] for place in good])
        output.put(encoded.data)
        return encoded.left_out + packed

    return write
