"""The counters of one process, plain integers that cost an addition each."""

from collections import Counter


class Meter:
    """What a process did since its start: objects and bytes that are on their volumes, and reasons of repeats and failures."""

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0
        self.retries = Counter[str]()
        self.failures = Counter[str]()
