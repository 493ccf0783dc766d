"""What lies where on the machines of a running job, asked for through the broker."""

import json
from pathlib import Path

from tests.cluster.conftest import SLOW

BROKER = ("--broker",)


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def test_the_ledgers_of_all_machines_are_read_from_anywhere_and_a_machine_that_is_away_is_named(make_cluster):
    cluster = make_cluster("flat:6000,size=2KiB", bandwidth=SLOW)
    for machine in ("m1", "m2"):
        cluster.work(machine)
    cluster.coordinate()
    cluster.until(lambda: all(cluster.stored(machine) > 50 for machine in ("m1", "m2")))
    cluster.command("pause", *BROKER)
    cluster.until(lambda: {row["machine"] for row in exported(cluster)} == {"m1", "m2"})

    found = exported(cluster)
    for row in found[::20]:
        path = Path(row["file"])
        assert path == cluster.volume(row["machine"]) / row["path"]
        assert path == Path(row["mount"]) / row["path"]
        assert path.stat().st_size == row["size"] == row["length"]
    far = next(row for row in found if row["machine"] == "m2")
    (place,) = rows(cluster.command("where", far["key"], *BROKER, "--json"))
    assert (place["machine"], place["path"], place["present"]) == ("m2", far["file"], True)

    assert cluster.command("verify", *BROKER, "--hash") == ""
    Path(far["file"]).unlink()
    (fault,) = rows(cluster.command("verify", "m2", *BROKER, "--json", expect=3))
    assert (fault["fault"], fault["machine"], fault["path"]) == ("missing", "m2", far["file"])
    assert cluster.command("verify", str(cluster.volume("m1")), *BROKER) == ""
    cluster.command("verify", "/of/nobody", *BROKER, expect=2)

    cluster.kill("m2")
    cluster.until(lambda: "away" in cluster.command("volumes", *BROKER))
    left = rows(cluster.command("export", "--format", "jsonl", *BROKER, expect=3))
    assert {row["machine"] for row in left} == {"m1"}
    assert "m2:" in cluster.command("where", far["key"], *BROKER)


def exported(cluster):
    return rows(cluster.command("export", "--format", "jsonl", *BROKER))
