"""bucketpull against its peers and against the limit, on this machine: `python -m benchmarks --help`."""
