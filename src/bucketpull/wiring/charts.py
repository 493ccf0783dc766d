"""The past of a job for the dashboard's charts, kept beside its journal: it outlives the coordinator."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.progress import Snapshot
from bucketpull.web.history import History, Kept

NAME: Final = "charts.json"
SAMPLE_SECONDS: Final = 2.0
SAVE_SAMPLES: Final = 30
MOST_BYTES: Final = 4 << 20
_decode = json_decoder(Kept)


def load(folder: Path) -> History:
    """Return the history of a job; where none can be read, a new one: charts are not worth a job."""
    with contextlib.suppress(OSError, msgspec.DecodeError), open(folder / NAME, "rb") as file:
        return History(_decode(file.read(MOST_BYTES)))
    return History()


def save(folder: Path, kept: Kept) -> None:
    """Write it in one step; where that cannot be, the last one stays."""
    fresh = folder / f"{NAME}.new"
    with contextlib.suppress(OSError):
        fresh.write_bytes(msgspec.json.encode(kept))
        os.replace(fresh, folder / NAME)


async def record(history: History, snapshot: Callable[[], Snapshot], folder: Path) -> None:
    """Add a point every two seconds and save once a minute, until cancelled; then save."""
    try:
        while True:
            for _ in range(SAVE_SAMPLES):
                history.add(snapshot())
                await asyncio.sleep(SAMPLE_SECONDS)
            await asyncio.to_thread(save, folder, history.keep())
    finally:
        history.add(snapshot())
        save(folder, history.keep())
