"""`bucketpull volumes`: the disks of a job, and changes to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.progress import Snapshot
from bucketpull.domain.status import VolumeState
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.report.console import say, tell, words
from bucketpull.report.document import volume_dict
from bucketpull.report.printable import json_line
from bucketpull.report.summary import volume_lines
from bucketpull.wiring.coordinator_client import broker_client, client_if_running, tell_answer
from bucketpull.wiring.job_status import job_status
from bucketpull.wiring.journals import job_folder, journal_to_read, journal_to_write
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.volume_opening import check_copy_of, check_paths, open_one, owner_by


@click.group(invoke_without_command=True)
@options.by_broker
@options.common
@click.pass_context
def volumes(context: click.Context, /, **flags: Any) -> int | None:
    """Show the volumes of a job: state, free room, and what each holds. With a command, change them.

    \b
    bucketpull volumes --job photos
    bucketpull volumes add /mnt/d4 --job photos
    bucketpull volumes drain /mnt/d1 --job photos
    bucketpull volumes lost 3f2a9c41d07b --job photos
    """
    if context.invoked_subcommand is not None:
        context.obj = flags
        return None
    return _print_volumes(*options.asking(flags))


@volumes.command()
@click.argument("path", type=click.Path())
@options.by_broker
@options.common
@click.pass_obj
def add(before: dict[str, Any], /, path: str, **flags: Any) -> int:
    """Use the folder PATH as one volume more, or again after a drain. A running job takes it up at once.

    \b
    bucketpull volumes add /mnt/d4 --job photos
    """
    settings, by_broker = _asking(before, flags)
    full = path if by_broker or _is_shown(path) else check_paths([path])[0]
    return _change(settings, by_broker, "add", full, lambda journal: _add(settings, journal, full))


@volumes.command()
@click.argument("volume", metavar="PATH|ID", type=click.Path())
@options.by_broker
@options.common
@click.pass_obj
def drain(before: dict[str, Any], /, volume: str, **flags: Any) -> int:
    """Put nothing more on a volume; what it holds stays and counts. `volumes add` undoes it.

    \b
    bucketpull volumes drain /mnt/d1 --job photos
    bucketpull volumes drain beta:/mnt/d1 --job photos
    """
    settings, by_broker = _asking(before, flags)
    name = volume if by_broker else _name(volume)
    return _change(settings, by_broker, "drain", name, lambda journal: _drain(journal, name))


@volumes.command()
@click.argument("identity", metavar="ID")
@options.by_broker
@options.common
@click.pass_obj
def lost(before: dict[str, Any], /, identity: str, **flags: Any) -> int:
    """Give up a volume: what it held is fetched again onto the others.

    \b
    bucketpull volumes lost 3f2a9c41d07b --job photos
    """
    settings, by_broker = _asking(before, flags)
    return _change(settings, by_broker, "lost", identity, lambda journal: _lose(journal, identity))


def _asking(before: dict[str, Any], flags: dict[str, Any]) -> tuple[Settings, bool]:
    """Join the options before and after the command's name; the later count."""
    return options.asking(before | {name: value for name, value in flags.items() if value is not None})


def _print_volumes(settings: Settings, by_broker: bool) -> ExitCode:
    """Print the job's volumes, also those that are away."""
    if by_broker:
        volumes = broker_client(settings).get("/api/job", Snapshot).volumes
    else:
        with journal_to_read(settings) as reader:
            volumes = job_status(reader, job_folder(settings)).snapshot.volumes
    if settings.json:
        for volume in volumes:
            say(json_line(volume_dict(volume)))
    elif volumes:
        for line in volume_lines(volumes, words()):
            say(line)
    else:
        tell("the job has no volumes yet")
    return ExitCode.COMPLETE


def _change(
    settings: Settings, by_broker: bool, what: str, volume: str, change: Callable[[SqliteJournal], str]
) -> ExitCode:
    """Have the running job change a volume; where none runs, change the journal."""
    client = client_if_running(settings, by_broker=by_broker)
    if client is not None:
        text = str(client.post(f"/api/volumes/{what}", {"volume": volume})["text"])
    else:
        with journal_to_write(settings) as journal:
            text = change(journal)
    tell_answer(settings, text)
    return ExitCode.COMPLETE


def _name(name: str) -> str:
    """Return an id as it is, and so MACHINE:/PATH, as the tables show it; a path in full."""
    is_path = not _is_shown(name) and ("/" in name or Path(name).is_dir())
    return str(Path(name).resolve()) if is_path else name


def _is_shown(name: str) -> bool:
    """Tell whether a volume is named with its machine."""
    return not name.startswith("/") and ":/" in name


def _add(settings: Settings, journal: SqliteJournal, path: str) -> str:
    if _is_shown(path):
        there = _known(journal, path)
        if there.machine != settings.machine_name():
            raise ConfigError(
                f"volume {path}: is on another machine; run `bucketpull volumes add` while the job runs"
            )
        path = there.path
    layout = journal.configuration().get("layout", "key")
    known = {volume.path: volume.id for volume in journal.volumes() if volume.state is not VolumeState.LOST}
    check_copy_of(path, {identity: former for former, identity in known.items()})
    settings = msgspec.structs.replace(settings, layout="hashed" if layout == "hashed" else "key")
    volume = open_one(path, known.get(path), settings, owner_by(journal))
    volume.close()
    if any(each.id == volume.id and each.state is VolumeState.LOST for each in journal.volumes()):
        raise ConfigError(f"volume {path}: was given up as lost ({volume.id}); empty it to use it again")
    journal.record_volumes([KnownVolume(volume.id, settings.machine_name(), path, VolumeState.OPEN)])
    return f"volume {path} ({volume.id}) will be used by the next `bucketpull sync`"


def _drain(journal: SqliteJournal, name: str) -> str:
    volume = _known(journal, name)
    if volume.state is VolumeState.LOST:
        raise ConfigError(f"volume {name}: was given up as lost; add another one")
    journal.record_volumes([msgspec.structs.replace(volume, state=VolumeState.DRAINING)])
    return f"volume {volume.path} ({volume.id}) takes no new objects; what it holds stays"


def _lose(journal: SqliteJournal, identity: str) -> str:
    volume = _known(journal, identity, by_path=False)
    pages = journal.lose(volume.id)
    again = "; run `bucketpull sync` again to fetch what it held" if pages else ""
    return f"volume {identity} is given up; {counted(pages, 'pages are')} listed again{again}"


def _known(journal: SqliteJournal, name: str, *, by_path: bool = True) -> KnownVolume:
    """Find a volume of the job by id, or by path. Raises ConfigError where there is none, which names those that there are."""
    volumes = journal.volumes()
    for volume in volumes:
        names = {volume.path, f"{volume.machine}:{volume.path}"} if by_path else ()
        if volume.id == name or (name in names and volume.state is not VolumeState.LOST):
            return volume
    known = ", ".join(f"{volume.id} ({volume.path or volume.machine})" for volume in volumes) or "none"
    if by_path:
        raise ConfigError(f"volume {name}: is no volume of the job; known are: {known}")
    raise ConfigError(f"volume {name}: is no volume id of the job; known are: {known}")
