"""`bucketpull retry`: failures become work again."""

from typing import Any

import click

from bucketpull.cli import options
from bucketpull.domain.errors import ExitCode, JournalLocked, Reason
from bucketpull.report.figures import count
from bucketpull.report.json_line import json_line
from bucketpull.wiring.control import ShowJob, ask
from bucketpull.wiring.locate import existing, writing
from bucketpull.wiring.output import say_on
from bucketpull.wiring.settings import Settings


@click.command()
@click.argument("source", required=False)
@options.chosen
@options.common
def retry(reason: str | None, match: str | None, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Make failures into work again, all or some; the next `bucketpull sync` does it.

    \b
    bucketpull retry --job photos
    bucketpull retry --job photos --reason forbidden
    """  # noqa: D301
    settings = options.settings(flags)
    number = _make_work(settings, reason, match)
    if settings.json:
        say_on(json_line({"retried": number}))
    elif not settings.quiet:
        again = "; run `bucketpull sync` again to do it" if number else ""
        say_on(f"{count(number)} {'failure is' if number == 1 else 'failures are'} work again{again}")
    return ExitCode.COMPLETE


def _make_work(settings: Settings, reason: str | None, pattern: str | None) -> int:
    """Return how many failures are work again.

    Raises:
        JournalLocked: A coordinator has the journal.

    """
    folder = existing(settings)
    try:
        with writing(settings) as journal:
            return journal.retry(Reason(reason) if reason else None, pattern)
    except JournalLocked:
        if ask(folder, ShowJob(), seconds=3.0) is None:
            raise
        raise JournalLocked(
            f"journal {folder}: its job runs. It tries failures again by itself before it ends; stop it, or wait for its "
            "end, then say `bucketpull retry`"
        ) from None
