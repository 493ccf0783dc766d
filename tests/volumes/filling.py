"""Fills a volume the way a job does: written, made durable, booked; as files or into packs."""

import hashlib
import itertools
import os
from multiprocessing.connection import wait

import msgspec

from bucketpull.domain.messages import Assignment
from bucketpull.domain.model import Part
from bucketpull.domain.packing import Packing
from bucketpull.domain.record import Block
from bucketpull.downloader.batch_progress import BatchProgress
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.packs.writer import open_pack_writer
from bucketpull.volumes.volume import open_volume
from bucketpull.volumes.writer import open_writer

JOURNAL = "0123456789ab"
ODD_KEYS = [
    (b"", b"1.2.jpg"),
    (b"", b"1.3.jpg"),
    (b"a", b"nosuffix"),
    (b"a", b"n" * 300),
    ("图片".encode(), "中文 一.jpg".encode()),
    (b"\xff\xfe", b"\x80.jpg"),
    (b"..", b".."),
    (b"", b"."),
    (b"deep/" * 60 + b"x", b"y.jpg"),
    (b"a/nosuffix", b"below what is a file"),
    (b"packs", b"SHA256SUMS"),
]


class Filler:
    """One volume with a writer. `packing` None stores files; `blocks` are the offsets of a batch's blocks in the ledger."""

    def __init__(self, path, packing=None, durable=True):
        self.path = str(path)
        self.id = initialise(self.path)
        self.volume = open_volume(self.path, durable=durable)
        durability = "batch" if durable else "none"
        if packing is None:
            self.writer = open_writer(self.path, self.id, durability)
        else:
            self.writer = open_pack_writer(self.path, self.id, durability, packing)
        self.works = itertools.count(1)
        self.blocks = {}

    def store(self, objects, mtime=1_600_000_000, md5=True, settle=True, is_new=False):
        """Store bodies by (directory, name) as one batch; `is_new` as in `Volume.settle`."""
        parts = [
            Part(directory, "", [name], [len(body)], [mtime]) for (directory, name), body in objects.items()
        ]
        batch = BatchProgress(Assignment(1, self.id, 0, msgspec.msgpack.encode(parts)))
        written = []
        for progress, body in zip(batch.parts, objects.values(), strict=True):
            chunks = [body] if body else []
            outcome = self.writer.put(
                progress.part.directory, progress.part.names[0], mtime, chunks, progress
            )
            written += [] if outcome is None else [outcome]
            if md5:
                progress.note_md5(0, hashlib.md5(body).digest())
        self.writer.flush()
        while len(written) < len(objects):
            wait([self.writer.wake_fd], 10)
            written += self.writer.outcomes()
        for each in written:
            assert each.reason is None, each
            batch.store(each.token, 0, each.token.part.sizes[0], each.path)
            if each.pack:
                each.token.note_pack(0, each.pack, each.offset)
        if settle:
            work = next(self.works)
            settled = self.volume.settle([Block(JOURNAL, work, batch.outcome().records)], is_new)
            self.blocks[work] = [extent.offset for extent in settled]

    def close(self):
        self.writer.close()
        self.volume.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


SMALL_PACKS = Packing(size=100_000)


def bodies(count, size=3000, start=0):
    """Return objects with bodies of their own."""
    return {
        (b"d%d" % (number % 3), b"%d.jpg" % number): os.urandom(size)
        for number in range(start, start + count)
    }
