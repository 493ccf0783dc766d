"""What a forked downloader runs: its own fetch loop, source and writers, joined to its agent's process."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from bucketpull.domain.messages import Mount
from bucketpull.domain.packing import Packing
from bucketpull.domain.selection import Selection
from bucketpull.downloader.parameters import Bounds, DownloaderParameters
from bucketpull.downloader.process import Process
from bucketpull.fetch.fetch_options import FetchOptions
from bucketpull.fetch.loop import FetchLoop
from bucketpull.sources.source_settings import SourceSettings
from bucketpull.volumes.syscalls import libc
from bucketpull.volumes.writer import open_writer
from bucketpull.wiring.selected_source import selected
from bucketpull.wiring.system import SystemClock, most_transfers

if TYPE_CHECKING:
    from bucketpull.ports import Writer

_M_TRIM_THRESHOLD: Final = -1
_KEPT_BYTES: Final = 16 << 20
# glibc has it. It is found once, not by each downloader, to which a library takes 0.5 ms.
_mallopt: Final = getattr(libc, "mallopt", None)


def process_main(
    sock: socket.socket,
    number: int,
    source: SourceSettings,
    fetch: FetchOptions,
    selection: Selection,
    packing: Packing | None,
) -> None:
    """Run until the worker's main process says stop or is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _keep_memory()
    generator = random.Random(os.getpid() ^ number)  # its own: forked processes would all jitter alike
    most = most_transfers()
    if most is not None:
        fetch = msgspec.structs.replace(fetch, kept_connections=most)
    Process(
        sock,
        FetchLoop(fetch),
        selected(source.open(), selection),
        partial(_open_writer, packing),
        SystemClock(),
        generator,
        DownloaderParameters(Bounds(in_flight=most), order=selection.order),
    ).run()
    sys.stderr.flush()


def _keep_memory() -> None:
    """Have the C library keep what bodies leave free: to give it back and fault it in again took up to 4 µs an object."""
    if _mallopt is not None:
        _mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _open_writer(packing: Packing | None, mount: Mount) -> Writer:
    if packing is not None:
        from bucketpull.volumes.packs.writer import open_pack_writer

        return open_pack_writer(mount.path, mount.id, mount.durability, packing)
    return open_writer(mount.path, mount.id, mount.durability)
