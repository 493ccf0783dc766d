"""One file an object: a volume on which each object lies at its key as a path."""
