"""Prometheus metrics, made from the snapshot when they are scraped; between scrapes they cost nothing.

Names, labels and units are a promise; labels have closed sets of values, except the volumes and machines of the job.

| metric | labels | meaning |
| --- | --- | --- |
| `bucketpull_objects_total` | `outcome`: stored, skipped, excluded, failed, vanished | objects that came to an end in this run |
| `bucketpull_listed_objects_total`, `bucketpull_listed_bytes_total` | | what was listed |
| `bucketpull_bytes_total` | | bytes stored |
| `bucketpull_skipped_bytes_total` | | bytes found in place |
| `bucketpull_directories_total`, `bucketpull_pages_total` | | directories and pages listed |
| `bucketpull_failures_total` | `reason` | final failures |
| `bucketpull_retries_total` | `reason` | repeated requests |
| `bucketpull_received_bytes_total` | | bytes received, in all runs of the job, those of failed transfers too |
| `bucketpull_wasted_bytes_total` | `reason` | those of them that were thrown away, by what was wrong with them |
| `bucketpull_requests_total`, `bucketpull_throttled_total`, `bucketpull_request_seconds_total` | `lane`: an endpoint that the source declares (upyun: list, rest, cdn; s3: list, s3, cdn; urls: list, files) | \
requests ended, refused for their number, and their durations added up, of the live workers |
| `bucketpull_in_flight`, `bucketpull_in_flight_limit` | `lane` | transfers under way, and how many the limiters allow |
| `bucketpull_outstanding_work` | `kind`: scan, batch | work not done |
| `bucketpull_outstanding_objects`, `bucketpull_outstanding_bytes` | | listed and not done |
| `bucketpull_state` | `state` | 1 for the job's state, 0 for the others |
| `bucketpull_limited` | `by`: source, the name of an endpoint that holds copies, disk, cpu, rate, bandwidth, work | 1 for what holds the job back |
| `bucketpull_machines` | | live workers |
| `bucketpull_done_ratio` | | share of the bytes that is done, 0 to 1; absent while the total is unknown |
| `bucketpull_eta_seconds` | `bound`: expected, low, high | time left; absent while unknown |
| `bucketpull_volume_free_bytes`, `_total_bytes`, `_free_inodes`, `_queued_bytes`, `_stored_objects`, `_stored_bytes`, \
`_written_bytes_per_second` | `machine`, `volume` (its path) | a volume |
| `bucketpull_volume_state` | `machine`, `volume`, `state` | 1 for the volume's state, 0 for the others |
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bucketpull.domain.errors import Reason
from bucketpull.domain.progress import JobState, Snapshot
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.report.document import endpoints_of, lists_only

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OUTCOMES = ("stored", "skipped", "excluded", "failed", "vanished")
LIMITERS = ("source", "disk", "cpu", "rate", "bandwidth", "work")


def _copies(snapshot: Snapshot) -> list[str]:
    """Name the endpoints that are no origin: each of them is a limiter of its own."""
    return [name for name, status in endpoints_of(snapshot).items() if not status.is_origin]


class _Collector(Collector):
    """The metrics of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Make them."""
        yield from _books(self._snapshot)
        yield from _requests(self._snapshot)
        yield from _outstanding(self._snapshot)
        yield from _condition(self._snapshot)
        yield from _volumes(self._snapshot.volumes)


def exposition(snapshot: Callable[[], Snapshot]) -> bytes:
    """Return the metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot()))
    return generate_latest(registry)


def _books(snapshot: Snapshot) -> Iterator[Metric]:
    books = snapshot.counters
    outcomes = {name: getattr(books, name) for name in OUTCOMES}
    yield _counters("objects", "Objects that came to an end in this run.", "outcome", outcomes)
    for name, text, number in (
        ("listed_objects", "Objects listed.", books.listed),
        ("listed_bytes", "Bytes listed.", books.listed_bytes),
        ("bytes", "Bytes stored.", books.bytes),
        ("skipped_bytes", "Bytes found in place.", books.skipped_bytes),
        ("directories", "Directories listed.", books.directories),
        ("pages", "Pages listed.", books.pages),
    ):
        yield CounterMetricFamily(f"bucketpull_{name}", text, value=number)
    yield _counters("failures", "Final failures.", "reason", _known(snapshot.failures))
    yield _counters("retries", "Repeated requests.", "reason", _known(snapshot.retries))
    yield CounterMetricFamily("bucketpull_received_bytes", "Bytes received.", value=snapshot.spent.bytes)
    yield _counters("wasted_bytes", "Bytes thrown away.", "reason", _known(snapshot.spent.wasted))


def _known(counts: dict[str, int]) -> dict[str, int]:
    """Give every reason a value, so that an alert can see the first failure as a growth from 0."""
    return {str(reason): counts.get(reason, 0) for reason in Reason}


def _requests(snapshot: Snapshot) -> Iterator[Metric]:
    status = endpoints_of(snapshot)
    for make, name, text, field in (
        (_counters, "requests", "Requests ended.", "requests"),
        (_counters, "throttled", "Requests refused for their number.", "throttled"),
        (_counters, "request_seconds", "Durations of requests, added up.", "seconds"),
        (_gauges, "in_flight", "Transfers under way.", "in_flight"),
        (_gauges, "in_flight_limit", "Transfers allowed at once.", "level"),
    ):
        yield make(name, text, "lane", {lane: getattr(found, field) for lane, found in status.items()})


def _outstanding(snapshot: Snapshot) -> Iterator[Metric]:
    left = snapshot.outstanding
    yield _gauges("outstanding_work", "Work not done.", "kind", {"scan": left.scans, "batch": left.batches})
    yield GaugeMetricFamily(
        "bucketpull_outstanding_objects", "Objects listed and not done.", value=left.objects
    )
    yield GaugeMetricFamily("bucketpull_outstanding_bytes", "Bytes listed and not done.", value=left.bytes)


def _condition(snapshot: Snapshot) -> Iterator[Metric]:
    estimate = snapshot.estimate
    yield _gauges("state", "1 for the state.", "state", {str(s): int(s == snapshot.state) for s in JobState})
    yield _gauges(
        "limited",
        "1 for what holds the job back.",
        "by",
        {name: int(name == snapshot.limited_by) for name in (*LIMITERS, *_copies(snapshot))},
    )
    yield GaugeMetricFamily(
        "bucketpull_machines",
        "Live workers.",
        value=sum(not lists_only(machine) for machine in snapshot.machines),
    )
    if estimate.total_bytes:
        yield GaugeMetricFamily(
            "bucketpull_done_ratio", "Share of the bytes that is done.", value=estimate.share
        )
    bounds = {"expected": estimate.seconds, "low": estimate.low, "high": estimate.high}
    told = {name: seconds for name, seconds in bounds.items() if seconds is not None}
    if told:
        yield _gauges("eta_seconds", "Time left.", "bound", told)


def _volumes(volumes: list[VolumeStatus]) -> Iterator[Metric]:
    for name, text in (
        ("free_bytes", "Bytes free."),
        ("total_bytes", "Bytes in all."),
        ("free_inodes", "Inodes free."),
        ("queued_bytes", "Bytes waiting to be written."),
        ("stored_objects", "Objects stored."),
        ("stored_bytes", "Bytes stored."),
    ):
        gauge = GaugeMetricFamily(f"bucketpull_volume_{name}", text, labels=["machine", "volume"])
        for volume in volumes:
            if volume.total_bytes:  # else nobody has measured it yet
                gauge.add_metric([volume.machine, volume.path], getattr(volume, name))
        yield gauge
    speed = GaugeMetricFamily(
        "bucketpull_volume_written_bytes_per_second", "Bytes written a second.", labels=["machine", "volume"]
    )
    state = GaugeMetricFamily(
        "bucketpull_volume_state", "1 for the volume's state.", labels=["machine", "volume", "state"]
    )
    for volume in volumes:
        speed.add_metric([volume.machine, volume.path], volume.written_per_second)
        for name in VolumeState:
            state.add_metric([volume.machine, volume.path, str(name)], int(name == volume.state))
    yield from (speed, state)


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _labelled(CounterMetricFamily(f"bucketpull_{name}", text, labels=[label]), values)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _labelled(GaugeMetricFamily(f"bucketpull_{name}", text, labels=[label]), values)


def _labelled(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    for value, number in values.items():
        family.add_metric([value], number)
    return family
