"""The exported Parquet index in pandas: which directories are largest, and objects chosen by it, in the order of the disk.

    pip install pandas pyarrow
    bucketpull export --format parquet --output photos.parquet --job photos
    python examples/pandas_index.py photos.parquet /mnt/disk1 /mnt/disk2

A row tells key, size, mtime, md5, the volume's id, the file below it, and where in that file the object lies.
"""

import sys

import pandas as pd

import bucketpull


def largest(index: pd.DataFrame, count: int = 10) -> pd.DataFrame:
    """Return the directories that hold the most bytes."""
    directories = index["key"].str.rpartition("/")[0]
    sums = index.groupby(directories)["length"].agg(objects="count", bytes="sum")
    return sums.sort_values("bytes", ascending=False).head(count)


def main(parquet: str, *volumes: str) -> None:
    """Print the largest directories, and read the tenth of the objects that is smallest."""
    index = pd.read_parquet(parquet)
    print(largest(index).to_string(index_names=False))
    chosen = index.nsmallest(len(index) // 10, "length").sort_values(["volume", "path", "offset"])
    with bucketpull.open(*volumes) as bucket:
        total = 0
        for count, key in enumerate(chosen["key"], 1):
            total += len(bucket.read(key))
            if count % 10_000 == 0:
                print(f"{count} of {len(chosen)} objects read", file=sys.stderr)
    print(f"{len(chosen)} objects read, {total} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
