"""`bucketpull doctor`: what would go wrong, before it does."""

import os
from collections.abc import Iterator
from typing import Any

import click

from bucketpull.cli import options
from bucketpull.cli.doctor.machine import (
    Check,
    CheckResult,
    check_access,
    check_files,
    check_journal_access,
    check_secrets,
    check_state,
    check_volumes,
    failed,
)
from bucketpull.cli.doctor.source_checks import SourceChecks, check_broker
from bucketpull.domain.errors import BucketpullError, ConfigError, ExitCode
from bucketpull.report.console import say_on, words
from bucketpull.report.printable import json_line, label
from bucketpull.wiring.journals import job_folder, own_journal
from bucketpull.wiring.settings import Settings, jobs_folder
from bucketpull.wiring.volume_opening import check_mounted, check_owners, known_paths


@click.command()
@options.places("[SOURCE] [VOLUME...]")
@options.source
@options.broker
@options.reserve
@options.common
def doctor(places: tuple[str, ...], **flags: Any) -> int:
    """Check this machine, and SOURCE and VOLUMEs if named: credentials, clock, DNS, CDN, limits, disks, broker.

    Each check passes, warns or fails, and says what to do. Exit 0, or 3 if one failed. Nothing is written.

    \b
    bucketpull doctor
    bucketpull doctor upyun://photos /mnt/d1 --cdn-url https://img.example.com
    """
    if "" in places:
        raise ConfigError("volume '': name a folder to store in")
    config = flags.get("config") or os.environ.get("BUCKETPULL_CONFIG")
    settings = options.settings(flags | options.split(places))
    if settings.source:
        settings.source_settings()
    return run_checks(settings, config)


_NAME_COLUMNS = 14


def run_checks(settings: Settings, config: str | None) -> ExitCode:
    """Print the checks as they end; exit 3 if one failed."""
    worst = False
    for check in _checks(settings, config):
        worst = worst or check.verdict is CheckResult.FAIL
        if settings.json:
            say_on(json_line(check))
        elif not settings.quiet or check.verdict is not CheckResult.PASS:
            for line in _lines(check):
                say_on(line)
    return ExitCode.INCOMPLETE if worst else ExitCode.COMPLETE


def _checks(settings: Settings, config: str | None) -> Iterator[Check]:
    yield check_files()
    yield from check_secrets(
        config, settings.job_key_file, settings.dashboard_token_file, settings.dashboard_key
    )
    folder = _state_folder(settings)
    yield from check_state(folder)
    yield from check_journal_access(folder)
    mean = None
    if settings.source:
        yield from _check_job(settings, folder)
        source = SourceChecks(settings)
        yield from source.run()
        mean = source.mean_bytes
    yield from check_volumes(settings.volumes, settings.reserve, mean)
    for path in filter(os.path.isdir, settings.volumes):
        yield from check_access(path)
    if settings.broker:
        yield check_broker(settings.broker)


def _state_folder(settings: Settings) -> str:
    """Return the folder of the job's journal, or that of all jobs."""
    try:
        return job_folder(settings)
    except ConfigError:
        return jobs_folder()


def _check_job(settings: Settings, folder: str) -> Iterator[Check]:
    """Look whether the journal or a volume is another job's, and a volume of this one not mounted. Of a cluster's job only the coordinator knows which volumes are its own."""
    try:
        with own_journal(settings, folder, any_layout=True) as journal:
            known = journal.volumes() if journal is not None else []
        if not settings.broker:
            check_owners(settings, settings.volumes)
            check_mounted(settings.volumes, known_paths(known, settings.machine_name()))
    except (BucketpullError, OSError) as error:
        yield failed("job", str(error), "do that first: `bucketpull sync` refuses to start as it is")


def _lines(check: Check) -> list[str]:
    say = words()
    name = label(say.message(check.name, "check name"), _NAME_COLUMNS)
    first = f"{say(f'check.{check.verdict}')}  {name}  {say.message(check.found, 'check')}"
    return [first, f"      -> {say.message(check.remedy, 'check')}"] if check.remedy else [first]
