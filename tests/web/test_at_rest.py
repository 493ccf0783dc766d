"""`bucketpull dashboard`: a job that does not run is looked at, one that runs without a dashboard is also steered."""

import http.client
import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from tests.web.test_job import until

from upyun_simulator import Simulator

OBJECTS = 300
STATE = "return document.querySelector('#state').textContent"


@pytest.fixture
def simulator():
    with Simulator(f"flat:{OBJECTS},size=300", bucket="photos") as simulator:
        yield simulator


def command(simulator, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "bucketpull", *map(str, arguments)],
        env={**os.environ, **simulator.environment, "LC_ALL": "C.UTF-8"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def sync(simulator, folder, *options):
    urls = ("--api-url", simulator.api_url, "--cdn-url", simulator.cdn_url)
    places = (folder / "volume", "--state", folder / "state", "--reserve", "0")
    return command(simulator, "sync", "upyun://photos", *places, *urls, "--quiet", *options)


class Page:
    """The address that the command printed."""

    def __init__(self, address):
        self.address = address

    def ask(self, method, path, body=None):
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
        try:
            bearer = {"Authorization": f"Bearer {parts.fragment}", "Content-Type": "application/json"}
            connection.request(method, path, body, bearer)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@contextmanager
def page(simulator, folder, *where):
    process = command(simulator, "dashboard", "--state", folder / "state", *where or ("127.0.0.1:0",))
    try:
        line = process.stderr.readline()
        found = re.fullmatch(r"dashboard: (http://127\.0\.0\.1:[1-9]\d*/#\S+)\n", line)
        assert found, line + process.stderr.read()
        yield Page(found[1])
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


def test_a_job_at_rest_is_shown_from_its_journal_and_cannot_be_changed(simulator, tmp_path, browser):
    job = sync(simulator, tmp_path)
    assert job.wait(60) == 0, job.stderr.read()
    job.stderr.close()
    with page(simulator, tmp_path) as served:
        _, snapshot = served.ask("GET", "/api/snapshot")
        _, points = served.ask("GET", "/api/points?coarse=1")
        refused = served.ask("POST", "/api/pause", "{}")
        browser.emulate(1360, 900)
        browser.open(served.address)
        browser.wait(f"{STATE} === 'complete'")
        browser.wait("return document.querySelector('#banner').textContent.includes('does not run')")

        assert (snapshot["running"], snapshot["counters"]["stored"]) == (False, OBJECTS)
        assert snapshot["estimate"]["share"] == 1.0
        assert points, "the charts of the run are kept"
        assert refused[0] == 400
        assert "its job does not run" in refused[1]["error"]
        assert browser.run("return document.querySelector('#pause').disabled")
        assert browser.errors() == []


def test_a_job_that_runs_is_steered_and_its_end_is_seen(simulator, tmp_path):
    job = sync(simulator, tmp_path, "--rate", "5")
    until((tmp_path / "state" / "control").exists, "the job to listen")
    with page(simulator, tmp_path) as served:

        def now():
            return served.ask("GET", "/api/snapshot")[1]

        assert now()["running"]
        assert served.ask("GET", "/api/directories?path=%ff%zz")[0] == 200, "keys need be no UTF-8"
        assert served.ask("GET", "/%ff?%ff")[0] == 404
        assert served.ask("POST", "/api/pause", "{}")[0] == 200
        until(lambda: now()["state"] == "paused", "the pause")
        assert served.ask("POST", "/api/resume", "{}")[0] == 200
        assert served.ask("POST", "/api/limits", '{"requests_per_second": null}')[0] == 200
        assert job.wait(60) == 0
        job.stderr.close()
        until(lambda: not now()["running"], "the end")
        until(lambda: now()["state"] == "complete", "the last state")


@pytest.mark.parametrize("option", ["--listen", "--dashboard"])
def test_the_address_may_be_an_option_too(simulator, tmp_path, option):
    job = sync(simulator, tmp_path)
    assert job.wait(60) == 0, job.stderr.read()
    job.stderr.close()
    with page(simulator, tmp_path, option, "127.0.0.1:0") as served:
        assert served.ask("GET", "/api/snapshot")[0] == 200


def test_without_a_job_it_says_so(simulator, tmp_path):
    process = command(simulator, "dashboard", "--state", tmp_path, "--listen", "127.0.0.1:0")

    assert "no journal in" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
