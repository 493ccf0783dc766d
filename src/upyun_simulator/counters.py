"""What was served: requests by kind and status, peak concurrency, bytes, faults, keys fetched more than once."""

from collections import Counter
from typing import Any

from upyun_simulator.message import Reply


class Counters:
    """Counts since the start or the last reset. Kinds are such as `rest.list`, `rest.get`, `cdn.get`."""

    def __init__(self, *, track_keys: bool = False) -> None:
        self._track = track_keys
        self._in_flight: Counter[str] = Counter()
        self.connections = 0
        self.reset()

    def reset(self) -> None:
        """Start again from zero; what is in flight stays counted."""
        self._requests: Counter[tuple[str, int]] = Counter()
        self._faults: Counter[str] = Counter()
        self._keys: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._peak: Counter[str] = Counter(self._in_flight)
        self._peak_connections = self.connections
        self._unfinished = 0

    def opened(self) -> None:
        """Count a connection."""
        self.connections += 1
        self._peak_connections = max(self._peak_connections, self.connections)

    def closed(self) -> None:
        """Count a connection's end."""
        self.connections -= 1

    def begin(self, reply: Reply, key: str) -> None:
        """Count a request as it is answered."""
        label = reply.label
        self._requests[label, reply.status] += 1
        self._in_flight[label] += 1
        self._peak[label] = max(self._peak[label], self._in_flight[label])
        self._faults.update(reply.faults)
        if self._track and label.endswith(".get"):
            self._keys[key] += 1

    def end(self, reply: Reply, sent: int, *, complete: bool) -> None:
        """Count what of a reply's body has gone out."""
        self._in_flight[reply.label] -= 1
        self._bytes[reply.label] += sent
        self._unfinished += not complete

    def report(self) -> dict[str, Any]:
        """Return everything as plain values."""
        kinds: dict[str, dict[str, int]] = {}
        for (label, status), count in sorted(self._requests.items()):
            kinds.setdefault(label, {})[str(status)] = count
        repeated = {key: count for key, count in self._keys.items() if count > 1}
        return {
            "requests": kinds,
            "total": sum(self._requests.values()),
            "bytes": dict(self._bytes),
            "faults": dict(self._faults),
            "in_flight": {label: count for label, count in self._in_flight.items() if count},
            "peak": dict(self._peak),
            "connections": self.connections,
            "peak_connections": self._peak_connections,
            "unfinished": self._unfinished,
            "keys": len(self._keys),
            "duplicates": sum(repeated.values()) - len(repeated),
            "repeated": dict(sorted(repeated.items())[:1000]),
        }
