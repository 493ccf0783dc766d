"""A bucket of an S3 service that nobody here wrote, pulled by several machines: each signs with the keys of its own environment."""

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from tests.cluster.conftest import IMPATIENT, Cluster
from tests.s3.conftest import ODD_KEYS
from tests.servers.ceph import Ceph

BUCKET = "photos"
KEY = "a-job-key-that-nobody-at-the-broker-knows"


@dataclass
class S3Cluster(Cluster):
    """The same with a gateway in place of the simulator."""

    @property
    def environment(self):
        gateway = self.simulator
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "UPYUN_"))}
        return own | {
            **gateway.environment,
            "HOME": str(self.folder),
            "BUCKETPULL_BROKER": self.url,
            "BUCKETPULL_JOB": self.name,
            "BUCKETPULL_JOB_KEY": KEY,
            "BUCKETPULL_API_URL": gateway.url,
            "BUCKETPULL_RETRY_SECONDS": "2",
            "LC_ALL": "C.UTF-8",
        }

    def coordinate(self, *options):
        own = ["--state", str(self.state), "--summary", str(self.folder / "summary.json"), "--processes", "1"]
        command = [*IMPATIENT, *map(str, self.patience), "coordinate", f"s3://{BUCKET}"]
        return self._start("coordinator", [*command, *own, *options])

    def dashboard(self, path):
        """Return what the coordinator's dashboard says."""
        self.until(lambda: re.search(r"dashboard: http\S+#\S+\n", self.log()))
        address = urlsplit(re.search(r"dashboard: (http\S+)\n", self.log())[1])
        connection = HTTPConnection(address.hostname, address.port, timeout=60)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {address.fragment}"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            return json.loads(text)
        finally:
            connection.close()


@pytest.fixture
def cluster(broker, tmp_path):
    with Ceph(tmp_path / "gateway", page=100) as ceph:
        made = S3Cluster(ceph, broker.url, tmp_path)
        yield made
        made.end()


def test_two_machines_pull_a_private_bucket_once_and_its_dashboard_names_the_service(cluster):
    ceph = cluster.simulator
    objects = {b"img/%03d/%05d.jpg" % (number % 40, number): b"%d;" % number * 40 for number in range(3000)}
    objects |= {key: b"<" + key for key in ODD_KEYS}
    ceph.make_bucket(BUCKET)
    ceph.fill(BUCKET, objects.items())
    cluster.coordinate("--dashboard", "127.0.0.1:0")
    assert cluster.dashboard("/api/snapshot")["source"] == f"s3://{BUCKET}"
    for machine in ("m1", "m2"):
        cluster.work(machine)
    assert [cluster.ends(each) for each in ("coordinator", "m1", "m2")] == [0, 0, 0]

    summary = cluster.summary()
    assert (summary["listed"], summary["stored"], summary["failed"]) == (len(objects), len(objects), 0)
    rows = [
        json.loads(line)
        for line in cluster.command("export", "--format", "jsonl", "--state", str(cluster.state)).splitlines()
    ]
    assert Counter(row["key"].encode() for row in rows) == Counter(objects.keys())
    assert cluster.stored() == len(objects)
