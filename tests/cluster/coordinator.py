"""`bucketpull coordinate` with less patience: python coordinator.py SILENCE GRACE ARGUMENTS... (seconds)."""

import sys
from functools import partial

from bucketpull.cli.main import main
from bucketpull.domain.policy import CoordinatorPolicy
from bucketpull.wiring import cluster

silence, grace = float(sys.argv[1]), float(sys.argv[2])
cluster.run_coordinate = partial(
    cluster.run_coordinate, policy=CoordinatorPolicy(silence_seconds=silence, grace_seconds=grace)
)
sys.argv = ["bucketpull", *sys.argv[3:]]
main()
