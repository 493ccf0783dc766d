"""Machines with addresses of their own: network namespaces, joined by a bridge, one of which loses its cable."""

import itertools
import os
import subprocess

import pytest
from tests.cluster.conftest import SLOW
from tests.cluster.test_faults import finished
from tests.servers.proxy import Proxy

_numbers = itertools.count()


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Network:
    """A bridge with the address 10.x.y.1, and machines behind it."""

    def __init__(self):
        number = (os.getpid() * 4 + next(_numbers)) % 60_000
        self.prefix = f"10.{number // 250}.{number % 250}"
        self.bridge = f"bp{number}"
        self.names = []
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.prefix}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def machine(self, name):
        """Make a machine; return how to start a program there."""
        namespace, cable = f"{self.bridge}{name}", f"{self.bridge}{name}"
        self.names.append(namespace)
        ip("netns", "add", namespace)
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("link", "set", cable, "master", self.bridge, "up")
        ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", namespace, "addr", "add", f"{self.prefix}.{len(self.names) + 1}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")
        return ["ip", "netns", "exec", namespace]

    def plug(self, name, state):
        ip("link", "set", f"{self.bridge}{name}", state)

    def close(self):
        for namespace in self.names:
            subprocess.run(["ip", "netns", "del", namespace], check=False)
        subprocess.run(["ip", "link", "del", self.bridge], check=False)


@pytest.fixture
def network():
    made = Network()
    yield made
    made.close()


def test_a_machine_that_loses_its_cable_is_replaced_and_tidies_up_when_it_is_back(
    make_cluster, network, broker
):
    here = f"{network.prefix}.1"
    with Proxy(broker.port, here) as proxy:
        url = f"amqp://guest:guest@{here}:{proxy.port}/?heartbeat=2"
        cluster = make_cluster("flat:12000,size=2KiB", url=url, bandwidth=SLOW, host=here)
        for machine in ("m1", "m2", "m3"):
            cluster.work(machine, prefix=network.machine(machine))
        cluster.coordinate()
        cluster.until_all_store(("m1", "m2", "m3"), 2e6)
        network.plug("m1", "down")
        cluster.until(lambda: "away" in cluster.command("volumes", "--state", str(cluster.state)))
        cluster.until(lambda: cluster.stored("m2", "m3") > 5000)
        network.plug("m1", "up")
        finished(cluster, "m2", "m3")
