"""Packs made with `--pack-names wds`, as WebDataset reads them: each object is a sample, with its key beside it.

    pip install webdataset
    python examples/webdataset_samples.py /mnt/disk1 /mnt/disk2

WebDataset reads packs in sequence and needs nothing of bucketpull. An object that was replaced since is in a pack twice:
take bucketpull.open where that matters (see dataloader.py).
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import webdataset


def objects(volumes: list[str]) -> Iterator[tuple[str, bytes]]:
    """Give the key and the bytes of each object."""
    packs = sorted(str(path) for volume in volumes for path in Path(volume, "packs").glob("*.tar"))
    # Shuffled as training wants it: the packs, then what is in a window of 1,000 samples.
    samples = webdataset.WebDataset(packs, shardshuffle=len(packs), empty_check=False).shuffle(1000)
    for sample in samples.decode(only="json"):
        (kind,) = (name for name in sample if not name.startswith("__") and name != "json")
        yield sample["json"]["key"], sample[kind]  # of a .jpg: PIL.Image.open(io.BytesIO(...))


def main(volumes: list[str]) -> None:
    """Read every sample once."""
    sizes = {key: len(data) for key, data in objects(volumes)}
    print(f"{len(sizes)} objects, {sum(sizes.values())} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
