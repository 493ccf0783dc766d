"""Who commands a cluster: the job's key, and what each worker's own operator said."""

import stat
import sys

import pytest
from tests.cluster.conftest import COMMAND, SLOW
from tests.transport.conftest import Job
from tests.transport.test_rabbitmq import put, run
from tests.transport.test_trust import STRANGERS, forged

from bucketpull.domain.messages import Control, Welcome, Work
from bucketpull.domain.model import Part, WorkKind
from bucketpull.domain.user_limits import Limits
from bucketpull.transport.envelope import Direction
from bucketpull.transport.job_key import JobKey
from bucketpull.transport.queues import QueueNames
from bucketpull.transport.wire import SealedWork, encode


def test_the_coordinator_makes_the_key_once_for_its_owner_alone_and_says_where(make_cluster):
    cluster = make_cluster("flat:300,size=1KiB")
    cluster.key = ""
    cluster.coordinate()
    file = cluster.state / "job-key"
    cluster.until(file.exists)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    cluster.until(lambda: f"is made: {file}; each worker needs it, by --job-key-file" in cluster.log())
    first = file.read_text()
    cluster.work("m1", "--job-key-file", str(file))
    assert (cluster.ends(), cluster.ends("m1")) == (0, 0)
    cluster.coordinate()
    cluster.work("m1", "--job-key-file", str(file))
    assert (cluster.ends(), cluster.ends("m1")) == (0, 0)
    assert file.read_text() == first
    assert f"is used: {file}" in cluster.log()


def test_a_worker_without_a_key_does_not_start_unless_told_that_none_is_needed(make_cluster):
    cluster = make_cluster("flat:300,size=1KiB")
    cluster.key = ""
    cluster.work("m1")
    assert cluster.ends("m1") == 2
    assert "no job key: give --job-key-file FILE" in cluster.log("m1")
    assert not cluster.volume("m1").exists()
    cluster.work("m1", "--no-job-key")
    cluster.coordinate("--no-job-key")
    assert (cluster.ends(), cluster.ends("m1")) == (0, 0)
    for name in ("coordinator", "m1"):
        assert "--no-job-key: whoever may write to the queues of this job commands it" in cluster.log(name)
    assert not (cluster.state / "job-key").exists()


def test_a_worker_with_another_key_waits_and_both_sides_say_why(make_cluster):
    cluster = make_cluster("flat:300,size=1KiB")
    cluster.coordinate()
    cluster.work("m1", BUCKETPULL_JOB_KEY="another-key-" * 4)
    cluster.until(lambda: "sealed with another job key" in cluster.log("m1"))
    cluster.until(lambda: "claims to be of machine m1" in cluster.log())
    cluster.kill("m1")
    cluster.work("m1")
    assert (cluster.ends(), cluster.ends("m1")) == (0, 0)
    assert cluster.check()["failures"] == {}


def test_a_machines_own_key_is_enough_for_that_machine(make_cluster):
    cluster = make_cluster("flat:300,size=1KiB")
    cluster.coordinate()
    shown = cluster.command("coordinate", f"upyun://{cluster.simulator.bucket}", "--worker-key", "m1")
    variables = dict(line.split("=", 1) for line in shown.splitlines())
    assert variables["BUCKETPULL_MACHINE"] == "m1"
    cluster.work("m2", BUCKETPULL_JOB_KEY=variables["BUCKETPULL_JOB_KEY"])
    assert cluster.ends("m2") == 2
    assert "the job key is that of machine m1" in cluster.log("m2")
    cluster.work("m1", **variables)
    assert (cluster.ends(), cluster.ends("m1")) == (0, 0)


def test_a_worker_pulls_from_nowhere_that_its_operator_did_not_name(make_cluster):
    cluster = make_cluster("flat:300,size=1KiB")
    cluster.coordinate()
    cluster.work("m1", BUCKETPULL_CDN_URL="https://img.example.com")
    assert cluster.ends("m1") == 2
    said = f"--cdn-url: the coordinator says {cluster.simulator.cdn_url}, this worker was given https://img.example.com"
    assert said in cluster.log("m1")
    assert not cluster.volume("m1").exists()


@pytest.fixture
def stranger(broker):
    """Another account of the broker, which may write to everything."""
    broker.control("add_user", "stranger", "SECRET")
    broker.control("set_permissions", "stranger", ".*", ".*", ".*")
    yield broker.url.replace("guest:guest", "stranger:SECRET")
    broker.control("delete_user", "stranger")


@pytest.mark.parametrize("key", [STRANGERS, JobKey(b"")], ids=["a key", "no key"])
def test_another_account_of_the_broker_makes_nobody_write_fetch_or_end_anything(
    make_cluster, stranger, tmp_path, key
):
    cluster = make_cluster("flat:4000,size=2KiB", bandwidth=SLOW)
    cluster.work("m1")
    cluster.coordinate()
    cluster.until(lambda: cluster.stored() > 50)
    job, target = Job(stranger, name=cluster.name), tmp_path / "target"
    names = QueueNames(cluster.name)
    part = Part(b"etc", "", [b"passwd"], [10], [0])
    orders = [
        Welcome(
            cluster.name,
            "x",
            "x",
            b'{"bucket": "b", "api_url": "https://evil.example"}',
            "key",
            "batch",
            "size",
        ),
        Control(Limits(), add_volumes=[str(target)]),
        SealedWork(Work(1, WorkKind.BATCH, encode([part]))),
        Control(Limits(), stop=True),
    ]
    for order in orders:
        run(
            lambda order=order: put(
                stranger,
                names.machine("m1"),
                forged(job, names.machine("m1"), order, Direction.DOWN, key=key),
            )
        )
    cluster.until(lambda: cluster.log().count("not believed") + cluster.log("m1").count("not believed") >= 1)
    cluster.simulator.set(bandwidth=1e8)
    assert cluster.ends() == 3, cluster.log()
    assert cluster.summary()["failures"] == {"poison": 4}
    assert cluster.summary()["stored"] == 4000
    assert not target.exists()
    assert not (cluster.volume("m1") / "etc").exists()


def test_help_and_messages_show_no_way_to_put_a_password_where_all_can_read_it(make_cluster):
    cluster = make_cluster("flat:1,size=1KiB")
    for command in ("work", "coordinate", "status"):
        assert "secret@" not in cluster.command(command, "--help")
    assert COMMAND[0] == sys.executable
