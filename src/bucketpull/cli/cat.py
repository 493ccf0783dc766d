"""`bucketpull cat`: one object's bytes."""

import os
import sys
from io import BufferedReader
from typing import Any, Final

import click

from bucketpull.cli import options
from bucketpull.domain.errors import ExitCode
from bucketpull.reading.bucket import Bucket
from bucketpull.report.console import tell
from bucketpull.wiring.journals import volumes_here
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.volume_opening import all_opened_to_read, check_copies

_PIECE_BYTES: Final = 1 << 20


@click.command()
@click.argument("key")
@click.argument("volumes", metavar="[VOLUME...]", nargs=-1)
@options.common
def cat(key: str, **flags: Any) -> int:
    """Write the bytes of the object KEY to standard output, from a file or a pack; exit 3 if it is not here.

    It looks on the VOLUMEs, or without any on those of the job that are on this machine. The first time an index of a volume's
    ledger is made, four seconds a million objects.

    \b
    bucketpull cat 2024/img-000.jpg /mnt/d1 /mnt/d2 >img-000.jpg
    bucketpull cat 2024/img-000.jpg --job photos | file -
    """
    return _write(options.settings(flags), key)


def _write(settings: Settings, key: str) -> ExitCode:
    paths = settings.volumes or volumes_here(settings)
    check_copies(paths)
    with all_opened_to_read(paths):  # or say that one is no volume
        pass
    with Bucket(paths) as bucket:
        try:
            file = _open(bucket, os.fsencode(key))
            while piece := file.read(_PIECE_BYTES):
                sys.stdout.buffer.write(piece)
        except KeyError:
            tell(
                f"{key}: is on none of {', '.join(paths)}; `bucketpull where` says whether the job has it elsewhere"
            )
            return ExitCode.INCOMPLETE
        except OSError as error:
            tell(f"{key}: not read: {error.strerror or error}; `bucketpull verify` says what else is missing")
            return ExitCode.INCOMPLETE
    sys.stdout.buffer.flush()
    return ExitCode.COMPLETE


def _open(bucket: Bucket, key: bytes) -> BufferedReader:
    """Open an object; where there is none of a key with a leading slash, the one without is meant."""
    try:
        file = bucket.open(key)
    except KeyError:
        key = key.lstrip(b"/")
        file = bucket.open(key)
    read, *others = bucket.copies(key)
    for other in others:
        if (other.size, other.mtime) != (read.size, read.mtime):
            tell(
                f"{read.key}: {other.path} has an older version of it than {read.path}, which is read; `bucketpull prune` with both volumes removes it"
            )
    return file
