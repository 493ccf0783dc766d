"""A few questions to the source before anything is written: is it there, may we, how much is it."""

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from bucketpull.domain.errors import AnswerError, Reason, Remedy, SourceRefused
from bucketpull.domain.model import Page
from bucketpull.domain.retry import REMEDIES
from bucketpull.wiring.source_client import SourceClient

T = TypeVar("T")
TRIES = 4
PAUSE_SECONDS = 0.5
LONGEST_SECONDS = 10.0  # of a question, after which it is not asked again


class Findings(msgspec.Struct):
    """What the source told: bytes in the whole bucket (None: it did not say), and the first page of the listing."""

    usage_bytes: int | None
    first_page: Page | None


def probe(client: SourceClient, name: str) -> Findings:
    """Ask for usage and for the first page; passing trouble is not judged here, the job has patience of its own.

    `name` is what the user calls the source.

    Raises:
        SourceRefused: Credentials, permission or bucket are wrong, or the folder is not there.

    """
    usage = _asked(client.usage, client, name)
    page = _asked(lambda: client.page(client.source.root()), client, name)
    return Findings(usage, page)


def reach(client: SourceClient, name: str) -> tuple[Findings, Page]:
    """Probe until the first page comes; the client's patience says why it does not.

    Raises:
        SourceRefused: As `probe`.
        SourceSilent: It does not come.

    """
    while True:
        findings = probe(client, name)
        if findings.first_page is not None:
            return findings, findings.first_page
        time.sleep(PAUSE_SECONDS)
        if client.patience is not None:
            client.patience.wait()


def _asked(question: Callable[[], T], client: SourceClient, name: str) -> T | None:
    deadline = time.monotonic() + LONGEST_SECONDS
    for attempt in range(TRIES):
        try:
            return question()
        except AnswerError as error:
            if client.patience is not None:
                client.patience.blame(error.reason, error.detail)
            remedy = REMEDIES[error.reason]
            if remedy in {Remedy.STOP, Remedy.VANISH}:
                reason = error.reason if remedy is Remedy.STOP else Reason.NO_BUCKET
                raise SourceRefused(reason, f"{name}: {error.detail}") from error
            if time.monotonic() >= deadline:
                break
            time.sleep(PAUSE_SECONDS * attempt)
    return None
