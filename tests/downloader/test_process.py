"""A process does what its agent says over a socket, and leaves nothing in doubt at its end."""

import random
import socket

import msgspec
import pytest

from bucketpull.domain.endpoints import Pace, State
from bucketpull.domain.errors import Reason, VolumeSick
from bucketpull.domain.messages import (
    Assignment,
    Frames,
    FromProcess,
    Judged,
    Mount,
    Outcome,
    Paces,
    ScanAssignment,
    ScanReceipt,
    Stop,
    Tick,
    Tune,
    frame,
)
from bucketpull.domain.model import Page, Position
from bucketpull.domain.user_limits import Limits
from bucketpull.downloader.parameters import Bounds, DownloaderParameters
from bucketpull.downloader.process import Process
from bucketpull.testing.memory import MemorySource, MemoryWriter, part_of
from bucketpull.testing.virtual import Answer, VirtualClock, VirtualFetcher

encode = msgspec.msgpack.encode
decoder = msgspec.msgpack.Decoder(FromProcess)
MOUNT = Mount("v1", "/v1", "batch", "size")


class Agent:
    """The other end of a process's socket."""

    def __init__(
        self, answer=lambda request: Answer(body=b"x"), pages=None, routes=("edge", "origin"), bounds=None
    ):
        self.sock, self.theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.clock = VirtualClock()
        self.fetcher = VirtualFetcher(self.clock, answer)
        self.writer = MemoryWriter()
        self.process = Process(
            self.theirs,
            self.fetcher,
            MemorySource(routes, pages),
            self.open,
            self.clock,
            random.Random(1),
            DownloaderParameters(bounds=bounds or Bounds()),
        )
        self.sick = False
        self._frames = Frames()

    def open(self, mount):
        if self.sick:
            raise VolumeSick(mount.path, "not there")
        return self.writer

    def say(self, *messages):
        for message in messages:
            self.sock.sendall(frame(encode(message)))

    def hear(self):
        heard = []
        try:
            while data := self.sock.recv(1 << 20):
                heard += [decoder.decode(message) for message in self._frames.feed(data)]
        except BlockingIOError:
            pass
        return heard

    def close(self):
        self.sock.close()
        self.theirs.close()


@pytest.fixture
def agents():
    made = []

    def make(**options):
        made.append(Agent(**options))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


def assignment(count=3, number=1):
    return Assignment(number, "v1", 0, encode([part_of(b"d", {b"n%d" % index: 1 for index in range(count)})]))


def of(kind, messages):
    return [message for message in messages if isinstance(message, kind)]


def test_assignments_are_answered_with_outcomes_and_the_stop_ends_the_process(agents):
    agent = agents()
    agent.say(MOUNT, assignment(3, 1), assignment(2, 2), Stop(100.0))
    agent.process.run()
    heard = agent.hear()

    assert [outcome.id for outcome in of(Outcome, heard)] == [1, 2]
    assert all(outcome.trouble is Reason.INTERRUPTED for outcome in of(Outcome, heard))
    assert agent.writer.closed


def test_a_process_that_was_told_to_stop_closes_its_writers_though_nothing_more_is_said(agents):
    agent = agents()
    agent.say(MOUNT, assignment(3), Stop(8.0))
    agent.sock.shutdown(socket.SHUT_WR)
    agent.process.run()

    assert [outcome.id for outcome in of(Outcome, agent.hear())] == [1]
    assert agent.writer.closed


def test_what_is_in_flight_finishes_within_the_time_of_the_stop(agents):
    agent = agents(answer=lambda request: Answer(body=b"x", seconds=3.0))
    agent.say(MOUNT, assignment(3))
    agent.process.turn_until(lambda: agent.fetcher.in_flight == 3)
    agent.say(Stop(8.0))
    agent.process.run()

    (outcome,) = of(Outcome, agent.hear())
    assert (outcome.stored, outcome.trouble) == (3, None)


def test_what_does_not_finish_in_time_is_handed_back(agents):
    agent = agents(answer=lambda request: Answer(body=b"x", seconds=30.0))
    agent.say(MOUNT, assignment(3))
    agent.process.turn_until(lambda: agent.fetcher.in_flight == 3)
    agent.say(Stop(8.0))
    agent.process.run()

    (outcome,) = of(Outcome, agent.hear())
    assert (outcome.stored, outcome.trouble) == (0, Reason.INTERRUPTED)
    assert agent.clock.seconds < 10


def test_a_process_whose_agent_is_gone_leaves_at_once(agents):
    agent = agents(answer=lambda request: Answer(body=b"x", seconds=1e6))
    agent.say(MOUNT, assignment(3))
    agent.sock.close()
    agent.process.run()

    assert agent.clock.seconds < 10
    assert agent.writer.files == {}


def test_scans_are_answered_with_receipts(agents):
    pages = {(b"", ""): Page(part_of(b"", {b"a": 1}), [], [])}
    agent = agents(pages=pages)
    agent.say(ScanAssignment(7, encode([Position(b"")])))
    heard = []
    agent.process.turn_until(lambda: heard.extend(agent.hear()) or of(ScanReceipt, heard))

    assert of(ScanReceipt, heard)[0].work == 7


def test_counters_are_told_twice_a_second(agents):
    agent = agents()
    agent.say(MOUNT, assignment(3))
    agent.process.turn_until(lambda: agent.clock.seconds > 5)
    ticks = of(Tick, agent.hear())

    assert 9 <= len(ticks) <= 12
    last = ticks[-1]
    assert (last.objects, last.bytes, last.unstarted, last.written) == (3, 3, 0, {"v1": 3})
    assert (last.endpoints["edge"].requests, last.endpoints["edge"].in_flight) == (3, 0)


def test_bytes_of_what_is_in_transfer_are_told_as_received(agents):
    agent = agents(answer=lambda request: Answer(body=b"x", seconds=30.0))
    agent.say(MOUNT, assignment(3))
    agent.process.turn_until(lambda: agent.fetcher.in_flight == 3)
    agent.fetcher.arriving = 500
    agent.process.turn_until(lambda: agent.clock.seconds > 2)
    last = of(Tick, agent.hear())[-1]

    assert (last.arriving, last.endpoints["edge"].received) == (500, 500)


def test_what_came_of_a_large_object_before_it_broke_off_is_told_until_it_is_whole(agents):
    version = ("ETag", '"v1"')
    answers = [
        Answer(206, b"x" * 300, (version,), seconds=5.0),
        Answer(200, b"x" * 700, (version,), failure=Reason.RESET),
    ]
    agent = agents(answer=lambda request: answers.pop(), bounds=Bounds(streamed=100))
    agent.say(MOUNT, Assignment(1, "v1", 0, encode([part_of(b"d", {b"big": 1000})])))
    agent.process.turn_until(lambda: agent.clock.seconds > 10)

    told = [(tick.bytes, tick.partial) for tick in of(Tick, agent.hear())]
    assert list(dict.fromkeys(told)) == [(0, 0), (0, 700), (1000, 0)]


def test_a_volume_that_cannot_be_opened_gives_its_assignments_back(agents):
    agent = agents()
    agent.sick = True
    agent.say(MOUNT, assignment(2, 1))
    heard = []
    agent.process.turn_until(lambda: heard.extend(agent.hear()) or of(Outcome, heard))
    assert (of(Outcome, heard)[0].trouble, of(Outcome, heard)[0].detail) == (Reason.VOLUME_SICK, "not there")

    agent.sick = False
    agent.say(MOUNT, assignment(2, 2))
    agent.process.turn_until(lambda: heard.extend(agent.hear()) or len(of(Outcome, heard)) == 2)
    assert of(Outcome, heard)[1].stored == 2


def test_a_refusal_of_everything_is_reported_and_few_more_are_asked_for_until_it_is_judged(agents):
    agent = agents(answer=lambda request: Answer(401), routes=("origin",))
    agent.say(MOUNT, assignment(500))
    agent.process.turn_until(lambda: agent.clock.seconds > 3)
    heard = agent.hear()

    symptoms = of(Tick, heard)[-1].symptoms["origin"]
    assert (symptoms.good, symptoms.failing > 3, symptoms.reason) == (0, True, Reason.CREDENTIALS)
    assert len(agent.fetcher.requests) < 100
    asked = len(agent.fetcher.requests)
    agent.say(Judged(states={"origin": State.REFUSING}))
    agent.process.turn_until(lambda: agent.clock.seconds > 30)
    assert len(agent.fetcher.requests) <= asked + 1
    agent.say(Stop(1.0))
    agent.process.run()
    assert of(Outcome, agent.hear())[-1].trouble is Reason.INTERRUPTED


def test_limits_are_heeded_as_they_come(agents):
    agent = agents()
    agent.say(MOUNT, Tune(Limits(concurrency=2, requests_per_second=10.0, bytes_per_second=1e6)))
    agent.say(assignment(30))
    agent.process.turn_until(lambda: len(agent.writer.files) == 30)

    assert agent.fetcher.most <= 2
    assert agent.fetcher.bandwidth == 1e6
    assert 2.5 < agent.clock.seconds < 4.5


@pytest.mark.parametrize(
    ("limits", "is_at_rate"),
    [
        (Limits(requests_per_second=10.0), True),
        (Limits(requests_per_second=10.0, concurrency=1), False),
        (Limits(concurrency=1), False),
        (Limits(requests_per_second=1e5), False),
    ],
)
def test_a_process_tells_that_its_cap_on_requests_holds_it_back_and_not_another_limit(
    agents, limits, is_at_rate
):
    agent = agents(answer=lambda request: Answer(body=b"x", seconds=0.3))
    agent.say(MOUNT, Tune(limits), assignment(60))
    agent.process.turn_until(lambda: agent.clock.seconds > 2)

    assert {tick.is_at_rate for tick in of(Tick, agent.hear())[1:]} == {is_at_rate}


def test_a_cap_on_requests_holds_nothing_back_that_is_not_there(agents):
    agent = agents()
    agent.say(MOUNT, Tune(Limits(requests_per_second=10.0)), assignment(1))
    agent.process.turn_until(lambda: agent.clock.seconds > 2)

    assert not any(tick.is_at_rate for tick in of(Tick, agent.hear()))


def test_a_pause_begins_nothing_until_it_ends(agents):
    agent = agents()
    agent.say(MOUNT, Tune(Limits(paused=True)), assignment(2))
    agent.process.turn_until(lambda: agent.clock.seconds > 2)
    assert agent.fetcher.requests == []

    agent.say(Tune(Limits()))
    agent.process.turn_until(lambda: len(agent.writer.files) == 2)


def test_an_agent_that_does_not_read_stops_new_work_and_loses_nothing(agents):
    agent = agents()
    agent.say(MOUNT)
    agent.process.turn_until(lambda: agent.process.transfers.volumes.queues)
    total = 400
    for number in range(total):
        agent.say(assignment(200, number))
        agent.process.turn()
    heard = []
    agent.process.turn_until(lambda: heard.extend(agent.hear()) or len(of(Outcome, heard)) == total)

    assert {outcome.id for outcome in of(Outcome, heard)} == set(range(total))


def test_an_object_that_holds_everything_up_is_named(agents):
    agent = agents(answer=lambda request: Answer(body=b"x", seconds=70.0 if "n1" in request.url else 0.01))
    agent.say(MOUNT, assignment(3))
    agent.process.turn_until(lambda: agent.clock.seconds > 75)
    ticks = of(Tick, agent.hear())

    assert {tick.waiting_for for tick in ticks} == {"", "d/n1"}
    assert 50 < max(tick.still_seconds for tick in ticks) <= 70
    assert ticks[-1].waiting_for == ""


def test_what_is_counted_is_reported_soon_where_a_request_was_refused_and_the_machines_pace_is_kept_to(
    agents,
):
    refused = []

    def answer(request):
        refused.append(request)
        return Answer(429) if len(refused) <= 5 else Answer(body=b"x")

    agent = agents(answer=answer, routes=("origin",))
    agent.say(MOUNT, assignment(300))
    agent.process.turn_until(lambda: agent.clock.seconds > 1)
    ticks = of(Tick, agent.hear())
    (name, counted), *_ = ticks[-1].symptoms["origin"].counted.items()
    assert (len(ticks) >= 4, counted.refused, counted.ceiling > 0) == (True, 5, True)

    begun = len(agent.fetcher.requests)
    for _ in range(5):
        agent.say(Paces({"origin": {name: Pace(5.0, agent.clock.seconds)}}))
        until = agent.clock.seconds + 1
        agent.process.turn_until(lambda until=until: agent.clock.seconds > until)
    assert 20 <= len(agent.fetcher.requests) - begun <= 27
