"""The volumes of a job that no worker has. The journal knows them; what they held is what the last session told at its end."""

from collections.abc import Mapping
from typing import Final

import msgspec

from bucketpull.domain.model import VolumeState, VolumeStatus
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.volume_numbers import KnownVolume

_UNUSED: Final = "no worker uses it: it is not there, or was not named to one"


class Held(msgspec.Struct):
    """What a volume held, as a summary has it. Sizes in bytes; all is 0 where nobody ever told."""

    id: str = ""
    free_bytes: int = 0
    total_bytes: int = 0
    free_inodes: int = 0
    total_inodes: int = 0
    stored_objects: int = 0
    stored_bytes: int = 0
    packs: int = 0
    open_packs: int = 0
    pack_bytes: int = 0


class _Summary(msgspec.Struct):
    volumes: list[Held] = []


_NOTHING: Final = Held()


def place(volume: VolumeStatus) -> tuple[str, str]:
    """Return by what volumes are put in order: machine and path."""
    return volume.machine, volume.path


def absent_volumes(reader: JournalReader) -> list[VolumeStatus]:
    """Return all volumes of a job, each as it is shown while no worker has it."""
    held = held_last(reader)
    return [as_absent(volume, held, _UNUSED) for volume in reader.volumes()]


def held_last(reader: JournalReader) -> dict[str, Held]:
    """Return what the volumes held, by id, as the last session that ended in order told."""
    summary = next((run.summary for run in reader.runs() if run.summary), "{}")
    try:
        return {held.id: held for held in msgspec.json.decode(summary, type=_Summary).volumes}
    except msgspec.MsgspecError:  # damaged: then nothing is known
        return {}


def as_absent(volume: KnownVolume, held: Mapping[str, Held], detail: str) -> VolumeStatus:
    """Return a volume as away, unless it is lost or was sick, with what it held; `detail` says why nobody has it."""
    last = held.get(volume.id, _NOTHING)
    stays = volume.state in {VolumeState.LOST, VolumeState.SICK}
    return VolumeStatus(
        id=volume.id,
        machine=volume.machine,
        path=volume.path,
        state=volume.state if stays else VolumeState.AWAY,
        free_bytes=last.free_bytes,
        total_bytes=last.total_bytes,
        free_inodes=last.free_inodes,
        total_inodes=last.total_inodes,
        reserved_bytes=0,
        queued_bytes=0,
        stored_objects=last.stored_objects,
        stored_bytes=last.stored_bytes,
        written_per_second=0.0,
        detail="" if volume.state is VolumeState.LOST else detail,
        packs=last.packs,
        open_packs=last.open_packs,
        pack_bytes=last.pack_bytes,
    )
