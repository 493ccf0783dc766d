"""`export` in the forms of `list`: what was stored, for services that fetch by URL, or for nginx to serve by the old URLs."""

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.model import key_of, show
from bucketpull.domain.percent_encoding import urls_of
from bucketpull.journal.volumes import KnownVolume
from bucketpull.report.figures import count
from bucketpull.report.list_output import FileOutput, FolderOutput, ListOutput, StreamOutput
from bucketpull.report.manifests import FORMS, Columns, Encoded, Form, nginx_map
from bucketpull.trusted_path import make_folder
from bucketpull.volumes.live_objects import Stored
from bucketpull.wiring.output import tell

NGINX: Final = "nginx-map"
NAMES: Final = [*(name for name in FORMS if name not in {"csv", "csv-safe", "jsonl"}), NGINX]
_GROUP: Final = 10_000


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
        name: The form, of `NAMES`.
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
    return written, len(left_out)


def _open(name: str, file: str) -> ListOutput:
    form = FORMS.get(name) or Form(lambda columns: Encoded(b"", columns.keys), ".map")
    if form.most_bytes is not None:
        make_folder(file, parents=True)
        return FolderOutput(form, Path(file), None, name)
    return StreamOutput(form, sys.stdout.buffer) if file == "-" else FileOutput(form, Path(file), None)


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
