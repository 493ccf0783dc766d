"""Fills a volume as a worker does, and says on stdout what is settled; made to be killed.

Usage: victim.py PATH DURABILITY FIRST LAST: works of 20 objects each, 5 works a settling.
"""

import hashlib
import sys
from multiprocessing.connection import wait

import msgspec

from bucketpull.domain.record import Block, Record
from bucketpull.volumes.volume import open_volume
from bucketpull.volumes.writer import open_writer

JOURNAL = "0123456789ab"
OBJECTS = 20
GROUP = 5


def objects(work):
    """Give directory, name and body of a work's objects; bodies are 0 to 20 kB."""
    for number in range(OBJECTS):
        seed = hashlib.sha256(b"%d/%d" % (work, number)).digest()
        yield (
            b"d%d/%s" % (work % 7, seed[:1].hex().encode()),
            seed[:8].hex().encode(),
            seed * (seed[0] * 5 // 2),
        )


def block(work):
    found = list(objects(work))
    records = [Record(directory, "", [name], [len(body)], [1_600_000_000]) for directory, name, body in found]
    return Block(JOURNAL, work, msgspec.msgpack.encode(records))


def store(writer, work):
    outcomes = []
    for directory, name, body in objects(work):
        written = writer.put(directory, name, 1_600_000_000, [body], name)
        outcomes += [] if written is None else [written]
    while len(outcomes) < OBJECTS:
        wait([writer.wake_fd])
        outcomes += writer.outcomes()
    if any(written.reason for written in outcomes):
        sys.exit("refused")


def main(path, durability, first, last):
    volume = open_volume(path, durable=durability != "none")
    writer = open_writer(path, volume.id, durability)
    waiting = []
    for work in range(int(first), int(last)):
        if dict(volume.pending(JOURNAL)).get(work):
            print(f"recalled {work}", flush=True)
            continue
        volume.intend(JOURNAL, work)
        store(writer, work)
        waiting.append(work)
        if len(waiting) == GROUP:
            settle(volume, waiting)
            waiting = []
    settle(volume, waiting)
    print("done", flush=True)
    writer.close()
    volume.close()


def settle(volume, works):
    if works:
        extents = volume.settle([block(work) for work in works])
        for work, extent in zip(works, extents, strict=True):
            print(f"settled {work} {extent.offset}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
