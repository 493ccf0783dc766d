"""A pulled bucket as a PyTorch data set: read by key at random, or in the order of the disk.

    python examples/dataloader.py /mnt/disk1 /mnt/disk2

Each of the DataLoader's workers opens the volumes for itself: the bucket is pickled as their paths. Without PyTorch it
does the same with a pool of processes.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import bucketpull


class Objects:
    """A map-style data set (`torch.utils.data.Dataset` needs no more): object number N, with its key."""

    def __init__(self, volumes: list[str], prefix: str = "") -> None:
        self.bucket = bucketpull.open(*volumes)
        self.keys = list(self.bucket.keys(prefix))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> tuple[str, bytes]:
        key = self.keys[number]
        return key, self.bucket.read(key)  # decode it here: PIL.Image.open(io.BytesIO(data))


def samples(objects: Objects) -> Iterator[tuple[str, bytes]]:
    """Give every object once, read by two workers."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        with ProcessPoolExecutor(2) as pool:
            yield from pool.map(objects.__getitem__, range(len(objects)), chunksize=100)
    else:
        yield from DataLoader(objects, batch_size=None, num_workers=2)


def main(volumes: list[str]) -> None:
    """Read every object once, and say how far it is."""
    objects = Objects(volumes)
    count = size = 0
    for count, (_, data) in enumerate(samples(objects), 1):
        size += len(data)
        if count % 10_000 == 0:
            print(f"{count} of {len(objects)} objects", file=sys.stderr)
    print(f"{count} objects, {size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
