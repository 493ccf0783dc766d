"""Opens the volumes of a job: known ones where they are, new ones made, and an empty mount point never taken for one.

A volume belongs to one job: two on one would fetch the same objects twice, or overwrite each other's.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from itertools import islice
from threading import Timer
from typing import TYPE_CHECKING, Final

from bucketpull.domain.counting import counted
from bucketpull.domain.errors import BucketpullError, ConfigError, VolumeError, VolumeSick
from bucketpull.domain.reserve import parse_reserve
from bucketpull.domain.status import VolumeState
from bucketpull.journal.database import REMEMBERED, exists
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.report.console import tell
from bucketpull.sources.source_settings import SourceSettings
from bucketpull.trusted_path import make_folder
from bucketpull.volumes.beneath import VOLUME_MARK
from bucketpull.volumes.identity import HOME, PACKS, Owner, identify, initialise, owner_at
from bucketpull.volumes.os_errors import volume_error
from bucketpull.volumes.volume import DiskVolume, open_volume
from bucketpull.wiring.file_checks import check_folder, is_inside, refuse_foreign_link
from bucketpull.wiring.journals import source_in
from bucketpull.wiring.settings import Settings

if TYPE_CHECKING:
    from bucketpull.volumes.reader import VolumeReader

SILENT_SECONDS: Final = 10.0
_MOST_LOOKED_AT: Final = 2000


def check_paths(paths: Sequence[str]) -> list[str]:
    """Return the volumes' paths, absolute.

    Raises ConfigError where none is given; one cannot be a volume, or lies inside of another one; two are one volume.
    """
    check_given(paths)
    found: list[str] = []
    for path in paths:
        with named_if_silent(path):
            full = _checked(path)
        for other in found:
            if full == other or _is_same(full, other):
                raise ConfigError(f"volume {path}: given twice")
            if is_inside(full, other) or is_inside(other, full):
                raise ConfigError(
                    f"volume {path}: one of it and {other} lies inside the other; name folders side by side"
                )
        found.append(full)
    check_copies(paths)
    return found


def _is_same(path: str, other: str) -> bool:
    """Tell whether two paths are one folder, as by a bind mount."""
    with suppress(OSError):  # as of one that is still to be made
        return os.path.samefile(path, other)
    return False


def check_given(paths: Sequence[str]) -> None:
    """Make sure that there is a volume, from the command line, the environment or the file. Raises ConfigError where there is none."""
    if not paths:
        raise ConfigError("no volume: give at least one folder (`bucketpull volumes` lists those of a job)")


@contextmanager
def named_if_silent(path: str, seconds: float = SILENT_SECONDS) -> Iterator[None]:
    """Name a volume that does not answer for so long. Nothing can interrupt the call of the system that waits for it."""
    text = (
        f"volume {path} has not answered for {seconds:.0f} s: its disk or its server hangs, and nothing can end the call that waits "
        "for it, Ctrl-C included; look at `dmesg`, unmount it by force, or start without it"
    )
    timer = Timer(seconds, tell, (text,), {"level": "warning"})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # there must be no thread when processes are forked


def check_pack_folders(paths: Sequence[str]) -> None:
    """Make sure that packs have room in their folder: an object or a file of others may have its name.

    Raises ConfigError where a volume has something else in its place.
    """
    for path in paths:
        folder = os.path.join(path, PACKS)
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise ConfigError(
                f"volume {path}: has a file `{PACKS}` where the folder of packs belongs; pull without --pack, or name another folder"
            )


def check_copies(paths: Sequence[str]) -> None:
    """Make sure that no two folders are the same volume, as a copied disk is: files would go to one, and their records to the other.

    Raises ConfigError where two are.
    """
    seen: dict[str, str] = {}
    for path in paths if len(paths) > 1 else ():
        identity = _id_at(path)
        if identity is None:
            continue
        if identity in seen:
            raise _copied(path, seen[identity], identity)
        seen[identity] = path


def check_copy_of(path: str, seen_at: Mapping[str, str]) -> None:
    """Make sure that a volume to be added is not at another path too; one that was moved there is no longer at the former one.

    `seen_at` maps the ids of the job's volumes on this machine to their paths.

    Raises ConfigError where it is.
    """
    identity = _id_at(path)
    former = seen_at.get(identity) if identity is not None else None
    if identity is None or not former or former == path or _id_at(former) != identity:
        return
    with suppress(OSError):
        if os.path.samefile(path, former):  # mounted twice
            return
    raise _copied(path, former, identity)


def _copied(path: str, other: str, identity: str) -> ConfigError:
    return ConfigError(
        f"volumes {path} and {other} are both the volume {identity}; name one of them (a copy of a disk is the same volume; "
        "to use it as one more, empty it)"
    )


def _checked(path: str) -> str:
    if not path:
        raise ConfigError("volume '': name a folder to store in")
    refuse_foreign_link(f"volume {path}", path)
    full = os.path.realpath(path)
    if os.path.lexists(full) and not os.path.isdir(full):
        raise ConfigError(f"volume {path}: is not a directory; name a folder to store in")
    if not os.path.lexists(full) and not os.path.isdir(os.path.dirname(full)):
        raise ConfigError(f"volume {path}: there is no {os.path.dirname(full)}; is the disk mounted?")
    if not os.path.lexists(f"{full}/{HOME}"):  # a disk of ours that fails is left out of the job, not refused
        check_folder(f"volume {path}", full)
        if (around := volume_around(full)) is not None:  # keys of both might meet
            raise ConfigError(
                f"volume {path}: lies inside of the volume {around}; name a folder outside of it"
            )
        check_around(f"volume {path}", full)
    return full


def volume_around(full: str) -> str | None:
    """Return the volume that a folder lies in, if it lies in one."""
    around = os.path.dirname(full)
    while not os.path.lexists(os.path.join(around, VOLUME_MARK)):
        if around == "/":
            return None
        around = os.path.dirname(around)
    return around


def check_around(what: str, full: str) -> None:
    """Keep a new volume from being made around one that is there. Of a large tree only the beginning is looked at: what a job stores
    stays out of other volumes anyway (`volumes/files/tree.py`), and `verify` does not look into them.

    Raises ConfigError where one lies inside; `what` names the path.
    """
    for folder in islice(_folders(full), _MOST_LOOKED_AT):
        if os.path.lexists(f"{folder}/{VOLUME_MARK}"):
            raise ConfigError(f"{what}: the volume {folder} lies inside of it; name a folder beside that one")


def _folders(top: str) -> Iterator[str]:
    """Give the folders below one, the nearest first; of each folder only so many entries are read."""
    waiting = deque([top])
    while waiting:
        with suppress(OSError), os.scandir(waiting.popleft()) as entries:
            for entry in islice(entries, _MOST_LOOKED_AT):
                if entry.is_dir(follow_symlinks=False):
                    yield entry.path
                    if len(waiting) < _MOST_LOOKED_AT:
                        waiting.append(entry.path)


def with_known(
    paths: Sequence[str], known: Sequence[KnownVolume], machine: str
) -> tuple[list[str], list[KnownVolume]]:
    """Add the job's other volumes that are here, such as those added while it ran; return also those that are not.

    Raises ConfigError where a path holds a volume that was given up, or the copy of one that is here.
    """
    seen_at = {identity: path for path, identity in known_paths(known, machine).items()}
    for path in paths:
        check_copy_of(path, seen_at)
    ids = {_id_at(path): path for path in paths}
    found, away = list(paths), []
    for volume in known:
        if volume.state is VolumeState.LOST:
            if volume.id in ids:
                raise ConfigError(
                    f"volume {ids[volume.id]}: was given up as lost ({volume.id}), so what it holds was fetched again; "
                    "empty the disk to use it, or `bucketpull rebuild` a new journal from all disks"
                )
        elif volume.machine == machine and volume.id not in ids and volume.path not in found:
            if volume.path and _id_at(volume.path) == volume.id:
                found.append(volume.path)
            else:
                away.append(volume)
    return found, away


def known_paths(known: Sequence[KnownVolume], machine: str) -> dict[str, str]:
    """Return the ids of the job's volumes on a machine, by the path at which each was seen last."""
    return {
        volume.path: volume.id
        for volume in known
        if volume.machine == machine and volume.path and volume.state is not VolumeState.LOST
    }


def _id_at(path: str) -> str | None:
    """Return the id of the volume at a path; None where none can be read."""
    try:
        return identify(path)
    except VolumeError:
        return None


def open_all(
    paths: Sequence[str],
    known: Mapping[str, str],
    settings: Settings,
    owner: Owner,
    leave: Callable[[VolumeSick], object] | None = None,
) -> list[DiskVolume]:
    """Open volumes by path; make those that are none yet.

    `known` maps the paths at which the job's volumes were seen last to their ids: a path of which the id is gone is a disk
    that is not mounted. One of them, or any other that is a volume already, is left out if it is sick, and `leave` told of it, if
    another can be used. They are noted to be `owner`'s.

    Raises:
        ConfigError: A known volume is not there, one is another job's, or the copy of a known one that is there too.
        VolumeError: One cannot be used.

    """
    seen_at = {identity: path for path, identity in known.items()}
    for path in paths:
        check_copy_of(path, seen_at)
    opened: list[DiskVolume] = []
    sick: list[VolumeSick] = []
    with ExitStack() as closing_all:
        for path in paths:
            try:
                volume = open_one(path, known.get(path), settings, owner)
                opened.append(closing_all.enter_context(closing(volume)))
            except VolumeSick as error:
                if leave is None or not (path in known or _id_at(path)):
                    raise
                sick.append(error)
        if sick and not opened:
            raise sick[0]
        closing_all.pop_all()
    for trouble in sick:
        if leave is not None:
            leave(trouble)
    return opened


def opened_to_read(path: str, expected: str | None = None) -> "AbstractContextManager[VolumeReader]":
    """Open a volume to look at it, which must be the expected one (None: any).

    Raises ConfigError where there is none, and VolumeSick where it is another one.
    """
    from bucketpull.volumes.reader import open_reader  # a job writes its volumes

    if not path:
        raise ConfigError("volume '': name a folder with a volume")
    if not os.path.isdir(path) or identify(path) is None:
        raise ConfigError(f"volume {path}: not found; is the disk mounted?")
    return closing(open_reader(path, expected))


@contextmanager
def all_opened_to_read(paths: Sequence[str]) -> "Iterator[list[VolumeReader]]":
    """Open volumes to look at them; see `opened_to_read`."""
    with ExitStack() as stack:
        yield [stack.enter_context(opened_to_read(path)) for path in paths]


def check_idle(reader: "VolumeReader") -> None:
    """Make sure that nobody writes to a volume. Raises ConfigError where a process does."""
    user = reader.user()
    if user is not None:
        raise ConfigError(f"volume {reader.path}: is in use by process {user}; end it first")


def open_one(path: str, expected: str | None, settings: Settings, owner: Owner) -> DiskVolume:
    """Open one volume, making it if it is none and none is expected there; see `open_all`."""
    found = identify(path) if os.path.isdir(path) else None
    if found is None:
        if expected is not None:
            raise _unmounted(path, expected)
        try:
            make_folder(path)
            initialise(path, settings.layout)
        except OSError as error:
            raise volume_error(path, "not made", error) from error
    return _opened(path, None, settings, owner)


def check_mounted(paths: Sequence[str], known: Mapping[str, str]) -> None:
    """Make sure that no path at which a volume of the job was seen last is empty; `known` as in `open_all`. Raises ConfigError where one is."""
    for path in map(os.path.realpath, paths):
        with suppress(VolumeError):  # a disk that fails is told when it is opened
            if path in known and (not os.path.isdir(path) or identify(path) is None):
                raise _unmounted(path, known[path])


def _unmounted(path: str, expected: str) -> ConfigError:
    return ConfigError(
        f"volume {path}: held volume {expected} of this job and is empty now. Mount the disk; if it is lost, "
        f"run `bucketpull volumes lost {expected}`"
    )


def open_again(path: str, expected: str | None, settings: Settings, owner: Owner) -> DiskVolume:
    """Open a volume for a running job: one that is new to it, or exactly the one that is expected."""
    return (
        open_one(path, None, settings, owner)
        if expected is None
        else _opened(path, expected, settings, owner)
    )


def _opened(path: str, expected: str | None, settings: Settings, owner: Owner) -> DiskVolume:
    try:
        status = os.statvfs(path)
    except OSError as error:
        raise VolumeSick(path, f"not measured: {error.strerror}; see `dmesg`, and check the disk") from error
    reserve = parse_reserve(settings.reserve, status.f_blocks * status.f_frsize)
    volume = open_volume(path, expected, reserve, durable=settings.durability != "none")
    try:
        _refuse(volume.path, volume.identity.owner, owner.journal, volume.objects)
        volume.belong_to(owner)
    except BaseException:
        volume.close()
        raise
    return volume


# --- whose a volume is


def owner_of(journal: str, source: SourceSettings) -> Owner:
    """Return what a volume is told of the job that stores on it."""
    return Owner(journal, source.identity())


def owner_by(journal: SqliteJournal) -> Owner:
    """Return the same of a job's journal."""
    known = journal.configuration()
    source = {
        name: value for name, value in known.items() if name != "layout" and not name.startswith(REMEMBERED)
    }
    return Owner(journal.id, source)


def check_owners(settings: Settings, paths: Sequence[str]) -> None:
    """Make sure that no volume is another job's, before anything is made. Raises ConfigError where one is, and has objects."""
    try:
        journal = _journal_at(settings.state_folder())
    except BucketpullError:
        return  # a damaged journal is told when it is opened, and the volumes are not another job's for that
    for path in paths:
        with suppress(VolumeError):  # a disk that fails is told when it is opened
            owner, objects = owner_at(path)
            _refuse(path, owner, journal, objects)


def _journal_at(folder: str) -> str:
    """Return the id of the journal in a folder; "" where there is none."""
    if not exists(folder):
        return ""
    with closing(JournalReader.open_to_read(folder)) as reader:
        return reader.id


def _refuse(path: str, owner: Owner | None, journal: str, objects: int) -> None:
    if owner is None or owner.journal == journal or not objects:
        return
    source = name_of(owner)
    raise ConfigError(
        f"volume {path}: has {counted(objects, 'objects')} of the job of {source} with journal {owner.journal}; name another folder (one "
        f"disk may have several), pull from {source} with that job's --job or --state (and --include for a part), or make a journal of "
        "the volume for this job: `bucketpull rebuild`"
    )


def name_of(owner: Owner) -> str:
    """Return the source of a volume's job as a user writes it."""
    place, style = source_in(owner.source), owner.source.get("style", "")
    return f"{place} --style {style}" if style else place
