import re

from prometheus_client.parser import text_string_to_metric_families

from bucketpull.domain.errors import Reason
from bucketpull.web import metrics


def samples(panel):
    text = metrics.exposition(panel.snapshot).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_say_what_the_snapshot_says(serve):
    served = serve()
    found = served.call(_in_loop(lambda: (samples(served.panel), served.panel.snapshot())))
    values, snapshot = found

    assert values["bucketpull_objects_total", ("outcome", "stored")] == snapshot.counters.stored
    assert values["bucketpull_failures_total", ("reason", "missing")] == 9
    assert values["bucketpull_failures_total", ("reason", "size")] == 0
    assert values["bucketpull_received_bytes_total",] == snapshot.spent.bytes
    assert values["bucketpull_wasted_bytes_total", ("reason", "stalled")] == snapshot.spent.wasted["stalled"]
    assert values["bucketpull_wasted_bytes_total", ("reason", "size")] == 0
    assert values["bucketpull_outstanding_work", ("kind", "batch")] == snapshot.outstanding.batches
    assert values["bucketpull_state", ("state", "transferring")] == 1
    assert values["bucketpull_state", ("state", "paused")] == 0
    assert values["bucketpull_in_flight_limit", ("lane", "cdn")] == 512
    assert values["bucketpull_limited", ("by", "disk")] == 1
    assert values["bucketpull_eta_seconds", ("bound", "low")] == snapshot.estimate.low
    disk = (("machine", "beta"), ("volume", "/mnt/disk4"))
    assert values["bucketpull_volume_state", disk[0], ("state", "sick"), disk[1]] == 1
    assert values["bucketpull_volume_free_bytes", *disk] == snapshot.volumes[3].free_bytes


def test_every_metric_is_documented_and_every_documented_one_is_there(serve):
    names = {name for name, *_ in samples(serve().panel)}
    documented = set(re.findall(r"`(bucketpull_\w+)`", metrics.__doc__))
    documented |= {f"bucketpull_volume{suffix}" for suffix in re.findall(r"`(_\w+)`", metrics.__doc__)}

    assert names == documented


def test_what_is_unknown_is_absent(serve):
    panel = serve().panel
    snapshot = panel.snapshot()
    snapshot.estimate.total_bytes, snapshot.estimate.high, snapshot.estimate.seconds = 0, None, None
    snapshot.estimate.low = None

    text = metrics.exposition(lambda: snapshot).decode()

    assert "done_ratio" not in text
    assert "eta_seconds" not in text


def test_labels_have_closed_sets_of_values(serve):
    snapshot = serve().panel.snapshot()
    snapshot.failures["no-such-reason"] = 5

    text = metrics.exposition(lambda: snapshot).decode()

    assert set(re.findall(r'reason="([^"]*)"', text)) == set(Reason)


async def _in_loop(function):
    return function()
