"""The examples of reading back run as they are."""

import subprocess
import sys
from pathlib import Path

from tests.volumes.filling import Filler, bodies

from bucketpull.domain.packing import Packing

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_bucket_goes_through_the_workers_of_a_data_loader(tmp_path):
    with Filler(tmp_path, Packing()) as filler:
        filler.store(bodies(500))

    run = subprocess.run(
        [sys.executable, EXAMPLES / "dataloader.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert run.stdout == "500 objects, 1500000 bytes\n", run.stderr
