"""The journal: the books of one job, in one SQLite file with one writer."""
