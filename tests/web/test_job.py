"""The dashboard of a real `sync`, in a real browser: what it shows is so, and what it changes happens."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from upyun_simulator import Simulator

OBJECTS = 2400
STATE = "return document.querySelector('#state').textContent"
STORED = "return Number(document.querySelectorAll('#books dd')[1]?.textContent.replace(/\\D/g, ''))"
DEADLINE_SECONDS = 60


def until(condition, what):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


class RunningJob:
    """A sync with its dashboard on a free port, some objects of which fail."""

    def __init__(self, simulator, folder):
        self.simulator = simulator
        arguments = [
            "sync", f"upyun://{simulator.bucket}", folder / "volume", "--state", folder / "state", "--reserve", "0",
            "--api-url", simulator.api_url, "--cdn-url", simulator.cdn_url, "--processes", "1", "--rate", "100",
            "--dashboard", "127.0.0.1:0",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bucketpull", *map(str, arguments)],
            env={**os.environ, **simulator.environment, "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = []
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.fullmatch(r"dashboard: (http://127\.0\.0\.1:[1-9]\d*/#\S+)\n", line):
                self.address = found[1]
                return
        raise AssertionError("".join(self.said))

    def served(self):
        """Return how many objects the service was asked for."""
        return sum(self.simulator.counters()["requests"].get("cdn.get", {}).values())

    def stands_still(self, seconds=1.0):
        """Look twice at what the service counted, so long apart."""
        before = self.served()
        time.sleep(seconds)
        return self.served() == before

    def slows_down(self, a_second):
        """Say whether the service is asked at most so often now."""
        before, start = self.served(), time.monotonic()
        time.sleep(1.0)
        return 0 < self.served() - before < a_second * (time.monotonic() - start)

    def post(self, path, **headers):
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=DEADLINE_SECONDS)
        try:
            bearer = {"Authorization": f"Bearer {parts.fragment}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps({}), bearer | headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def job(tmp_path):
    spec = f"flat:{OBJECTS},size=uniform:1KiB:8KiB"
    fault = "error:code=40300001,path=img-0?00.jpg"
    with Simulator(spec, bucket="photos", cdn_latency=0.02, faults=(fault,)) as simulator:
        running = RunningJob(simulator, tmp_path)
        yield running
        running.process.kill()
        running.process.communicate()


def test_a_running_job_is_watched_paused_slowed_diagnosed_and_seen_to_its_end(job, browser):
    browser.emulate(1360, 900)
    browser.open(job.address)

    browser.wait(f"{STORED} > 0")
    before = browser.run(STORED)
    browser.wait(f"{STORED} > arguments[0]", before)

    browser.click("#pause")
    browser.wait("return document.querySelector('#state').textContent === 'paused'")
    until(job.stands_still, "the service to be asked for nothing")
    assert 0 < job.served() < OBJECTS

    asked = job.served()
    browser.press("p")
    browser.wait("return document.querySelector('#state').textContent !== 'paused'")
    until(lambda: job.served() > asked, "the transfers to go on")

    assert job.post("/api/pause", Origin="http://evil.example") == 403
    assert job.post("/api/pause", **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert browser.run(STATE) != "paused"

    browser.click("#f-failed-open")
    browser.wait("return document.querySelectorAll('.failure').length === 10")
    browser.press("p")  # it is not to end while somebody looks, however slowly
    browser.wait("return document.querySelector('#state').textContent === 'paused'")
    browser.click("[data-chip=rejected]")
    failure = browser.text(".failure")
    assert "img-0000.jpg" in failure
    assert "40300001" in failure
    assert "What to do:" in failure
    job.simulator.clear_faults()
    browser.click("#retry")
    browser.wait("return document.querySelectorAll('.failure').length === 0")
    browser.press("p")

    browser.press("l")
    browser.wait("return document.querySelector('#limits').open")
    browser.run("document.querySelector('#l-rate').value = '20'")
    browser.click("#limits .primary")
    browser.wait("return !document.querySelector('#limits').open")
    until(lambda: job.slows_down(40), "the service to be asked less")

    browser.press("l")
    browser.wait("return document.querySelector('#limits').open")
    browser.run("document.querySelector('#l-rate').value = ''")
    browser.click("#limits .primary")
    browser.wait("return document.querySelector('#state').textContent === 'complete'")
    assert "has ended" in browser.text("#banner")
    assert browser.run(STORED) == OBJECTS
    assert job.process.wait(DEADLINE_SECONDS) == 0
    assert browser.errors() == []
