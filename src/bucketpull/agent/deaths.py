"""How many processes ended unasked: a few are the fault of an object, many in a row are a bug."""


class Deaths:
    """Counts deaths; more than `most` in `seconds` are too many."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._at: list[float] = []

    def add(self, now: float, status: int) -> None:
        """Note one, with its exit status.

        Raises:
            RuntimeError: Processes only die: that is no batch's fault.

        """
        self._at = [at for at in self._at if now - at < self._seconds]
        self._at.append(now)
        if len(self._at) > self._most:
            raise RuntimeError(f"worker processes end as soon as they are made, with status {status}")
