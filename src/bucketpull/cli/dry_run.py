"""`bucketpull sync --dry-run`: what a sync would do, by a listing and the ledgers alone. Nothing is written but in TMPDIR."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.model import Part, key_of
from bucketpull.report.console import say
from bucketpull.report.figures import count, size
from bucketpull.report.printable import json_line
from bucketpull.volumes.identity import identify
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.scratch import DIGEST_BYTES, Partitions, digest_of, scratch_folder
from bucketpull.wiring.job import check_job
from bucketpull.wiring.journals import own_journal
from bucketpull.wiring.selected_source import selected, selection_of
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.source_client import list_all
from bucketpull.wiring.volume_opening import all_opened_to_read, check_owners, check_paths, with_known


def check_flags(flags: Mapping[str, Any]) -> None:
    """Refuse a flag that would make this another question; in `--config` it is for the job itself, and does no harm.

    Raises ConfigError where `--limit` was given.
    """
    if flags["limit"] is not None:
        raise ConfigError(
            f"--limit {flags['limit']}: has no effect on a dry run, which lists everything; leave it out"
        )


def dry_run(settings: Settings) -> ExitCode:
    """Say what would be stored, skipped and excluded; exit 3 if something could not be listed."""
    paths = check_paths(settings.volumes)
    check_job(settings, paths)
    check_owners(settings, paths)
    there = [path for path in _all_volumes(settings, paths) if os.path.isdir(path) and identify(path)]
    with scratch_folder("dry-run") as folder, all_opened_to_read(there) as readers:
        forecast = _Forecast([LiveObjects(reader, folder) for reader in readers], folder)
        source = selected(settings.source_config().open(), selection_of(settings))
        walk = list_all(settings, source, forecast.take)
        forecast.finish()
        _show(settings, forecast, walk.excluded, len(walk.failures))
    return ExitCode.INCOMPLETE if walk.failures else ExitCode.COMPLETE


def _all_volumes(settings: Settings, paths: list[str]) -> list[str]:
    """Return the volumes named and those that the job knows. Raises JobMismatch where the journal is another job's."""
    with own_journal(settings, settings.state_folder()) as reader:
        if reader is None:
            return paths
        return with_known(paths, reader.volumes(), settings.machine_name())[0]


class _Forecast:
    """A listing against what volumes have, in the versions that they have; `folder` takes 32 bytes an object."""

    def __init__(self, live: Sequence[LiveObjects], folder: str) -> None:
        self.objects = self.bytes = self.skipped = self.skipped_bytes = 0
        expected = sum(each.count for each in live)
        self._held = Partitions(folder, "held", expected, tail_bytes=0)
        self._listed = Partitions(folder, "listed", expected, tail_bytes=8)
        for each in live:
            for _, record, index in each.entries():
                name, length, mtime = record.names[index], record.sizes[index], record.mtimes[index]
                self._held.add(_digest(record.directory, name, length, mtime))
        self._held.finish()

    def take(self, part: Part) -> None:
        """Take in what would be wanted."""
        for name, length, mtime in zip(part.names, part.sizes, part.mtimes, strict=True):
            known = max(0, length)
            self._listed.add(_digest(part.directory, name, length, mtime), known.to_bytes(8, "big"))

    def finish(self) -> None:
        """Count what is there already, and what is not."""
        self._listed.finish()
        for number in range(self._listed.count):
            held = set(self._held.take(number))
            for entry in self._listed.stream(number):
                length = int.from_bytes(entry[DIGEST_BYTES:], "big")
                if entry[:DIGEST_BYTES] in held:
                    self.skipped += 1
                    self.skipped_bytes += length
                else:
                    self.objects += 1
                    self.bytes += length


def _digest(directory: bytes, name: bytes, length: int, mtime: int) -> bytes:
    return digest_of(b"%d %d %s" % (length, mtime, key_of(directory, name)))


def _show(settings: Settings, forecast: _Forecast, excluded: int, failed: int) -> None:
    listed = forecast.objects + forecast.skipped + excluded
    if settings.json:
        counts = {
            "listed": listed,
            "stored": forecast.objects,
            "bytes": forecast.bytes,
            "skipped": forecast.skipped,
            "skipped_bytes": forecast.skipped_bytes,
            "excluded": excluded,
            "failed_pages": failed,
        }
        say(json_line(counts))
    else:
        settings.inform(f"would store {counted(forecast.objects, 'objects')}, {size(forecast.bytes)}")
        settings.inform(
            f"  skipped   {count(forecast.skipped)}, {size(forecast.skipped_bytes)}: in place already"
        )
        settings.inform(f"  excluded  {count(excluded)}")
        settings.inform(f"  listed    {count(listed)}")
    if settings.limit is not None:
        settings.tell(f"limit = {settings.limit}: has no effect on a dry run, which lists everything")
    if settings.summary is not None:
        settings.tell(
            f"--summary {settings.summary}: a dry run writes no file"
            if settings.json
            else f"--summary {settings.summary}: a dry run writes no file; use --json in its place"
        )
    if settings.adopt:
        settings.tell(
            "--adopt: files of others are not looked at in a dry run; those that are objects would be skipped too"
        )
