"""Checks of this machine: limits, the disks of journal and volumes, and who else may read our secrets, or write where we do."""

import os
import re
import resource
import stat
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from bucketpull.domain.counting import counted
from bucketpull.domain.errors import BucketpullError, VolumeError
from bucketpull.domain.reserve import parse_reserve
from bucketpull.report.figures import count, size
from bucketpull.trusted_path import foreign_link, trusted_users
from bucketpull.volumes.free_space import measured
from bucketpull.volumes.identity import HOME, identify
from bucketpull.volumes.reader import open_reader

_FEW_FILES: Final = 1024
_ENOUGH_FILES: Final = 16_384  # see `wiring.system`
_JOURNAL_FLOOR: Final = 64 << 20  # below it the job does not go on
_JOURNAL_WISH: Final = 2 << 30  # 100 million objects take about 1 GiB
_FULL_SHARE: Final = 0.9
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"})
_PASSING: Final = frozenset({"tmpfs", "ramfs", "overlay"})
# Options of ext4 that has met an error, or was shut down: "ro" is not among them then.
_READ_ONLY: Final = frozenset({"ro", "emergency_ro", "shutdown"})
_FOLDING: Final = frozenset({"vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk"})


class CheckResult(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct):
    """One check: what was found, and what to do about it ("" where nothing is to be done)."""

    name: str
    verdict: CheckResult
    found: str
    remedy: str = ""


def passed(name: str, found: str) -> Check:
    """Return a check that needs nothing."""
    return Check(name, CheckResult.PASS, found)


def warned(name: str, found: str, remedy: str) -> Check:
    """Return a check that should be looked at."""
    return Check(name, CheckResult.WARN, found, remedy)


def failed(name: str, found: str, remedy: str) -> Check:
    """Return a check that will stop a job, or spoil it."""
    return Check(name, CheckResult.FAIL, found, remedy)


class MountPoint(msgspec.Struct):
    """A line of /proc/self/mountinfo: where, file system type, what is mounted, and all options."""

    point: str
    kind: str
    device: str
    options: frozenset[str]


def check_files() -> Check:
    """Look at the hard limit of open files, to which every command raises its own; transfers stay below it."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    found = f"{counted(limit, 'open files')} a process"
    remedy = "as root: `ulimit -Hn 65536`, or LimitNOFILE=65536 for a service: fewer make fewer transfers"
    if limit < _FEW_FILES:
        return failed("open files", found, remedy)
    return passed("open files", found) if limit >= _ENOUGH_FILES else warned("open files", found, remedy)


def check_state(folder: str) -> Iterator[Check]:
    """Look at the disk of the journal."""
    there = next(path for path in (Path(folder), *Path(folder).parents) if path.is_dir())
    if not os.access(there, os.W_OK | os.X_OK):
        yield failed("journal", f"{there} cannot be written", "name another folder with --state")
        return
    mount = mount_of(str(there))
    status = os.statvfs(there)
    free = status.f_bavail * status.f_frsize
    if free < _JOURNAL_FLOOR:
        yield failed(
            "journal", f"{folder}: {size(free)} free", "free some space, or name another folder with --state"
        )
    elif free < _JOURNAL_WISH:
        remedy = "a job of 100 million objects needs about 1 GB; name another folder with --state"
        yield warned("journal", f"{folder}: {size(free)} free", remedy)
    else:
        yield passed("journal", f"{folder}: {size(free)} free on {mount.kind}")
    if mount.kind in _NETWORK:
        remedy = "SQLite needs locks that such file systems do not keep; name a local folder with --state"
        yield failed("journal", f"{there} is on {mount.kind}", remedy)
    elif mount.kind == "tmpfs":
        yield warned(
            "journal", f"{there} is on tmpfs", "it is gone after a restart; name another folder with --state"
        )


def check_volumes(paths: Sequence[str], reserve: str, mean_bytes: float | None) -> Iterator[Check]:
    """Look at each volume; `mean_bytes` is the mean size of an object, None if unknown."""
    devices: dict[int, str] = {}
    seen: dict[str, str] = {}
    for path in paths:
        there = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(there) or (os.path.exists(path) and not os.path.isdir(path)):
            yield failed(
                path, "is not a folder, and none can be made there", "mount the disk, or name a folder on it"
            )
            continue
        if not os.access(there, os.W_OK | os.X_OK):
            yield failed(path, "cannot be written", "give yourself the right to, or mount it read-write")
            continue
        yield from _check_identity(path, seen)
        yield from _check_mount(path, mount_of(there))
        yield from _check_room(path, os.statvfs(there), reserve, mean_bytes)
        device = os.stat(there).st_dev
        if device in devices:
            remedy = "one volume a disk: two on one share its room and its speed"
            yield warned(path, f"is on the same disk as {devices[device]}", remedy)
        devices.setdefault(device, path)


def _check_identity(path: str, seen: dict[str, str]) -> Iterator[Check]:
    """Look at the volume at a path; `seen` has the ids of those before, with their paths."""
    try:
        reader = open_reader(path) if os.path.isdir(path) and identify(path) is not None else None
    except VolumeError as error:
        yield failed(path, error.detail, "see `bucketpull verify`, or leave this volume out")
        return
    if reader is None:
        yield passed(path, "no volume yet; `sync` makes it one")
        return
    user = reader.user()
    held = f"volume {reader.id} with {counted(reader.ledger.objects, 'objects')}"
    reader.close()
    other = seen.setdefault(reader.id, path)
    if other != path:
        remedy = "a copy of a disk is the same volume: name one of them; to use it as one more, empty it"
        yield failed(path, f"is the volume {reader.id} too, as {other}", remedy)
    if user is not None:
        yield warned(path, f"{held} is in use by process {user}", "one worker at a time can have it")
    else:
        yield passed(path, held)


def _check_mount(path: str, mount: MountPoint) -> Iterator[Check]:
    told = f"{mount.kind} at {mount.point}"
    if _READ_ONLY & mount.options:
        yield failed(path, f"{told} is read-only", "see `dmesg`, check the file system, mount it read-write")
    elif mount.kind in _NETWORK:
        yield warned(
            path, f"{told} is a network file system", "run a worker on the machine that has the disk"
        )
    elif mount.kind in _FOLDING:
        remedy = "odd names are escaped there, and files of 4 GiB may fail; ext4 or XFS is better"
        yield warned(path, f"{told} folds or forbids names", remedy)
    elif mount.kind in _PASSING:
        yield warned(path, f"{told} does not outlive a restart", "name a folder on a disk")
    elif slow := {"sync", "dirsync"} & mount.options:
        yield warned(
            path, f"{told} is mounted with {slow.pop()}", "mount it without: it is many times slower"
        )
    elif unsafe := {"nobarrier", "barrier=0"} & mount.options:
        yield warned(
            path, f"{told} is mounted with {unsafe.pop()}", "a power cut may lose what counts as stored"
        )
    elif "strictatime" in mount.options:
        yield warned(path, f"{told} is mounted with strictatime", "mount it with relatime or noatime")
    else:
        yield passed(path, told)


def _check_room(
    path: str, status: os.statvfs_result, reserve: str, mean_bytes: float | None
) -> Iterator[Check]:
    try:
        kept = parse_reserve(reserve, status.f_blocks * status.f_frsize)
    except BucketpullError as error:
        yield failed(path, str(error), "write a size such as 5G, or a share such as 5%")
        return
    space = measured(status, kept)
    total, free = space.total_bytes, space.spare_bytes
    if free <= 0:
        yield failed(
            path, f"nothing free above the reserve of {reserve}", "free some space, or lower --reserve"
        )
    elif free < (1 - _FULL_SHARE) * total:
        yield warned(path, f"{size(free)} free above the reserve, of {size(total)}", "see `bucketpull plan`")
    else:
        yield passed(path, f"{size(free)} free above the reserve, of {size(total)}")
    if not status.f_files or free <= 0:
        return
    each = free / status.f_favail if status.f_favail else float("inf")
    remedy = "inodes run out before room: make the file system with more (mkfs.ext4 -i 8192), or use XFS, or packs (--pack)"
    number = count(status.f_favail)
    if status.f_favail == 0:
        yield failed(path, "no inodes free", remedy)
    elif mean_bytes is not None and each > mean_bytes:
        found = f"{number} inodes free, one for {size(each)}; objects have {size(mean_bytes)}"
        yield warned(path, found, remedy)
    else:
        yield passed(path, f"{number} inodes free, one for {size(each)}")


def mount_of(path: str) -> MountPoint:
    """Return the mount that a path is on."""
    best = MountPoint("/", "unknown", "", frozenset())
    full = os.path.realpath(path)
    for mount in mounts():
        is_above = full == mount.point or full.startswith(mount.point.rstrip("/") + "/")
        if is_above and len(mount.point) >= len(best.point):
            best = mount
    return best


def mounts() -> Iterator[MountPoint]:
    """Give what is mounted, in the order of mounting."""
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            left, _, right = line.partition(b" - ")
            place, own = left.split()[4:6]
            kind, device, more = ([*right.split(), b"", b"", b""])[:3]
            point = _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), place)
            options = os.fsdecode(own + b"," + more).split(",")
            yield MountPoint(os.fsdecode(point), os.fsdecode(kind), os.fsdecode(device), frozenset(options))


# --- who else


def check_access(path: str) -> Iterator[Check]:
    """Look at a volume's directory, at our own in it, and at those above it."""
    found = os.stat(path)
    mode = f"mode {stat.S_IMODE(found.st_mode):o}"
    checks = list(_check_own(path))
    if found.st_mode & stat.S_IWOTH:
        remedy = "chmod o-w: they can remove and replace what is stored"
        checks.append(warned(path, f"everybody may write there ({mode})", remedy))
    elif found.st_uid not in trusted_users():
        remedy = "chown it: that user can remove and replace what is stored"
        checks.append(warned(path, f"belongs to user {found.st_uid}", remedy))
    link = foreign_link(path)
    if link is not None:
        remedy = "name the folder itself: that user may lead it anywhere"
        checks.append(failed(path, f"{link.link} is a link of user {link.user}", remedy))
    checks += _check_above(path, path)
    yield from checks or [passed(path, f"nobody else may write there ({mode})")]


def check_journal_access(folder: str) -> Iterator[Check]:
    """Look at the folders above that of a journal. The journal's own is refused by all commands where others may write in it."""
    yield from _check_above("journal", folder)


def _check_above(name: str, path: str | Path) -> Iterator[Check]:
    for above in Path(os.path.realpath(path)).parents:
        if not above.exists():  # the folder of a job that is to be
            continue
        state = above.stat()
        if state.st_uid not in trusted_users():
            remedy = "chown it, or name a folder elsewhere: that user can put another one in its place"
            yield warned(name, f"{above} belongs to user {state.st_uid}", remedy)
        if state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX:
            remedy = "chmod o-w, or they can put another in its place"
            yield warned(name, f"everybody may write in {above}", remedy)


def _check_own(path: str) -> Iterator[Check]:
    own = f"{path}/{HOME}"
    try:
        found = os.lstat(own)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        yield failed(path, f"{HOME} is a symbolic link", "look at what it leads to, and remove it")
    elif found.st_uid not in trusted_users():
        remedy = "run bucketpull as that user, or look at what is in it and give it to this one with chown -R"
        yield failed(path, f"{HOME} belongs to user {found.st_uid}", remedy)


def check_secrets(*paths: str | None) -> Iterator[Check]:
    """Look at the files that may hold a password or a key; None is none."""
    for path in filter(None, paths):
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except OSError:
            continue  # whoever needs it says so
        if mode & _OTHERS:
            yield warned(
                "secrets",
                f"others can read {path} (mode {mode:o})",
                f"chmod 600 {path}, if there is a password or key in it",
            )
        else:
            yield passed("secrets", f"nobody else can read {path}")
