"""`bucketpull coordinate` with less patience: python coordinator.py SILENCE GRACE ARGUMENTS... (seconds)."""

import sys

from msgspec.structs import replace

from bucketpull.cli.main import main
from bucketpull.wiring import cluster

silence, grace = float(sys.argv[1]), float(sys.argv[2])
usual = cluster.coordinator_parameters
cluster.coordinator_parameters = lambda *known: replace(
    usual(*known), silence_seconds=silence, grace_seconds=grace
)
sys.argv = ["bucketpull", *sys.argv[3:]]
main()
