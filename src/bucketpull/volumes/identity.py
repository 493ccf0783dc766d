"""What makes a directory a volume: the folder `.bucketpull` with an id in it. Made only when asked for."""

import contextlib
import os
import re
import secrets
import unicodedata
from collections.abc import Callable
from typing import Final

import msgspec

from bucketpull.domain import keys
from bucketpull.domain.errors import VolumeError, VolumeSick
from bucketpull.domain.model import key_of
from bucketpull.volumes import os_errors, system

HOME: Final = ".bucketpull"
LEDGER: Final = f"{HOME}/ledger"
FORMAT: Final = 1
PACKS_FORMAT: Final = 2
"""A volume on which a ledger says of packs; a version that knows only files must not read it."""
_NAME: Final = f"{HOME}/volume.json"
PACKS: Final = "packs"
PREFIX_DIGITS: Final = 6
"""So many digits of a volume's id begin the names of its packs."""
_OF_PACKS: Final = re.compile(
    rb"packs/(?:([0-9a-f]{6})-\d+-\d{6,}\.tar(?:\.index\.sqlite)?|SHA256SUMS)(?:\.new)?\Z"
)
_PROBE: Final = "Probe-\u00e9"


class Identity(msgspec.Struct, frozen=True):
    """The content of `volume.json`. `layout` is "key" or "hashed"; `folds_case` says that names differing only in case are one."""

    id: str
    layout: str = "key"
    folds_case: bool = False
    format: int = FORMAT

    def path_of(self, directory: bytes, name: bytes) -> bytes:
        """Return where an object lies on this volume, unless its record says otherwise."""
        key = key_of(directory, name)
        if self.layout == "hashed":
            return keys.hashed_path_of(key, self.folds_case)
        path = keys.path_of(key, self.folds_case)
        return keys.MARK + path if self.is_of_packs(path) else path

    def is_of_packs(self, path: bytes) -> bool:
        """Tell whether a path below the volume is that of one of its packs, or of what belongs to them."""
        found = _OF_PACKS.match(path) if path.startswith(b"packs/") else None
        return found is not None and found[1] in {None, self.id[:PREFIX_DIGITS].encode()}


def identify(path: str) -> str | None:
    """Return the id of the volume at a path; None where there is none (an empty mount point, for example).

    Raises:
        VolumeError: There is something that is no volume of this version, or it cannot be read.

    """
    try:
        root = open_root(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_errors.volume_error(path, "not opened", error) from error
    try:
        found = read(root, path)
    finally:
        os.close(root)
    return found.id if found else None


def initialise(path: str, layout: str = "key") -> str:
    """Make a volume of a directory (which may hold other files) and return its id; a volume keeps its id.

    Raises:
        VolumeError: The directory is not there or cannot be written.

    """
    try:
        root = open_root(path)
    except OSError as error:
        raise os_errors.volume_error(path, "not opened", error) from error
    try:
        known = read(root, path)
        return known.id if known else _write(root, layout).id
    except OSError as error:
        raise os_errors.volume_error(path, "not initialised", error) from error
    finally:
        os.close(root)


def enter(path: str, expected: str | None) -> tuple[int, Identity]:
    """Open the volume at a path, which must be the expected one (None: any); return its root's descriptor and its identity.

    Raises:
        VolumeSick: It is not there: unmounted, or another disk in its place.

    """
    try:
        root = open_root(path)
    except OSError as error:
        raise os_errors.volume_error(path, "not opened", error) from error
    try:
        identity = read(root, path)
        if identity is None:
            raise VolumeSick(path, "is no volume; is the disk mounted?" if expected else "is no volume yet")
        if expected not in {None, identity.id}:
            raise VolumeSick(path, f"holds volume {identity.id} instead of {expected}; mount the right disk")
    except BaseException:
        os.close(root)
        raise
    return root, identity


def open_root(path: str) -> int:
    """Open the directory itself, so that what is mounted over it later is not mistaken for it."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_below(root: int) -> Callable[[str, int], int]:
    """Return an opener for `open` that takes names below an open directory and follows no symbolic link at the end."""
    return lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=root)


def read(root: int, path: str) -> Identity | None:
    """Read the identity below an open directory.

    Raises:
        VolumeError: It cannot be read, or belongs to another version.

    """
    try:
        with open(_NAME, "rb", opener=open_below(root)) as file:
            found = msgspec.json.decode(file.read(), type=Identity)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_errors.volume_error(path, f"{_NAME} not read", error) from error
    except msgspec.DecodeError as error:
        raise VolumeError(path, f"{_NAME} not understood: {error}") from error
    if found.format not in {FORMAT, PACKS_FORMAT}:
        raise VolumeError(
            path,
            f"has format {found.format}, this version knows {PACKS_FORMAT}; use the version that made it",
        )
    return found


def mark_packs(root: int, identity: Identity) -> Identity:
    """Say durably that the volume has packs, and return its new identity."""
    if identity.format == PACKS_FORMAT:
        return identity
    marked = msgspec.structs.replace(identity, format=PACKS_FORMAT)
    os.rename(_write_beside(root, marked), _NAME, src_dir_fd=root, dst_dir_fd=root)
    return marked


def _write(root: int, layout: str) -> Identity:
    with contextlib.suppress(FileExistsError):
        os.mkdir(HOME, 0o755, dir_fd=root)
    made = Identity(secrets.token_hex(6), layout, _folds_case(root))
    temporary = _write_beside(root, made)
    # A volume without a ledger is damaged, so a new one has it from its first moment.
    os.close(os.open(LEDGER, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644, dir_fd=root))
    os.rename(temporary, _NAME, src_dir_fd=root, dst_dir_fd=root)
    system.sync_file_system(root)
    return made


def _write_beside(root: int, identity: Identity) -> str:
    """Write an identity durably under a temporary name, and return that."""
    temporary = f"{HOME}/volume.{secrets.token_hex(4)}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=root)
    try:
        os.write(fd, msgspec.json.encode(identity) + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    return temporary


def _folds_case(root: int) -> bool:
    """Find out whether the file system takes names that differ only in case, or in Unicode form, for the same."""
    name = f"{HOME}/{_PROBE}".encode()
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644, dir_fd=root))
    try:
        others = (_PROBE.swapcase(), unicodedata.normalize("NFD", _PROBE))
        return any(_exists(root, f"{HOME}/{other}".encode()) for other in others)
    finally:
        os.unlink(name, dir_fd=root)


def _exists(root: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=root)
    except FileNotFoundError:
        return False
    return True
