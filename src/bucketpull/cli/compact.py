"""`bucketpull compact`: packs without what is dead in them."""

from contextlib import closing
from typing import Any

import click

from bucketpull.cli import options
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ExitCode, VolumeSick
from bucketpull.report.console import say_on
from bucketpull.report.figures import size
from bucketpull.report.printable import json_line
from bucketpull.volumes import os_errors
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.packs.compacting import Compaction, Waste, find_waste
from bucketpull.volumes.scratch import scratch_folder
from bucketpull.volumes.volume import open_volume
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.system import FEWEST_TO_READ, check_limit
from bucketpull.wiring.volume_opening import check_paths, opened_to_read


@click.command()
@click.argument("volumes", metavar="[VOLUME...]", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only say which packs would be rewritten, and what that frees.")
@options.common
@options.interruptible("interrupted: nothing is lost, run it again")
def compact(dry_run: bool, **flags: Any) -> int:
    """Rewrite those packs of VOLUMEs of which more than a fifth is dead: replaced, removed, or never settled.

    It needs room for one pack, and no job may be running on the VOLUMEs. While it runs, TMPDIR takes 20 bytes an object.

    \b
    bucketpull compact /mnt/d1 /mnt/d2
    """
    check_limit(FEWEST_TO_READ)
    settings = options.settings(flags)
    for path in check_paths(settings.volumes):
        _compact(settings, path, dry_run=dry_run)
    return ExitCode.COMPLETE


def _compact(settings: Settings, path: str, *, dry_run: bool) -> None:
    with (
        closing(open_volume(path)) as volume,
        opened_to_read(path, volume.id) as reader,
        scratch_folder("compact") as folder,
    ):
        live = LiveObjects(reader, folder)
        try:
            packs = find_waste(reader, live)
        except OSError as error:
            raise VolumeSick(
                path,
                f"packs not looked at: {os_errors.words(error)}; `bucketpull verify {path}` says what is damaged",
            ) from error
        wasted = [waste for waste in packs if waste.is_much]
        _show(settings, path, packs, wasted)
        if wasted and not dry_run:
            with os_errors.volume_errors(path, "packs not rewritten"):
                freed = sum(map(Compaction(volume, reader, live, wasted).rewrite, wasted))
            settings.tell(f"volume {path}: {size(freed)} are free now")


def _show(settings: Settings, path: str, packs: list[Waste], wasted: list[Waste]) -> None:
    if settings.json:
        for waste in wasted:
            say_on(json_line({"volume": path, **waste._asdict()}))
    else:
        for waste in wasted:
            share = waste.dead / waste.size
            settings.inform(
                f"{path}/packs/{waste.pack}.tar: {share:.0%} of {size(waste.size)} is dead, {counted(waste.objects, 'objects')}"
            )
        if not wasted:
            settings.tell(
                f"volume {path}: of none of its {counted(len(packs), 'finished packs')} is more than a fifth dead"
                if packs
                else f"volume {path}: has no finished packs, and no others are rewritten"
            )
