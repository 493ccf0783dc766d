"""`doctor`: all checks in order, each with what to do."""

from collections.abc import Iterator

import msgspec

from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.wiring.checks import Check, Verdict, check_files, check_state, check_volumes
from bucketpull.wiring.locate import job_folder
from bucketpull.wiring.output import say
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.source_checks import SourceChecks, check_broker

_NAME_COLUMNS = 14


def run_doctor(settings: Settings) -> ExitCode:
    """Print the checks as they end; exit 3 if one failed."""
    worst = False
    for check in _checks(settings):
        worst = worst or check.verdict is Verdict.FAIL
        if settings.json:
            say(msgspec.json.encode(check).decode())
        elif not settings.quiet or check.verdict is not Verdict.PASS:
            for line in _lines(check):
                say(line)
    return ExitCode.INCOMPLETE if worst else ExitCode.COMPLETE


def _checks(settings: Settings) -> Iterator[Check]:
    yield check_files()
    try:
        yield from check_state(job_folder(settings))
    except ConfigError:
        from platformdirs import user_state_path

        yield from check_state(user_state_path("bucketpull"))
    mean = None
    if settings.source:
        settings.source_parts()
        source = SourceChecks(settings)
        yield from source.run()
        mean = source.mean_bytes
    yield from check_volumes(settings.volumes, settings.reserve, mean)
    if settings.broker:
        yield check_broker(settings.broker)


def _lines(check: Check) -> list[str]:
    first = f"{check.verdict}  {check.name:<{_NAME_COLUMNS}}  {check.found}"
    return [first, f"      -> {check.remedy}"] if check.remedy else [first]
