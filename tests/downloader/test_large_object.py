"""A large object is never in memory, goes on where it broke off, and is never a mixture of two versions."""

import hashlib
import random
import re
from contextlib import closing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.downloader.rig import Rig, records_of

from bucketpull.domain.errors import Reason
from bucketpull.domain.record import PartVersion
from bucketpull.downloader.parameters import Bounds
from bucketpull.sources.plain import PlainSource
from bucketpull.testing.memory import part_of
from bucketpull.testing.virtual import Answer

SIZE = 200_000
OLD = random.Random(1).randbytes(SIZE)
NEW = random.Random(2).randbytes(SIZE)
KEY = b"d/big"


class Server:
    """Serves one object with ranges; `cuts` are the lengths after which the next transfers break off."""

    def __init__(self, body=OLD, cuts=(), etag='"v1"', states_md5=False, ranges=True):
        self.body = body
        self.cuts = list(cuts)
        self.etag = etag
        self.states_md5 = states_md5
        self.ranges = ranges
        self.starts = []

    def __call__(self, request):
        headers = dict(line.split(": ", 1) for line in request.headers)
        start = int(re.sub(r"\D", "", headers.get("Range", "0")))
        self.starts.append(start)
        if headers.get("If-Match") not in {None, "", self.etag}:
            return Answer(412)
        ranged = start > 0 and self.ranges
        body = self.body[start:] if ranged else self.body
        stated = [("ETag", self.etag)] if self.etag else []
        if self.states_md5:
            stated.append(("Content-MD5", hashlib.md5(self.body).hexdigest()))
        failure = None
        if self.cuts:
            body, failure = body[: self.cuts.pop(0)], Reason.RESET
        return Answer(206 if ranged else 200, body, tuple(stated), failure)


def rig_of(server, routes=("edge",), streamed=1000, **options):
    rig = Rig(server, routes=routes, bounds=Bounds(streamed=streamed), **options)
    rig.mount()
    return rig


def pull(server, **options):
    rig = rig_of(server, **options)
    rig.assign([part_of(b"d", {b"big": SIZE})])
    (outcome,) = rig.settle()
    assert rig.meter.partial == 0
    return rig, outcome


def test_a_large_object_goes_to_disk_as_it_comes_and_counts_little_in_memory():
    rig = rig_of(Server())
    rig.assign([part_of(b"d", {b"big": SIZE})])
    rig.turn()

    assert rig.settle()[0].stored == 1
    assert rig.writers["v1"].files == {KEY: OLD}
    assert rig.transfers.memory.held == 0
    assert rig.outcomes[0].stored_bytes == SIZE


def test_it_goes_on_where_it_broke_off():
    server = Server(cuts=[70_000, 50_000])
    rig, outcome = pull(server)

    assert server.starts == [0, 70_000, 120_000]
    assert rig.writers["v1"].files[KEY] == OLD
    assert outcome.retries == {"reset": 2}


def test_of_a_part_only_what_came_by_this_process_counts_until_it_is_thrown_away():
    server = Server(cuts=[20_000])
    rig = rig_of(server)
    leave_a_part(rig, OLD[:90_000])
    rig.assign([part_of(b"d", {b"big": SIZE})])
    rig.run(lambda: server.starts == [90_000] and not rig.fetcher.in_flight)
    assert rig.meter.partial == 20_000

    server.etag = '"v2"'
    rig.run(lambda: server.starts == [90_000, 110_000, 110_000] and not rig.fetcher.in_flight)
    assert rig.meter.partial == 0


def test_without_a_version_it_begins_again():
    server = Server(cuts=[70_000], etag="")
    rig, _ = pull(server)

    assert server.starts == [0, 0]
    assert rig.writers["v1"].files[KEY] == OLD


def test_a_server_that_ignores_the_range_makes_it_begin_again():
    server = Server(cuts=[70_000], ranges=False)
    rig, _ = pull(server)

    assert server.starts == [0, 70_000, 0]
    assert rig.writers["v1"].files[KEY] == OLD


@pytest.mark.parametrize("begins", ["65904", "74096", "none"])
def test_a_part_of_another_place_is_no_continuation_though_it_breaks_off_too(begins):
    """Only a whole answer was looked at for where it begins; what came of one that broke off was kept, and gone on with."""
    server = Server(cuts=[70_000])

    def answer(request):
        given = server(request)
        if len(server.starts) == 2 and server.starts[1]:
            start = int(begins) if begins.isdigit() else server.starts[1] - 4096
            given.body, given.failure = OLD[start : start + 30_000], Reason.RESET
            given.headers += (("Content-Range", f"bytes {begins}-{SIZE - 1}/{SIZE}"),)
        elif given.status == 206:
            given.headers += (("Content-Range", f"bytes {server.starts[-1]}-{SIZE - 1}/{SIZE}"),)
        return given

    rig = rig_of(answer, routes=("files",), source=PlainSource(("http://host",), "the server"))
    rig.assign([part_of(b"d", {b"big": SIZE})])
    (outcome,) = rig.settle()

    assert (outcome.stored, rig.writers["v1"].files) == (1, {KEY: OLD})
    assert server.starts == [0, 70_000, 0]


def test_an_object_that_changes_on_the_way_begins_again():
    server = Server(cuts=[70_000])

    def answer(request):
        if server.starts:
            server.body, server.etag = NEW, '"v2"'
        return server(request)

    rig, _ = pull(answer)

    assert server.starts == [0, 70_000, 70_000, 0]
    assert rig.writers["v1"].files[KEY] == NEW


def test_an_error_page_in_the_middle_leaves_the_part_alone():
    server = Server(cuts=[70_000])
    errors = [None, Answer(503, b"<html>busy</html>")]

    def answer(request):
        return (errors.pop(0) if errors else None) or server(request)

    rig, outcome = pull(answer)

    assert server.starts == [0, 70_000]
    assert rig.writers["v1"].files[KEY] == OLD
    assert outcome.retries == {"reset": 1, "server-error": 1}


SOUND = PartVersion('"v1"', "", is_sound=True)
MD5 = f'"{hashlib.md5(OLD).hexdigest()}"'


def leave_a_part(rig, content, version=SOUND):
    part = b"%d %d %s" % (SIZE, 1_600_000_000, KEY)
    rig.writers["v1"].parts[part] = bytearray(content)
    if version is not None:
        rig.writers["v1"].notes[part] = version


def pull_with_a_part(server, content, version=SOUND):
    """Pull an object of which an earlier process left a part, and return what is stored."""
    rig = rig_of(server)
    leave_a_part(rig, content, version)
    rig.assign([part_of(b"d", {b"big": SIZE})])
    assert rig.settle()[0].stored == 1
    return rig.writers["v1"].files[KEY]


def test_a_part_that_an_earlier_process_left_is_gone_on_with_if_its_version_is_still_there():
    server = Server()

    assert pull_with_a_part(server, OLD[:90_000]) == OLD
    assert server.starts == [90_000]


@pytest.mark.parametrize(
    "version", [None, PartVersion('"v1"', "", is_sound=False)], ids=["not noted", "of before a restart"]
)
def test_no_range_is_asked_for_of_a_part_that_nothing_can_prove(version):
    server = Server()

    assert pull_with_a_part(server, NEW[:90_000], version) == OLD
    assert server.starts == [0]


def unconditional(request):
    """Take the condition from a request, as a server does that ignores it."""
    headers = tuple(line for line in request.headers if not line.startswith("If-Match"))
    return msgspec.structs.replace(request, headers=headers)


def careless(server):
    """Have a server ignore which version is wanted, and state its date."""

    def answer(request):
        given = server(unconditional(request))
        given.headers += (("Last-Modified", "Mon, 14 Sep 2020 12:26:40 GMT"),)
        return given

    return answer


@pytest.mark.parametrize(
    ("etag", "changed"),
    [
        ('"v0"', ""),
        ('"v1"', "Sun, 13 Sep 2020 12:26:40 GMT"),
    ],
    ids=["another version", "another date"],
)
def test_a_range_of_something_else_is_ended_at_its_head_and_the_object_begun_anew(etag, changed):
    server = Server()
    rig = rig_of(careless(server))
    leave_a_part(rig, NEW[:90_000], PartVersion(etag, changed, is_sound=True))
    rig.assign([part_of(b"d", {b"big": SIZE})])
    (outcome,) = rig.settle()

    assert (outcome.stored, outcome.retries) == (1, {"range": 1})
    assert server.starts == [90_000, 0]
    assert rig.writers["v1"].files[KEY] == OLD
    assert rig.meter.wasted == {}  # nothing of the range was read


def test_a_range_that_comes_without_a_version_is_ended_at_its_head():
    server = Server(etag="")

    assert pull_with_a_part(careless(server), NEW[:90_000]) == OLD
    assert server.starts == [90_000, 0]


@pytest.mark.parametrize("left", [OLD[:90_000], NEW[:90_000]], ids=["sound", "damaged"])
def test_a_part_of_before_a_restart_of_the_machine_is_proven_by_the_md5_of_the_whole(left):
    server = Server(etag=MD5, states_md5=True)

    assert pull_with_a_part(server, left, PartVersion(MD5, "", is_sound=False)) == OLD
    assert server.starts == ([90_000] if left == OLD[:90_000] else [90_000, 0])


def test_a_part_of_before_a_restart_is_not_read_on_if_the_answer_states_no_md5():
    server = Server(etag=MD5)

    assert pull_with_a_part(server, OLD[:90_000], PartVersion(MD5, "", is_sound=False)) == OLD
    assert server.starts == [90_000, 0]


@pytest.mark.parametrize(
    ("etag", "is_noted"), [('"v1-3"', True), ("", False), ("date:Mon, 14 Sep 2020 12:26:40 GMT", False)]
)
def test_only_a_version_that_two_states_cannot_share_is_noted_for_the_next_process(etag, is_noted):
    server = Server(etag=etag, cuts=[70_000])
    rig = rig_of(server)
    rig.assign([part_of(b"d", {b"big": SIZE})])
    rig.turn()
    notes = list(rig.writers["v1"].notes.values())

    assert notes == ([PartVersion(etag, "", is_sound=True)] if is_noted else [])


def test_nothing_is_read_faster_than_the_disk_writes_and_nothing_is_begun_again():
    server = Server(etag="", ranges=False)

    def answer(request):
        writer.backlog = 1 << 30
        return server(request)

    rig = rig_of(answer)
    writer = rig.writers["v1"]
    rig.assign([part_of(b"d", {b"big": SIZE})])
    for _ in range(1000):
        rig.turn()
    slow = rig.transfers.memory.held, sum(endpoint.targets.in_flight for endpoint in rig.transfers._order)
    writer.backlog = 0

    assert rig.settle()[0].stored == 1
    assert slow == (64 << 10, 0)  # neither memory nor a slot is kept from others
    assert server.starts == [0]
    assert writer.files[KEY] == OLD
    assert rig.outcomes[0].retries == {}
    assert rig.transfers.memory.held == 0


def test_a_transfer_that_breaks_off_while_the_disk_catches_up_is_a_try_like_any_other():
    server = Server(cuts=[70_000] * 99, etag="")

    def answer(request):
        if request.url.endswith("/well"):
            return Answer(body=b"well")
        writer.backlog = 1 << 30
        rig.fetcher.call_later(5.0, lambda: setattr(writer, "backlog", 0))
        return server(request)

    rig = rig_of(answer)
    writer = rig.writers["v1"]
    rig.assign([part_of(b"d", {b"well": 4})])
    rig.settle()
    rig.assign([part_of(b"d", {b"big": SIZE})], id=2)
    _, outcome = rig.settle(2)

    assert server.starts == [0] * 4
    assert outcome.deferred[0].names == [b"big"]
    assert rig.transfers.memory.held == 0
    assert all(endpoint.targets.in_flight == 0 for endpoint in rig.transfers._order)


class TwoEdges(Server):
    """Answers in turn, and calls the same bytes by two versions."""

    def __call__(self, request):
        self.etag = '"v2"' if len(self.starts) % 2 else '"v1"'
        return super().__call__(request)


@pytest.mark.parametrize("cuts", [[70_000], [70_000, 50_000], [70_000, 30_000, 60_000]])
def test_edges_that_name_the_same_bytes_differently_give_the_object_within_a_few_requests(cuts):
    server = TwoEdges(cuts=cuts)
    rig, outcome = pull(server)

    assert outcome.stored == 1
    assert rig.writers["v1"].files[KEY] == OLD
    assert len(server.starts) <= 2 + 2 * len(cuts)


def test_a_disk_that_fills_up_gets_the_object_back_unplaced():
    rig = rig_of(Server())
    rig.writers["v1"].refuse = Reason.VOLUME_FULL
    rig.assign([part_of(b"d", {b"big": SIZE})])
    (outcome,) = rig.settle()

    assert outcome.trouble is Reason.VOLUME_FULL
    assert outcome.unplaced[0].names == [b"big"]


def test_a_size_that_is_not_the_listed_one_but_alike_twice_is_the_object_s():
    short = Server(OLD[:1000], etag="")
    rig, outcome = pull(short, routes=("edge", "origin"))

    assert (outcome.stored, outcome.failures) == (1, [])
    assert rig.writers["v1"].files == {KEY: OLD[:1000]}


def test_a_size_that_is_never_the_listed_one_nor_the_same_is_a_failure_that_names_both():
    lengths = iter(range(1000, 2000))

    def answer(request):
        return Server(OLD[: next(lengths)], etag="")(request)

    rig, outcome = pull(answer, routes=("edge", "origin"))

    (failure,) = outcome.failures
    assert (failure.reason, rig.writers["v1"].files) == (Reason.SIZE, {})
    assert failure.detail == f"1002 bytes came, {SIZE} are listed"


@pytest.mark.parametrize("routes", [("edge", "origin"), ("origin",)])
def test_a_stated_md5_that_is_not_the_content_s_is_found_out_by_a_second_answer_that_is_alike(routes):
    server = Server(states_md5=True)

    def answer(request):
        given = server(request)
        return Answer(given.status, given.body, (("ETag", '"v1"'), ("Content-MD5", "0" * 32)))

    rig, outcome = pull(answer, routes=routes)

    assert (outcome.stored, outcome.failures, outcome.retries) == (1, [], {"checksum": 1})
    assert outcome.doubts == {"checksum": 1}
    assert rig.writers["v1"].files == {KEY: OLD}
    assert records_of(outcome)[0].md5s == [hashlib.md5(OLD).digest()]
    assert server.starts == [0, 0]


def test_content_that_differs_each_time_from_the_stated_md5_is_not_stored():
    bodies = (bytes([number]) * SIZE for number in range(9))

    def answer(request):
        return Answer(200, next(bodies), (("ETag", '"v1"'), ("Content-MD5", "0" * 32)))

    rig, outcome = pull(answer, routes=("edge", "origin"))

    assert [(each.reason, each.attempts) for each in outcome.failures] == [(Reason.CHECKSUM, 3)]
    assert rig.writers["v1"].files == {}


def test_the_other_lane_begins_at_byte_zero():
    server = Server(cuts=[70_000])

    def answer(request):
        if request.url.startswith("edge:") and server.starts:
            return Answer(403)
        return server(request)

    rig, _ = pull(answer, routes=("edge", "origin"))

    assert server.starts == [0, 0]
    assert rig.writers["v1"].files[KEY] == OLD


def test_a_body_larger_than_memory_should_hold_is_poured_though_it_was_listed_as_small():
    huge = random.Random(3).randbytes(3 << 20)
    headers = (("Last-Modified", "Mon, 14 Sep 2020 12:26:40 GMT"),)

    def answer(request):
        if request.max_bytes < len(huge):
            return Answer(failure=Reason.SIZE)
        return Answer(body=huge, headers=headers)

    rig = rig_of(answer, routes=("origin",), streamed=8 << 20)
    rig.assign([part_of(b"d", {b"big": 10})])

    assert rig.settle()[0].stored == 1
    assert rig.writers["v1"].files[KEY] == huge


def test_what_the_source_takes_for_another_thing_than_the_object_is_not_poured():
    """Each try would read all of it, and none could be stored."""
    asked = []

    def answer(request):
        if not request.url.endswith("big"):
            return Answer(body=b"jpeg")
        asked.append(request.max_bytes)
        return Answer(failure=Reason.SIZE)

    rig = rig_of(answer, routes=("origin",), streamed=8 << 20)
    judge = rig.memory.judge

    def judged(wanted, *others):
        verdict = judge(wanted, *others)
        if wanted.name == b"big":
            verdict.reason = Reason.GARBAGE
        return verdict

    rig.memory.judge = judged
    rig.assign([part_of(b"d", {b"big": 10} | {b"n%d" % number: 4 for number in range(9)})])
    (outcome,) = rig.settle()

    assert (outcome.stored, [part.names for part in outcome.deferred]) == (9, [[b"big"]])
    assert len(asked) == 4
    assert len(set(asked)) == 1


@settings(max_examples=100)
@given(
    cuts=st.lists(st.integers(0, SIZE), max_size=3),
    change_at=st.one_of(st.none(), st.integers(0, 4)),
    etags=st.booleans(),
    states_md5=st.booleans(),
    ranges=st.booleans(),
    heeds=st.booleans(),
    left=st.one_of(st.none(), st.tuples(st.booleans(), st.integers(0, SIZE), st.booleans())),
)
def test_whatever_is_published_is_one_version_from_end_to_end(
    cuts, change_at, etags, states_md5, ranges, heeds, left
):
    server = Server(cuts=cuts, etag='"v1"' if etags else "", states_md5=states_md5, ranges=ranges)

    def answer(request):
        if len(server.starts) == change_at:
            server.body, server.etag = NEW, '"v2"' if etags else ""
        return server(request if heeds else unconditional(request))

    with closing(rig_of(answer)) as rig:
        if left is not None:
            is_old, length, is_sound = left
            content = OLD if is_old is is_sound else NEW  # what is not sound may be anything
            version = PartVersion('"v1"' if is_old else '"v2"', "", is_sound)
            leave_a_part(rig, content[:length], version)
        rig.assign([part_of(b"d", {b"big": SIZE})])
        rig.settle()

    assert rig.meter.partial == 0
    published = rig.writers["v1"].files.get(KEY)
    assert published in {None, OLD, NEW}


def test_the_stop_keeps_the_part_for_the_next_process():
    rig = rig_of(Server(cuts=[70_000] * 100))
    rig.assign([part_of(b"d", {b"big": SIZE})])
    rig.turn()
    rig.transfers.stop()

    assert rig.settle()[0].unplaced[0].names == [b"big"]
    assert [len(part) for part in rig.writers["v1"].parts.values()] == [70_000]


def test_a_transfer_that_breaks_off_again_and_again_gets_on_and_ends_whole():
    server = Server(cuts=[20_000] * 9)
    rig, outcome = pull(server)

    assert outcome.stored == 1
    assert server.starts == list(range(0, SIZE, 20_000))
    assert rig.writers["v1"].files[KEY] == OLD


def test_a_server_that_breaks_off_and_ignores_the_range_is_asked_a_few_times_each_pass():
    """What comes again after a new beginning is no progress, however much it is; it gets on only where it gets further."""
    server = Server(cuts=[SIZE // 2] * 1000, ranges=False)
    rig, outcome = pull(server)

    assert len(server.starts) < 9, outcome
    assert len(server.starts) <= 8
    assert rig.writers["v1"].files == {}


@pytest.mark.parametrize("states_length", [True, False])
def test_of_a_body_that_states_no_length_little_more_is_read_than_is_listed(states_length, monkeypatch):
    """It may have no end; an object that changed since it was listed states how long it is."""
    monkeypatch.setattr("bucketpull.downloader.large_object.MOST_UNSTATED_BYTES", 50_000)
    server = Server(OLD)

    def answering(request):
        answer = server(request)
        if states_length:
            answer.headers = (*answer.headers, ("Content-Length", str(len(answer.body))))
        return answer

    rig = rig_of(answering)
    rig.assign([part_of(b"d", {b"big": 1500})])
    (outcome,) = rig.settle()

    was_cut = "more than 51500 bytes" in outcome.failures[0].detail
    assert was_cut is not states_length
