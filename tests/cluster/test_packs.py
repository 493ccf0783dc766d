"""Several machines into packs: each writes its own, and one that is lost takes only its own along."""

import shutil
import subprocess
import tarfile

from tests.cluster.conftest import SLOW

import bucketpull
from upyun_simulator import content


def packs(cluster):
    return [path for volume in cluster.volumes() for path in sorted((volume / "packs").glob("*.tar"))]


def assert_holds_the_bucket(cluster):
    """Compare what is read by key with the bucket, and have tar read every pack."""
    expected = {item.key: item for item in cluster.simulator.contents.walk()}
    with bucketpull.open(*cluster.volumes()) as bucket:
        assert set(bucket.keys()) == expected.keys()
        for key, item in expected.items():
            assert bucket.read(key) == content(item.key, item.size, item.version), key
    names = set()
    for path in packs(cluster):
        assert (
            subprocess.run(["tar", "tf", path], capture_output=True, check=False, timeout=60).returncode == 0
        )
        with tarfile.open(path) as archive:
            names |= set(archive.getnames())
    assert names >= expected.keys()


def test_two_machines_write_packs_of_their_own(make_cluster):
    cluster = make_cluster("flat:12000,size=1KiB", bandwidth=SLOW)
    cluster.coordinate("--pack", "2M")
    for machine in ("one", "two"):
        cluster.work(machine)
    cluster.until(lambda: all(any(cluster.volume(m).glob("packs/*.tar")) for m in ("one", "two")))
    cluster.simulator.set(bandwidth=0)

    assert cluster.ends() == 0
    assert {cluster.ends(machine) for machine in ("one", "two")} == {0}

    found = cluster.summary()
    assert found["complete"]
    assert found["stored"] == 12_000
    assert len(cluster.volumes()) == 2
    assert_holds_the_bucket(cluster)


def test_what_a_lost_machine_held_is_packed_by_another(make_cluster):
    cluster = make_cluster("flat:12000,size=1KiB", bandwidth=SLOW)
    cluster.coordinate("--pack", "2M")
    for machine in ("one", "two"):
        cluster.work(machine)
    cluster.until(lambda: all(any(cluster.volume(m).glob("packs/*.tar")) for m in ("one", "two")))
    cluster.kill("two")
    [lost] = [volume for volume in cluster.volumes() if volume.name == "two"]
    identity = (lost / ".bucketpull/volume.json").read_text()
    number = identity.partition('"id":"')[2][:12]
    shutil.rmtree(lost)
    cluster.simulator.set(bandwidth=0)
    assert cluster.ends() in {0, 3}
    cluster.ends("one")
    cluster.command("volumes", "lost", number, "--state", str(cluster.state))

    cluster.coordinate("--pack", "2M")
    cluster.work("one")
    assert cluster.ends() == 0

    assert_holds_the_bucket(cluster)
