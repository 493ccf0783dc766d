"""A pulled bucket as a PyTorch data set: read by key at random, or in the order of the disk.

    python examples/dataloader.py /mnt/disk1 /mnt/disk2

Each of the DataLoader's workers opens the volumes for itself: the bucket is pickled as their paths. Without PyTorch it
does the same with a pool of processes.
"""

import sys
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


def main(volumes: list[str]) -> None:
    """Read every object once, by two workers."""
    objects = Objects(volumes)
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        with ProcessPoolExecutor(2) as pool:
            samples = list(pool.map(objects.__getitem__, range(len(objects)), chunksize=100))
    else:
        samples = list(DataLoader(objects, batch_size=None, num_workers=2))
    print(f"{len(samples)} objects, {sum(len(data) for _, data in samples)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
