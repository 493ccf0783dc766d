"""The broker holds a short window of the work; the rest waits in the journal."""

import json


def test_the_broker_holds_a_few_batches_however_much_is_listed(make_cluster, broker):
    """A slow machine of one process wants two batches at a time; beside them wait a word or two of the coordinator's."""
    cluster = make_cluster("flat:60000,size=2KiB", cdn_latency=0.5)
    cluster.work("m1")
    cluster.coordinate("--concurrency", "64")
    cluster.until(lambda: cluster.stored("m1") > 50)
    status = ["status", "--broker", cluster.url, "--job", cluster.name, "--json"]
    cluster.until(lambda: json.loads(cluster.command(*status))["outstanding"]["batches"] > 50)
    for _ in range(3):
        before = cluster.stored()
        held = {name: count for name, (_, count) in broker.queues().items() if f".{cluster.name}." in name}
        assert f"bucketpull.{cluster.name}.machine.m1" in held
        assert sum(held.values()) <= 8, held
        cluster.until(lambda before=before: cluster.stored() > before + 200)
