"""`bucketpull retry`: failures become work again."""

from typing import Any

import click

from bucketpull.cli import options
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ExitCode, Reason
from bucketpull.report.console import say_on
from bucketpull.report.printable import json_line
from bucketpull.wiring.coordinator_client import client_if_running
from bucketpull.wiring.journals import journal_to_write


@click.command()
@options.chosen
@options.of_job
def retry(reason: str | None, match: str | None, **flags: Any) -> int:
    """Make failures into work again, all or some: at once where the job runs, else by the next `bucketpull sync`.

    \b
    bucketpull retry --job photos
    bucketpull retry --job photos --reason forbidden
    """
    settings, by_broker = options.asking(flags)
    client = client_if_running(settings, by_broker=by_broker)
    if client is not None:
        number = int(str(client.post("/api/retry", {"reason": reason, "match": match})["objects"]))
    else:
        with journal_to_write(settings) as journal:
            number = journal.retry(Reason(reason) if reason else None, match)
    if settings.json:
        say_on(json_line({"retried": number}))
    else:
        text = f"{counted(number, 'failures are')} work again"
        settings.inform(
            f"{text}; run the job's command again to do it" if number and client is None else text
        )
    return ExitCode.COMPLETE
