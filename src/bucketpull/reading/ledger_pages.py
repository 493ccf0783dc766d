"""The contents of a volume's ledger in pages that fit into a message; each is made when it is asked for."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Final

import msgspec

from bucketpull.volumes.live_objects import LiveObjects, Stored
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.scratch import scratch_folder
from bucketpull.volumes.verification import Finding, Verification

_MOST_ROWS: Final = 4_000
_MOST_BYTES: Final = 512_000  # of names and paths: a page is one message
_MOST_FINDINGS: Final = 500


class ObjectsPage(msgspec.Struct, array_like=True):
    """Objects of a volume in the order of writing; `damages` describes parts of its ledger that cannot be read."""

    rows: list[Stored]
    damages: list[str] = []


class FaultsPage(msgspec.Struct, array_like=True):
    """What is wrong with a volume, and how much of it has been looked at; `user` is the process that writes to it, 0 if none does."""

    findings: list[Finding]
    objects: int
    bytes: int
    hashed_objects: int
    unhashed_objects: int
    user: int = 0


def objects(path: str, identity: str, below: bytes = b"") -> Generator[ObjectsPage, None, None]:
    """Give the objects of a volume in or below a directory (b"": all).

    Raises:
        VolumeError: It is not here.

    """
    with (
        closing(open_reader(path or ".", identity)) as opened,
        scratch_folder("export") as folder,
    ):
        live = LiveObjects(opened, folder)
        damages = [
            f"its ledger is damaged from byte {damage.offset} to {damage.end}, which `bucketpull verify {opened.path} --repair` heals"
            for damage in live.damages
        ]
        page, size = ObjectsPage([], damages), 0
        for stored in live.objects():
            if below and stored.directory != below and not stored.directory.startswith(below + b"/"):
                continue
            page.rows.append(stored)
            size += len(stored.directory) + len(stored.name) + len(stored.location.path)
            if len(page.rows) == _MOST_ROWS or size > _MOST_BYTES:
                yield page
                page, size = ObjectsPage([]), 0
        yield page


def faults(
    path: str, identity: str, *, hashed: bool, watch: Callable[[Verification], None]
) -> Generator[FaultsPage, None, None]:
    """Compare a volume with its ledger, as `bucketpull verify` does; `watch` is called for each object, and may raise.

    Raises:
        VolumeError: It is not here.

    """
    with closing(open_reader(path or ".", identity)) as opened:
        user = opened.user()
        verification = Verification(opened, hashed=hashed, extra=user is None, watch=watch)
        found: list[Finding] = []
        for finding in verification.run():
            found.append(msgspec.structs.replace(finding, stored=None))
            if len(found) == _MOST_FINDINGS:
                yield _faults_page(verification, found, user)
                found = []
        yield _faults_page(verification, found, user)


def _faults_page(verification: Verification, found: list[Finding], user: int | None) -> FaultsPage:
    return FaultsPage(
        found,
        verification.objects,
        verification.bytes,
        verification.hashed_objects,
        verification.unhashed_objects,
        user or 0,
    )
