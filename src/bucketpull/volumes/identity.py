"""What makes a directory a volume: the folder `.bucketpull` with an id in it. Made only when asked for."""

import fcntl
import os
import re
import secrets
from contextlib import ExitStack, closing, suppress
from string import ascii_letters, digits
from typing import Final

import msgspec

from bucketpull.domain import keys
from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.errors import ConfigError, VolumeError, VolumeSick
from bucketpull.domain.model import key_of
from bucketpull.domain.record import Record
from bucketpull.volumes import beneath, os_errors, syscalls
from bucketpull.volumes.beneath import OwnDirectory, closing_fd, open_root
from bucketpull.volumes.ledger import LEDGER, Ledger
from bucketpull.volumes.os_errors import Culprit

HOME: Final = ".bucketpull"
LOCK: Final = "lock"
TEMPORARY: Final = "tmp"
FORMAT: Final = 1
PACKS_FORMAT: Final = 2
"""A volume on which a ledger says of packs; a version that knows only files must not read it."""
_NAME: Final = "volume.json"
PACKS: Final = "packs"
PREFIX_DIGITS: Final = 6
"""So many digits of a volume's id begin the names of its packs."""
_OF_PACKS: Final = rb"packs/(?:([0-9a-f]{6})-\d+-\d{6,}\.tar(?:\.index\.sqlite)?|SHA256SUMS)(?:\.new)?\Z"
_OF_ID: Final = frozenset(ascii_letters + digits + "_-")
_LONGEST_ID: Final = 64
_PROBE: Final = "Probe-\u00e9"
# FAT by UTF-8 and XFS with `version=ci` fold ASCII alone; a server of Windows drops a dot at the end.
_ALIASES: Final = ("pROBE-\u00e9", "pROBE-\u00c9", "Probe-e\u0301", "Probe-\u00e9.")


class Owner(msgspec.Struct, frozen=True):
    """The job whose objects a volume has: its journal's id, and what tells its source (`SourceSettings.identity`)."""

    journal: str
    source: dict[str, str] = {}


class Identity(msgspec.Struct, frozen=True):
    """The content of `volume.json`. `layout` is "key" or "hashed"; `folds_case` says that names differing only in case are one."""

    id: str
    layout: str = "key"
    folds_case: bool = False
    format: int = FORMAT
    owner: Owner | None = None

    def path_of(self, directory: bytes, name: bytes) -> bytes:
        """Return where an object lies on this volume, unless its record says otherwise."""
        key = key_of(directory, name)
        if self.layout == "hashed":
            return keys.hashed_path_of(key, self.folds_case)
        path = keys.path_of(key, self.folds_case)
        return keys.MARK + path if self.is_of_packs(path) else path

    def file_of(self, record: Record, index: int) -> bytes:
        """Return where the file of a stored object lies."""
        return record.paths.get(index) or self.path_of(*record.id_at(index))

    def is_of_packs(self, path: bytes) -> bool:
        """Tell whether a path below the volume is that of one of its packs, or of what belongs to them."""
        found = re.match(_OF_PACKS, path) if path.startswith(b"packs/") else None
        return found is not None and found[1] in {None, self.id[:PREFIX_DIGITS].encode()}


class Entered(msgspec.Struct, frozen=True):
    """A volume that is open: the descriptor of its root, our own directory on it, and who it is."""

    root: int
    home: OwnDirectory
    identity: Identity

    def close(self) -> None:
        """Close our directory and the root."""
        self.home.close()
        os.close(self.root)


def identify(path: str) -> str | None:
    """Return the id of the volume at a path; None where there is none (an empty mount point, for example).

    Raises VolumeError where there is something that is no volume of this version, or it cannot be read.
    """
    with os_errors.volume_errors(path, "not opened"):
        try:
            found = _opened(path, writing=False)
        except FileNotFoundError:
            return None
    if found is None:
        return None
    found.close()
    return found.identity.id


def owner_at(path: str) -> tuple[Owner | None, int]:
    """Return whose the volume at a path is, and how many objects it has; (None, 0) where there is none. Raises as `identify`."""
    if identify(path) is None:
        return None, 0
    with closing(enter(path, None)) as entered:
        ledger = Ledger.open(entered.home, path, writable=False)
        with closing(ledger):
            return entered.identity.owner, ledger.objects


def initialise(path: str, layout: str = "key") -> str:
    """Make a volume of a directory (which may hold other files) and return its id; a volume keeps its id.

    Raises VolumeError where the directory is not there, cannot be written, or a link of somebody else leads there.
    """
    with os_errors.volume_errors(path, "not opened"):
        root = open_root(path, writing=True)
    try:
        with os_errors.volume_errors(path, "not initialised"):
            beneath.make(root, HOME, 0o755)
            with closing(OwnDirectory.open(root, HOME, path, writing=True)) as home:
                known = _read(home, path)
                return known.id if known is not None else _make(home, path, layout).id
    finally:
        os.close(root)


def _make(home: OwnDirectory, path: str, layout: str) -> Identity:
    """Make a volume, unless another process does at this moment; return its identity."""
    # A volume without a ledger is damaged, so a new one has it from its first moment.
    with closing_fd(home.open_file(LEDGER, os.O_WRONLY | os.O_CREAT)) as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        made = _read(home, path)
        return made or _written(home, Identity(secrets.token_hex(6), layout, _folds_case(home.fd)))


def enter(path: str, expected: str | None, *, writing: bool = False) -> Entered:
    """Open the volume at a path, which must be the expected one (None: any).

    Raises:
        VolumeSick: It is not there: unmounted, or another disk in its place.
        VolumeForeign: With `writing`, its own directory is somebody else's, or a link of somebody else leads there.

    """
    with os_errors.volume_errors(path, "not opened"):
        found = _opened(path, writing=writing)
    if found is None:
        raise VolumeSick(
            path,
            "is not a volume; is the disk mounted?"
            if expected
            else "is not a volume yet; `bucketpull sync` makes it one",
        )
    if expected not in {None, found.identity.id}:
        found.close()
        raise VolumeSick(
            path, f"holds volume {found.identity.id} instead of {expected}; mount the right disk"
        )
    return found


def _opened(path: str, *, writing: bool) -> Entered | None:
    """Open the volume at a path; None where the directory is none. Raises OSError where the directory cannot be opened."""
    with ExitStack() as stack:
        root = open_root(path, writing=writing)
        stack.callback(os.close, root)
        try:
            home = OwnDirectory.open(root, HOME, path, writing=writing)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise os_errors.volume_error(path, f"{HOME} not opened", error) from error
        stack.callback(home.close)
        identity = _read(home, path)
        if identity is None:
            return None
        stack.pop_all()
        return Entered(root, home, identity)


_decode = json_decoder(Identity)


def _read(home: OwnDirectory, path: str) -> Identity | None:
    """Read the identity. Raises VolumeError where it cannot be read, or belongs to another version."""
    try:
        found = _decode(home.read(_NAME))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_errors.volume_error(path, f"{HOME}/{_NAME} not read", error) from error
    except msgspec.DecodeError as error:
        raise VolumeError(path, f"{HOME}/{_NAME} not understood: {error}; put a copy of it back") from error
    if not (0 < len(found.id) <= _LONGEST_ID and _OF_ID.issuperset(found.id)):
        # It is a part of names: of packs, of what is kept in the cache.
        raise VolumeError(
            path,
            f"{HOME}/{_NAME} not understood: {found.id[:80]!a} is no id of a volume; put a copy of it back",
        )
    if found.format not in {FORMAT, PACKS_FORMAT}:
        raise VolumeError(
            path,
            f"has format {found.format}, this version knows {PACKS_FORMAT}; use the version that made it",
        )
    return found


def mark_packs(home: OwnDirectory, identity: Identity) -> Identity:
    """Say durably that the volume has packs, and return its new identity."""
    return _written(home, msgspec.structs.replace(identity, format=PACKS_FORMAT), identity)


def mark_owner(home: OwnDirectory, identity: Identity, owner: Owner) -> Identity:
    """Say durably whose a volume is, and return its new identity."""
    return _written(home, msgspec.structs.replace(identity, owner=owner), identity)


def _written(home: OwnDirectory, identity: Identity, before: Identity | None = None) -> Identity:
    """Write an identity durably, unless it is as before, and return it."""
    if identity != before:
        home.replace(_NAME, msgspec.json.encode(identity) + b"\n")
        syscalls.sync_file_system(home.fd)  # the name too; not every file system syncs a folder alone
    return identity


def _folds_case(directory: int) -> bool:
    """Find out whether the file system takes names that differ only in case, in Unicode form or in a dot at their end for the same."""
    os.close(beneath.create(directory, _PROBE.encode()))
    try:
        return any(beneath.look(directory, alias.encode()) is not None for alias in _ALIASES)
    finally:
        beneath.remove(directory, _PROBE.encode())


def check_names(entered: Entered, path: str) -> None:
    """Make sure that the file system tells names apart as it did when the volume was made: it may be a copy, or mounted otherwise.

    Raises VolumeSick where it does not: an object would overwrite another.
    """
    folds = False
    if not entered.identity.folds_case:
        with suppress(OSError):  # as of a full disk
            folds = _folds_case(entered.home.fd)
    if folds:
        raise VolumeSick(
            path,
            "its file system takes `A` and `a` for one name, and the volume was made where they are two: objects would overwrite each "
            "other. Mount it as it was, or put it on a disk that tells them apart; to store on this one, name an empty folder",
        )


def take_lock(entered: Entered, path: str) -> int:
    """Lock a volume for this process; the lock is held while the descriptor is open. Raises ConfigError where another process has it."""
    with ExitStack() as undo:
        # Nobody else may read it: whoever can open it can lock it, and so keep us out.
        fd = entered.home.open_file(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        undo.callback(os.close, fd)
        with suppress(OSError):  # some file systems keep no modes
            os.fchmod(fd, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"volume {path} ({entered.identity.id}) is in use by process {holder}; end it, or give another volume"
            ) from error
        try:
            os.ftruncate(fd, os.pwrite(fd, b"%d\n" % os.getpid(), 0))
        except OSError as error:
            if os_errors.culprit(error, own=True) is not Culprit.FULL:  # else nobody is told who has it
                raise
        undo.pop_all()
    return fd
