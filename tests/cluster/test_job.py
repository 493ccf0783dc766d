"""A job of several machines, from start to end and again."""

import json
import signal
import time

from tests.cluster.conftest import COMMAND, SLOW
from tests.servers.proxy import Proxy

from upyun_simulator import content


def test_two_machines_share_a_job_and_the_books_are_exact(make_cluster):
    cluster = make_cluster("tree:dirs=60,files=100,size=2KiB", bandwidth=SLOW)
    for machine in ("m1", "m2"):  # before their coordinator
        cluster.work(machine)
    cluster.until(lambda: all("waiting for the coordinator" in cluster.log(each) for each in ("m1", "m2")))
    cluster.coordinate("--price-per-gb", "1000", "--price-per-10k", "10")
    cluster.until_all_store(("m1", "m2"), 1e8)
    assert cluster.ends() == 0
    assert (cluster.ends("m1"), cluster.ends("m2")) == (0, 0)
    summary = cluster.check()
    assert summary["stored"] == 6000
    assert {volume["machine"] for volume in summary["volumes"]} == {"m1", "m2"}
    spent = summary["spent"]
    assert spent["requests"] >= 6000
    assert spent["bytes"] >= 6000 * 2048
    assert abs(spent["cost"] - spent["bytes"] / 1e6 - spent["requests"] / 1000) < 1e-3
    cluster.coordinate("--max-bytes", "10M", name="over budget")
    assert cluster.ends("over budget") == 6


def test_a_job_begun_on_one_machine_goes_on_on_several(make_cluster):
    cluster = make_cluster("flat:8000,size=1KiB", bandwidth=1e6)
    access = ["--api-url", cluster.simulator.api_url, "--cdn-url", cluster.simulator.cdn_url]
    alone = ["sync", f"upyun://{cluster.simulator.bucket}", str(cluster.volume("m1")), *access]
    cluster._start("sync", [*COMMAND, *alone, "--state", str(cluster.state)], {"BUCKETPULL_MACHINE": "m1"})
    cluster.until(lambda: cluster.stored() > 1500)
    cluster.processes["sync"].send_signal(signal.SIGINT)
    assert cluster.ends("sync") == 130
    cluster.simulator.set(bandwidth=SLOW)
    for machine in ("m2", "m1"):
        cluster.work(machine)
    cluster.coordinate()
    cluster.until_all_store(("m1", "m2"), 1e8)
    assert cluster.ends() == 0
    assert cluster.check()["stored"] == 8000


def pulled_by_two(make_cluster, spec):
    """Have two machines pull a bucket, and check it; return the cluster, and where each object lies."""
    cluster = make_cluster(spec)
    for machine in ("m1", "m2"):
        cluster.work(machine)
    cluster.coordinate()
    assert cluster.ends() == 0
    cluster.check()
    return cluster, dict(cluster.places())


def test_a_second_run_sends_objects_back_to_the_machine_that_has_them(make_cluster):
    cluster, first = pulled_by_two(make_cluster, "flat:6000,size=1KiB")
    items = list(cluster.simulator.contents.walk())
    touched = [items[number].key for number in (0, 1500, 2999, 4500, 5999)]
    cluster.simulator.mutate(touch=touched)
    before = cluster.simulator.counters()["requests"]["cdn.get"]
    for machine in ("m1", "m2"):
        assert cluster.ends(machine) == 0
        cluster.work(machine)
    cluster.coordinate()
    assert cluster.ends() == 0
    summary = cluster.summary()
    assert (summary["stored"], summary["skipped"]) == (5, 5995)
    after = cluster.simulator.counters()["requests"]["cdn.get"]
    assert sum(after.values()) - sum(before.values()) == 5
    assert dict(cluster.places()) == first
    for key in touched:
        item = next(item for item in items if item.key == key)
        assert first[key].read_bytes() == content(key, item.size, 1)
        place = json.loads(cluster.command("where", key, "--state", str(cluster.state), "--json"))
        assert place["path"] == str(first[key])
        assert place["machine"] == first[key].relative_to(cluster.folder).parts[0]


def test_objects_stay_with_their_machines_when_batches_have_other_borders(make_cluster):
    """Two new names at the front move each object to another place in its batch, and some to the next batch."""
    cluster, first = pulled_by_two(
        make_cluster, "big=flat:5000,size=1KiB;small=tree:dirs=20,files=50,size=1KiB"
    )
    new = {f"{folder}/00-first.jpg": 100 for folder in ("big", "small/d0", "small/d1")}
    cluster.simulator.mutate(put=new)
    before = cluster.simulator.counters()["requests"]["cdn.get"]
    for machine in ("m1", "m2"):
        assert cluster.ends(machine) == 0
        cluster.work(machine)
    cluster.coordinate()
    assert cluster.ends() == 0

    summary = cluster.summary()
    assert (summary["stored"], summary["skipped"]) == (len(new), len(first))
    after = cluster.simulator.counters()["requests"]["cdn.get"]
    assert sum(after.values()) - sum(before.values()) == len(new)
    places = cluster.places()
    assert len(places) == len(first) + len(new)
    assert {key: path for key, path in places if key not in new} == first


def test_status_shows_the_fleet_from_anywhere_and_a_second_coordinator_is_refused(make_cluster):
    cluster = make_cluster("flat:20000,size=4KiB", bandwidth=3e6)
    cluster.work("m1")
    cluster.work("m2")
    cluster.coordinate()
    cluster.until(lambda: cluster.stored("m1") and cluster.stored("m2"))

    def shown():
        return json.loads(cluster.command("status", "--broker", cluster.url, "--job", cluster.name, "--json"))

    cluster.until(lambda: {machine["machine"] for machine in shown()["machines"]} >= {"m1", "m2"})
    assert shown()["running"]
    words = cluster.command("status", "--broker", cluster.url, "--job", cluster.name)
    assert "m1" in words
    assert "m2" in words
    cluster.command("status", "--broker", cluster.url, "--job", "nobody", expect=3)
    elsewhere = cluster.folder / "elsewhere"
    begun = time.monotonic()
    cluster.coordinate("--state", str(elsewhere), name="second")
    assert cluster.ends("second") == 2
    assert time.monotonic() - begun < 60
    assert f"another coordinator has job {cluster.name}" in cluster.log("second")
    assert not elsewhere.exists()
    assert cluster.processes["coordinator"].poll() is None  # the first goes on


def test_failures_are_told_to_any_machine_while_the_job_runs(make_cluster):
    spec = "fine=flat:8000,size=4KiB;odd=flat:5,size=300"
    cluster = make_cluster(spec, bandwidth=1e6, faults=["error:code=40000030,path=odd/img*"])
    cluster.work("m1")
    cluster.coordinate()
    asked = ("failures", "--broker", cluster.url, "--job", cluster.name, "--json")
    cluster.until(lambda: cluster.stored("m1"))
    cluster.until(lambda: len(cluster.command(*asked).splitlines()) == 5)

    told = [json.loads(line) for line in cluster.command(*asked, "--match", "*3.jpg").splitlines()]

    assert [(failure["key"], failure["reason"]) for failure in told] == [("odd/img-3.jpg", "rejected")]
    assert "the source refuses this object" in cluster.command(*asked[:-1], "--limit", "1")
    assert len(cluster.command(*asked, "--limit", "2").splitlines()) == 2


def test_workers_need_no_password_and_no_secret_passes_through_the_broker(make_cluster, broker):
    recorded = bytearray()

    class Recorder(Proxy):
        async def _pump(self, reader, writer):
            feed = reader.feed_data

            def feed_and_record(data):
                recorded.extend(data)
                feed(data)

            reader.feed_data = feed_and_record
            await super()._pump(reader, writer)

    with Recorder(broker.port) as proxy:
        url = broker.url.replace(str(broker.port), str(proxy.port))
        cluster = make_cluster(
            "flat:1500,size=1KiB",
            url=url,
            token_secret="cdn-secret-of-ours",
            operators=("operator:very-own-password",),
        )
        token = cluster.command(
            "coordinate",
            f"upyun://{cluster.simulator.bucket}",
            "--api-url",
            cluster.simulator.api_url,
            "--worker-token",
            "7",
        )
        given = dict(line.split("=", 1) for line in token.splitlines())
        assert set(given) == {"UPYUN_OPERATOR", "UPYUN_TOKEN", "UPYUN_TOKEN_EXPIRES"}
        secrets = {"UPYUN_TOKEN_SECRET": "cdn-secret-of-ours"}
        cluster.work("m1", UPYUN_PASSWORD="", **given, **secrets)
        (cluster.folder / "job.toml").write_text('token_secret = "cdn-secret-of-ours"\n')
        cluster.coordinate("--config", str(cluster.folder / "job.toml"))
        assert cluster.ends() == 0
        cluster.check()
        assert len(recorded) > 20_000
        for secret in (cluster.simulator.password, given["UPYUN_TOKEN"], "cdn-secret-of-ours"):
            assert secret.encode() not in recorded


def test_a_worker_that_the_source_refuses_leaves_with_4_and_the_others_go_on(make_cluster):
    cluster = make_cluster("flat:12000,size=1KiB", bandwidth=SLOW)
    cluster.cdn = False
    cluster.work("m1")
    cluster.coordinate()
    cluster.until(lambda: cluster.stored("m1"))
    cluster.work("m2", UPYUN_PASSWORD="wrong-one")
    assert cluster.ends("m2") == 4
    cluster.simulator.set(bandwidth=1e8)
    assert cluster.ends() == 0
    cluster.check()
