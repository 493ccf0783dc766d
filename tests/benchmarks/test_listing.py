"""The benchmark of the listing builds its processes as the product's wiring does; no type check sees when the two differ."""

import json
import subprocess
import sys


def test_a_small_bucket_is_listed_and_measured():
    command = [sys.executable, "-m", "benchmarks.listing", "flat:2000", "--json", "--seconds", "60"]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120).stdout)
    assert told["entries"] == 2000
    assert told["cpu_seconds"] > 0
