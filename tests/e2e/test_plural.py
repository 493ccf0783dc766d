"""Several URLs of one endpoint through the installed command: real servers on addresses of their own, of which some are dead."""

import json
import socket

import pytest

from upyun_simulator import Simulator

OBJECTS = 2000
SPEC = f"flat:{OBJECTS},size=4000"


@pytest.fixture
def edges():
    """Start CDN domains of the same bucket at other loopback addresses."""
    started = []

    def start(number, **settings):
        simulator = Simulator(SPEC, host=f"127.0.0.{number}", **settings)
        started.append(simulator)
        return simulator.start()

    yield start
    for simulator in started:
        simulator.stop()


def gets(simulator):
    return sum(simulator.counters()["requests"].get("cdn.get", {}).values())


def notes(job, *options):
    """Sync; return the exit code and the notes by name."""
    process = job.start("--json", *options)
    output, errors = process.communicate(timeout=120)
    events = [json.loads(line) for line in output.splitlines()]
    assert process.returncode == 0, errors
    return [event for event in events if event["event"] == "note"]


def test_several_cdn_domains_are_all_used_and_dead_ones_are_told_once_and_cost_nothing(make_job, edges):
    job = make_job(SPEC)
    second = edges(2)
    with (
        socket.create_server(("127.0.0.3", 0), backlog=512) as deaf,
        socket.create_server(("127.0.0.4", 0)) as gone,
    ):
        silent, refused = (f"http://{host}:{port}" for host, port in (deaf.getsockname(), gone.getsockname()))
        gone.close()
        told = notes(
            job,
            "--rate",
            "250",
            *(part for url in (second.cdn_url, silent, refused) for part in ("--cdn-url", url)),
        )

    job.check_every_byte()
    first = gets(job.simulator)
    assert first + gets(second) == OBJECTS
    assert min(first, gets(second)) > 0  # in which shares: tests/downloader/test_targets.py, in virtual time
    away = [note["text"] for note in told if note["name"] == "address.away"]
    times = [sum(dead.removeprefix("http://") in text for text in away) for dead in (silent, refused)]
    assert max(times) == 1
    assert times[1] == 1
    assert job.simulator.counters()["requests"].get("api.get", {}) == {}


def test_a_dead_api_is_replaced_by_another_from_the_first_question_on(make_job, edges):
    job = make_job(SPEC)
    with socket.create_server(("127.0.0.4", 0)) as gone:
        host, port = gone.getsockname()
    job.options += ["--api-url", job.simulator.api_url]
    arguments = job.arguments

    def with_dead_first(*options):
        line = arguments(*options)
        line[line.index("--api-url") + 1] = f"http://{host}:{port}"
        return line

    job.arguments = with_dead_first
    summary = job.sync()

    assert (summary["complete"], summary["stored"]) == (True, OBJECTS)
