"""The examples with WebDataset and pandas run as they are, on packs that a job has pulled."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE_SECONDS = 120


def run(user, example, *arguments):
    command = [sys.executable, EXAMPLES / example, *arguments]
    done = subprocess.run(
        command, cwd=user.folder, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_webdataset_reads_each_object_with_its_key(user, bucket):
    simulator = bucket("tree:dirs=5,files=40,size=3000")
    user.knows(simulator).run(
        "sync", "upyun://photos", "disk1", "disk2", "--pack", "100K", "--pack-names", "wds"
    )
    assert len(list(user.folder.glob("disk*/packs/*.tar"))) > 2

    said = run(user, "webdataset_samples.py", "disk1", "disk2")

    sizes = [item.size for item in simulator.contents.walk()]
    assert said == f"{len(sizes)} objects, {sum(sizes)} bytes\n"


def test_pandas_reads_the_index_and_what_it_names(user, bucket):
    simulator = bucket("tree:dirs=5,files=40,size=3000")
    user.knows(simulator).run("sync", "upyun://photos", "disk1", "disk2", "--pack")
    user.run("export", "--format", "parquet", "--output", "photos.parquet")

    said = run(user, "pandas_index.py", "photos.parquet", "disk1", "disk2").splitlines()

    sizes = sorted(item.size for item in simulator.contents.walk())
    tenth = sizes[: len(sizes) // 10]
    assert said[-1] == f"{len(tenth)} objects read, {sum(tenth)} bytes"
    assert len(said) > 2
