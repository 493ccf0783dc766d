"""Where packs lie on a volume, what they are called, and who may append to which.

    packs/VOLUME-WRITER-NUMBER.tar      a pack: the volume's id (its first six digits), the writer, the pack's number
    .bucketpull/packs/WRITER.lock       locked by the process that is this writer
    .bucketpull/packs/WRITER.open       the pack that the writer is to go on with, and where its settled part ends
    packs/VOLUME-WRITER-NUMBER.tar.index.sqlite, packs/SHA256SUMS     what is made for sealed packs

Names differ between volumes, so that packs of several disks can lie in one folder. A writer numbers its packs without gaps.
"""

import fcntl
import os
import re
from contextlib import suppress
from itertools import count
from typing import Final

from bucketpull.volumes.identity import HOME, PACKS, PREFIX_DIGITS

FOLDER: Final = PACKS
STATE: Final = f"{HOME}/packs"
NEXT: Final = -1
"""In place of an end: the writer is to begin its next pack."""
_NAME: Final = re.compile(r"([0-9a-f]{6})-(\d+)-(\d{6,})\Z")


def pack_name(volume: str, writer: int, number: int) -> str:
    """Return the name of a pack, as the ledger has it."""
    return f"{volume[:PREFIX_DIGITS]}-{writer}-{number:06d}"


def parse_name(name: str) -> tuple[int, int] | None:
    """Return writer and number of a pack; None for what is no pack's name."""
    found = _NAME.match(name)
    return (int(found[2]), int(found[3])) if found else None


def path_of(pack: str) -> str:
    """Return where a pack lies below its volume."""
    return f"{FOLDER}/{pack}.tar"


def make(root: int) -> None:
    """Make the folders for packs."""
    for folder in (FOLDER, STATE):
        with suppress(FileExistsError):
            os.mkdir(folder, 0o755, dir_fd=root)


def is_made(root: int) -> bool:
    """Tell whether the volume has, or had, packs."""
    with suppress(FileNotFoundError):
        os.stat(STATE, dir_fd=root, follow_symlinks=False)
        return True
    return False


def packs_of(root: int, volume: str) -> dict[int, list[int]]:
    """Return the numbers of all packs that this volume made, in order, by writer."""
    try:
        fd = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:
        return {}
    try:
        names = os.listdir(fd)
    finally:
        os.close(fd)
    prefix = volume[:PREFIX_DIGITS] + "-"
    found: dict[int, list[int]] = {}
    for name in names:
        place = parse_name(name.removesuffix(".tar")) if name.startswith(prefix) else None
        if place is not None and name.endswith(".tar"):
            found.setdefault(place[0], []).append(place[1])
    return {writer: sorted(numbers) for writer, numbers in sorted(found.items())}


def lock(root: int, writer: int) -> int | None:
    """Lock a writer's packs and return the lock's descriptor; None where another process has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(f"{STATE}/{writer}.lock", flags, 0o644, dir_fd=root)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def lease(root: int) -> tuple[int, int]:
    """Become the first writer that nobody is; return its number and the lock's descriptor."""
    return next((writer, fd) for writer in count() if (fd := lock(root, writer)) is not None)


def leave_open(root: int, writer: int, number: int, end: int) -> None:
    """Say which pack a writer is to go on with, and where."""
    _write(root, f"{STATE}/{writer}.open", b"%d %d\n" % (number, end))


def take_open(root: int, writer: int) -> tuple[int, int] | None:
    """Return number and end of the pack that a writer is to go on with, once; `NEXT` as often as it is asked."""
    name = f"{STATE}/{writer}.open"
    text = _read(root, name)
    if text is None:
        return None
    number, end = map(int, text.split())
    if end != NEXT:
        os.unlink(name, dir_fd=root)
    return number, end


def _write(root: int, name: str, data: bytes) -> None:
    temporary = f"{name}.new"
    fd = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=root
    )
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
    os.rename(temporary, name, src_dir_fd=root, dst_dir_fd=root)


def _read(root: int, name: str) -> bytes | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)
