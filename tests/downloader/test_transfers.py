"""Every object of an assignment ends in exactly one way, whatever its source and its volume do."""

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.downloader.rig import Rig, names_of, records_of

from bucketpull.domain.errors import Reason, VolumeFull
from bucketpull.domain.http_exchange import Request, Verdict
from bucketpull.domain.messages import Mount, Unmount
from bucketpull.domain.retry import PASSES
from bucketpull.downloader.parameters import Bounds
from bucketpull.testing.memory import MemoryWriter, part_of
from bucketpull.testing.virtual import Answer

SIZE = 10
BODY = b"x" * SIZE
LISTED = 1_600_000_000
SAME_DATE = ("Last-Modified", "Sun, 13 Sep 2020 12:26:40 GMT")
OTHER_DATE = ("Last-Modified", "Mon, 14 Sep 2020 12:26:40 GMT")


def names(count, prefix="n"):
    return [f"{prefix}{number:04}".encode() for number in range(count)]


def parts(count, prefix="n", size=SIZE, directory=b"d"):
    return [part_of(directory, dict.fromkeys(names(count, prefix), size))]


def good(_request: Request) -> Answer:
    return Answer(body=BODY)


def by_url(table, otherwise=good):
    """Answer by substring of the URL; a list is used up answer by answer, the last for ever."""

    def answer(request):
        for part, answers in table.items():
            if part in request.url:
                if isinstance(answers, list):
                    return answers.pop(0) if len(answers) > 1 else answers[0]
                return answers
        return otherwise(request)

    return answer


def pull(table, count=1, **options):
    rig = Rig(by_url(table), **options)
    writer = rig.mount()
    rig.assign(parts(count))
    (outcome,) = rig.settle()
    return rig, writer, outcome


def test_objects_are_stored_under_their_keys_with_the_time_of_the_listing():
    rig, writer, outcome = pull({}, 30)

    assert writer.files == {b"d/" + name: BODY for name in names(30)}
    assert set(writer.mtimes.values()) == {LISTED}
    assert (outcome.stored, outcome.stored_bytes, outcome.trouble) == (30, 300, None)
    (record,) = records_of(outcome)
    assert record.names == names(30)
    assert (record.stored, record.md5s, record.paths) == ([], [], {})
    assert rig.meter.objects == 30


def test_transfers_go_on_across_assignments_with_no_barrier_at_the_end_of_one():
    slow = by_url({"a0000": Answer(body=BODY, seconds=100.0)})
    rig = Rig(slow, level=8)
    rig.mount()
    for number in range(5):
        rig.assign(parts(100, "abcde"[number]), id=number)
    lowest = []

    def first_done():
        if rig.transfers.unstarted():
            lowest.append(rig.filled)
        return len(rig.outcomes) == 5

    rig.run(first_done)

    assert min(lowest[1:]) == 8  # the one slow object never costs more than its own slot


def test_an_empty_assignment_has_an_empty_outcome():
    rig = Rig(good)
    rig.mount()
    rig.assign([])

    assert [outcome.stored for outcome in rig.outcomes] == [0]


def test_an_object_of_zero_bytes_becomes_an_empty_file():
    rig = Rig(by_url({"n": Answer(body=b"")}))
    writer = rig.mount()
    rig.assign(parts(1, size=0))

    assert rig.settle()[0].stored == 1
    assert writer.files == {b"d/n0000": b""}


@pytest.mark.parametrize("status", [302, 403, 404])
def test_what_the_cdn_refuses_is_had_from_the_origin(status):
    rig, writer, outcome = pull({"edge:d/n0000": Answer(status)}, 2)

    assert outcome.stored == 2
    assert len(writer.files) == 2
    assert sum(outcome.retries.values()) == 1
    assert sum(request.url.startswith("origin:") for request in rig.fetcher.requests) == 1


def test_what_is_missing_at_the_origin_too_is_gone():
    rig, _, outcome = pull({"n0000": Answer(404)}, 2)

    assert [(failure.name, failure.reason) for failure in outcome.failures] == [(b"n0000", Reason.GONE)]
    assert outcome.stored == 1
    assert rig.meter.failures == {}


def test_passing_trouble_is_tried_again_and_counted():
    _, writer, outcome = pull(
        {"edge:d/n0000": [Answer(503), Answer(failure=Reason.RESET), Answer(body=BODY)]}
    )

    assert outcome.stored == 1
    assert outcome.retries == {"server-error": 1, "reset": 1}
    assert len(writer.files) == 1


def test_an_object_that_fails_too_often_is_deferred_and_the_others_are_not():
    _, _, outcome = pull({"n0000": Answer(failure=Reason.CONNECT)}, 3)

    assert names_of(outcome.deferred) == [b"n0000"]
    assert outcome.stored == 2


def test_the_last_pass_ends_in_a_failure_that_says_how_often_it_was_tried():
    rig = Rig(lambda request: Answer(failure=Reason.CONNECT) if "n0000" in request.url else Answer(body=BODY))
    rig.mount()
    rig.assign(parts(2), passes=9)

    (failure,) = rig.settle()[0].failures
    assert (failure.reason, failure.attempts, failure.size, failure.mtime) == (
        Reason.CONNECT,
        8,  # at each endpoint
        SIZE,
        LISTED,
    )


def test_an_edge_that_always_cuts_an_object_is_passed_over_for_the_origin():
    _, _, outcome = pull({"edge:d/n0000": Answer(failure=Reason.TRUNCATED)})

    assert outcome.stored == 1


def test_a_size_that_only_the_edge_has_is_not_believed():
    _, writer, outcome = pull({"edge:d/n0000": Answer(body=b"stale")})

    assert writer.files[b"d/n0000"] == BODY
    assert outcome.retries == {"size": 1}


def test_an_object_that_changed_at_the_origin_is_stored_with_its_new_size():
    answer = Answer(body=b"longer than listed", headers=(OTHER_DATE,))
    _, writer, outcome = pull({"n0000": answer})

    assert writer.files[b"d/n0000"] == b"longer than listed"
    (record,) = records_of(outcome)
    assert (record.sizes, record.stored) == ([SIZE], [18])
    assert outcome.stored_bytes == 18


def test_an_object_whose_size_is_never_the_listed_one_nor_the_same_fails_with_both_sizes():
    bodies = (b"z" * length for length in range(3, SIZE))
    rig = Rig(lambda request: Answer(body=next(bodies), headers=(SAME_DATE,)))
    writer = rig.mount()
    rig.assign(parts(1))
    (outcome,) = rig.settle()

    (failure,) = outcome.failures
    assert (failure.reason, failure.attempts) == (Reason.SIZE, 3)
    assert failure.detail == "5 bytes came, 10 are listed"
    assert writer.files == {}


@pytest.mark.parametrize(("routes", "requests"), [(("edge", "origin"), 2), (("origin",), 2)])
def test_a_size_that_is_not_the_listed_one_but_alike_twice_is_the_object_s(routes, requests):
    _, writer, outcome = pull({"n0000": Answer(body=b"short", headers=(SAME_DATE,))}, routes=routes)

    assert writer.files == {b"d/n0000": b"short"}
    assert (outcome.stored, outcome.failures) == (1, [])
    assert outcome.retries == {"size": requests - 1}
    assert outcome.doubts == {"size": 1}


def test_a_wrong_checksum_is_asked_of_the_origin_once():
    wrong = Answer(body=BODY, headers=(("Content-MD5", "0" * 32),))
    right = Answer(body=BODY, headers=(("Content-MD5", hashlib.md5(BODY).hexdigest()),))
    _, writer, outcome = pull({"edge:": wrong, "origin:": right})

    assert writer.files == {b"d/n0000": BODY}
    assert outcome.retries == {"checksum": 1}
    assert records_of(outcome)[0].md5s == [hashlib.md5(BODY).digest()]


@pytest.mark.parametrize("routes", [("edge", "origin"), ("origin",)])
def test_a_checksum_that_is_wrong_everywhere_is_not_the_content_s_and_the_object_is_stored(routes):
    wrong = Answer(body=BODY, headers=(("Content-MD5", "0" * 32),))
    rig, writer, outcome = pull({"n0000": wrong}, routes=routes)

    assert writer.files == {b"d/n0000": BODY}
    assert (outcome.stored, outcome.failures, outcome.retries) == (1, [], {"checksum": 1})
    assert outcome.doubts == {"checksum": 1}
    assert records_of(outcome)[0].doubts == {0: Reason.CHECKSUM}
    assert records_of(outcome)[0].md5s == [hashlib.md5(BODY).digest()]  # that of the content
    assert rig.meter.objects == 1


def test_bytes_that_differ_each_time_from_what_is_stated_are_not_stored():
    bodies = (bytes([number]) * SIZE for number in range(9))
    rig = Rig(lambda request: Answer(body=next(bodies), headers=(("Content-MD5", "0" * 32),)))
    writer = rig.mount()
    rig.assign(parts(1))
    (outcome,) = rig.settle()

    assert [(failure.reason, failure.attempts) for failure in outcome.failures] == [(Reason.CHECKSUM, 3)]
    assert writer.files == {}


def test_bytes_of_another_length_and_checksum_are_not_kept():
    wrong = Answer(body=BODY[:-1], headers=(("Content-MD5", "0" * 32),))
    _, writer, outcome = pull({"n0000": wrong})

    assert writer.files == {}
    assert [failure.reason for failure in outcome.failures] == [Reason.CHECKSUM]


def test_no_checksum_is_looked_at_where_none_is_wanted():
    wrong = Answer(body=BODY, headers=(("Content-MD5", "0" * 32),))
    rig = Rig(lambda request: wrong)
    rig.mount(verify="none")
    rig.assign(parts(1))

    assert rig.settle()[0].stored == 1


def test_with_md5_wanted_every_object_gets_one_in_the_record():
    rig = Rig(good)
    rig.mount(verify="md5")
    rig.assign(parts(2))

    assert records_of(rig.settle()[0])[0].md5s == [hashlib.md5(BODY).digest()] * 2


def test_a_full_volume_gets_the_rest_of_its_assignments_back_and_others_go_on():
    rig = Rig(good, level=4)
    full, other = rig.mount("v1"), rig.mount("v2")
    full.refuse = Reason.VOLUME_FULL
    rig.assign(parts(50), "v1", 1)
    rig.assign(parts(50), "v1", 2)
    rig.assign(parts(50), "v2", 3)
    outcomes = {outcome.id: outcome for outcome in rig.settle(3)}

    for number in (1, 2):
        assert outcomes[number].trouble is Reason.VOLUME_FULL
        assert sorted(names_of(outcomes[number].unplaced)) == names(50)
    assert outcomes[3].stored == len(other.files) == 50
    assert len(rig.fetcher.requests) < 70  # the rest was not even asked for


def test_a_volume_that_was_full_is_tried_again_later():
    rig = Rig(good)
    writer = rig.mount()
    writer.refuse = Reason.VOLUME_FULL
    rig.assign(parts(1), id=1)
    rig.settle(1)
    writer.refuse = None
    rig.assign(parts(1), id=2)
    assert rig.settle(2)[1].trouble is Reason.VOLUME_FULL

    rig.clock.seconds += 60
    rig.assign(parts(1), id=3)
    assert rig.settle(3)[2].stored == 1


class FullDisks(dict):
    """Disks on which nothing can be begun, not even a writer."""

    def __missing__(self, volume):
        raise VolumeFull(f"/{volume}", "not opened for writing: no inodes left")


@pytest.mark.parametrize("bounds", [Bounds(), Bounds(streamed=SIZE - 1)], ids=["small", "large"])
def test_a_volume_that_was_too_full_to_be_opened_is_opened_when_it_has_room(bounds):
    rig = Rig(good, bounds=bounds)
    rig.writers = FullDisks()
    rig.transfers.mount(Mount("v1", "/v1", "batch", "size"))
    rig.assign(parts(1), id=1)
    assert rig.settle(1)[0].trouble is Reason.VOLUME_FULL

    rig.clock.seconds += 60
    rig.assign(parts(1), id=2)
    assert rig.settle(2)[1].trouble is Reason.VOLUME_FULL  # still
    assert not rig.fetcher.requests

    rig.clock.seconds += 60
    rig.writers["v1"] = MemoryWriter()
    rig.assign(parts(1), id=3)
    assert rig.settle(3)[2].stored == 1


@pytest.mark.parametrize("sick", [True, False])
def test_a_volume_that_came_back_is_opened_anew_whether_it_was_sick_here_or_only_for_the_agent(sick):
    rig = Rig(good)
    first = rig.mount()
    if sick:
        first.refuse = Reason.VOLUME_SICK
        rig.assign(parts(2), id=1)
        assert rig.settle(1)[0].trouble is Reason.VOLUME_SICK
    rig.transfers.unmount(Unmount("v1"))
    rig.assign(parts(1), id=3)
    assert rig.settle(1 + sick)[-1].trouble is Reason.VOLUME_SICK
    second = rig.mount()
    rig.assign(parts(2), id=2)

    assert rig.settle(2 + sick)[-1].stored == len(second.files) == 2
    assert (first.files, first.closed) == ({}, True)


def test_nothing_more_is_begun_for_a_volume_that_is_let_go_of_while_objects_are_on_their_way():
    rig = Rig(good)
    writer = rig.mount()
    rig.transfers.limit(1)
    rig.assign(parts(5))
    rig.transfers.fill(rig.clock.monotonic())

    rig.transfers.unmount(Unmount("v1"))
    (outcome,) = rig.settle()
    assert outcome.trouble is Reason.VOLUME_SICK
    assert names_of(outcome.unplaced) == names(5)
    assert not writer.closed

    rig.transfers.unmount(Unmount("v1"))
    assert writer.closed


def test_an_assignment_for_a_volume_that_nobody_mounted_comes_back():
    rig = Rig(good)
    rig.assign(parts(2), "v9")

    assert rig.outcomes[0].trouble is Reason.VOLUME_SICK
    assert names_of(rig.outcomes[0].unplaced) == names(2)


def test_a_name_that_cannot_be_stored_is_one_failure():
    rig = Rig(good)
    rig.mount().odd[b"d/n0001"] = Reason.UNSTORABLE
    rig.assign(parts(3))
    (outcome,) = rig.settle()

    assert [(failure.name, failure.reason) for failure in outcome.failures] == [(b"n0001", Reason.UNSTORABLE)]
    assert outcome.stored == 2


@pytest.mark.parametrize("reason", [Reason.UNWRITTEN, Reason.MACHINE])
@pytest.mark.parametrize("streamed", [1, 1 << 20])
def test_an_object_that_its_disk_did_not_take_this_time_is_tried_again_then_put_off_at_last_a_failure(
    reason, streamed
):
    rig = Rig(good, bounds=Bounds(streamed=streamed))
    rig.mount().odd[b"d/n0001"] = reason
    rig.assign(parts(3), id=1)
    early = rig.settle(1)[0]
    rig.assign(parts(3), id=2, passes=len(PASSES))
    late = rig.settle(2)[1]

    assert (early.stored, names_of(early.deferred), early.trouble) == (2, [b"n0001"], None)
    assert [(failure.name, failure.reason) for failure in late.failures] == [(b"n0001", reason)]
    assert early.retries == {reason: 4}


def test_a_thousand_vanished_objects_do_not_stop_the_job():
    rig, _, outcome = pull({"n": Answer(404)}, 1000)

    assert rig.fatals == []
    assert Counter(failure.reason for failure in outcome.failures) == {Reason.GONE: 1000}


def test_one_refused_signature_is_put_off():
    rig, _, outcome = pull({"n0003": Answer(401)}, 50, routes=("origin",))
    assert rig.fatals == []
    assert outcome.failures == []  # a bad moment of the service, perhaps: it is had in a later pass
    assert [part.names for part in outcome.deferred] == [[b"n0003"]]


def test_memory_is_bounded_by_the_bodies_in_flight_and_queued():
    rig = Rig(lambda request: Answer(body=b"y" * 1000), level=100, bounds=Bounds(held=10_000, queued=1 << 20))
    writer = rig.mount(slow=True)
    rig.assign(parts(100, size=1000))
    for _ in range(50):
        rig.turn()

    assert rig.fetcher.most == 10
    assert writer.queued_bytes == 10_000
    writer.slow = False
    writer.release()
    assert rig.settle()[0].stored == 100


def test_a_slow_volume_delays_only_its_own_objects():
    rig = Rig(lambda request: Answer(body=b"y" * 1000), level=4, bounds=Bounds(queued=5_000))
    slow, fast = rig.mount("v1", slow=True), rig.mount("v2")
    rig.assign(parts(100, size=1000), "v1", 1)
    rig.assign(parts(100, size=1000), "v2", 2)

    assert rig.settle(1)[0].id == 2
    assert len(fast.files) == 100
    assert slow.queued_bytes <= 10_000


def test_objects_for_the_edge_overtake_those_for_a_crowded_origin():
    rig = Rig(by_url({"origin:": Answer(body=BODY, seconds=100.0)}), level=2)
    writer = rig.mount()
    rig.source.routes = lambda directory, name, size: ("edge",) if name >= b"n0010" else ("origin",)
    rig.assign(parts(20))
    rig.run(lambda: len(writer.files) >= 10)

    assert rig.clock.seconds < 5


def test_versions_much_smaller_than_the_listed_originals_still_fill_the_slots():
    large = 1 << 20
    rig = Rig(good, routes=("edge",), level=64, bounds=Bounds(held=8 << 20))
    rig.source.judge = lambda wanted, endpoint, response, now: Verdict(other_size=True)
    rig.mount()
    rig.assign(parts(1000, size=large))

    assert rig.settle()[0].stored == 1000
    assert rig.fetcher.most == 64


def test_what_is_not_in_flight_at_the_stop_is_handed_back_and_the_rest_finishes():
    rig = Rig(lambda request: Answer(body=BODY, seconds=1.0), level=4)
    rig.mount()
    rig.assign(parts(20))
    rig.turn()
    assert rig.fetcher.in_flight == 4
    rig.transfers.stop()
    (outcome,) = rig.settle()

    assert outcome.stored == 4
    assert names_of(outcome.unplaced) == names(20)[4:]
    assert outcome.trouble is Reason.INTERRUPTED
    assert rig.transfers.volumes.idle


def test_half_of_what_is_not_begun_is_handed_back_when_others_have_nothing_to_do():
    rig = Rig(lambda request: Answer(body=BODY, seconds=1.0), level=4)
    rig.mount()
    rig.assign(parts(20))
    rig.assign(parts(5), id=2)
    rig.turn()
    before = rig.transfers.volumes.unstarted()
    rig.transfers.volumes.release()
    assert rig.transfers.volumes.unstarted() == before // 2

    first, second = sorted(rig.settle(2), key=lambda outcome: outcome.id)
    assert (first.stored + second.stored, second.stored) == (25 - (before + 1) // 2, 0)
    assert names_of(first.unplaced) == names(20)[first.stored :]
    assert names_of(second.unplaced) == names(5)
    assert {first.trouble, second.trouble} == {Reason.INTERRUPTED}


def test_what_never_ends_is_handed_back_when_transfers_are_given_up():
    rig = Rig(lambda request: Answer(body=BODY, seconds=1000.0), level=4)
    rig.mount()
    rig.assign(parts(6))
    rig.turn()
    rig.transfers.stop()
    rig.fetcher.close()
    rig.transfers.abandon()

    (outcome,) = rig.outcomes
    assert sorted(names_of(outcome.unplaced)) == names(6)


def test_what_rests_at_the_stop_is_handed_back():
    rig = Rig(lambda request: Answer(503, seconds=0.001))
    rig.mount()
    rig.assign(parts(3))
    rig.turn()
    rig.turn()
    rig.transfers.stop()

    assert rig.settle()[0].trouble is Reason.INTERRUPTED


def test_nothing_is_begun_while_paused():
    rig = Rig(good)
    rig.mount()
    rig.transfers.paused = True
    rig.assign(parts(3))
    for _ in range(5):
        rig.turn()
    assert rig.fetcher.requests == []

    rig.transfers.paused = False
    assert rig.settle()[0].stored == 3


ANSWERS = [
    Answer(body=BODY),
    Answer(body=b"short"),
    Answer(body=b"short", headers=(OTHER_DATE,)),
    Answer(body=BODY, headers=(("Content-MD5", "0" * 32),)),
    Answer(body=BODY, headers=(("Content-MD5", "0" * 32), ("ETag", '"v"'))),
    Answer(body=b"L" * (1 << 20) + b"arger than memory takes"),
    Answer(206, body=BODY),
    *(Answer(status) for status in (302, 403, 404, 412, 429, 503)),
    *(
        Answer(failure=reason)
        for reason in (Reason.RESET, Reason.STALLED, Reason.TRUNCATED, Reason.SIZE, Reason.INTERRUPTED)
    ),
]
OF_ONE_OBJECT = [Reason.UNSTORABLE, Reason.UNWRITTEN, Reason.MACHINE]
TROUBLES = [None, None, None, *OF_ONE_OBJECT, Reason.VOLUME_FULL, Reason.VOLUME_SICK]


@settings(max_examples=150)
@given(
    data=st.data(),
    seed=st.integers(0, 2**32),
    level=st.integers(1, 20),
    stop_after=st.one_of(st.none(), st.integers(0, 60)),
    streamed=st.sampled_from([1, 1 << 20]),
)
def test_every_object_ends_in_exactly_one_field_of_its_outcome(data, seed, level, stop_after, streamed):
    answers = data.draw(st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=60))
    turn = iter(range(10**9))
    ends = 300.0  # what the whole source says, an outage or a throttle, is waited for: so it ends some time

    def answer(request):
        return answers[next(turn) % len(answers)] if rig.clock.seconds < ends else Answer(body=BODY)

    rig = Rig(
        answer,
        level=level,
        seed=seed,
        bounds=Bounds(streamed=streamed),
    )
    for volume in ("v1", "v2"):
        writer = rig.mount(volume)
        writer.refuses_streams = data.draw(st.booleans())
        writer.slow = data.draw(st.booleans())
        trouble = data.draw(st.sampled_from(TROUBLES))
        if trouble in OF_ONE_OBJECT:
            writer.odd[b"d/n0002"] = trouble
        else:
            writer.refuse = trouble
    given_parts = {}
    for number in range(data.draw(st.integers(1, 4))):
        given_parts[number] = parts(data.draw(st.integers(0, 15))) + parts(3, directory=b"e")
        given_parts[number] += parts(data.draw(st.integers(0, 2)), size=-1, directory=b"unknown")
        rig.assign(given_parts[number], f"v{number % 2 + 1}", number, passes=number)
    turns = 0
    while len(rig.outcomes) < len(given_parts) and turns < 20_000:
        if turns == stop_after:
            rig.transfers.stop()
        rig.turn()
        for writer in rig.writers.values():
            writer.release()
        turns += 1

    assert {outcome.id for outcome in rig.outcomes} == set(given_parts)
    assert len(rig.outcomes) == len(given_parts)
    for outcome in rig.outcomes:
        ended = [
            (part.directory, name) for part in outcome.deferred + outcome.unplaced for name in part.names
        ]
        ended += [(record.directory, name) for record in records_of(outcome) for name in record.names]
        ended += [(failure.directory, failure.name) for failure in outcome.failures]
        wanted = [(part.directory, name) for part in given_parts[outcome.id] for name in part.names]
        assert Counter(ended) == Counter(wanted)
        assert outcome.stored == sum(len(record.names) for record in records_of(outcome))
        assert bool(outcome.unplaced) == (outcome.trouble is not None)
    assert rig.transfers.memory.held == 0
    assert rig.meter.partial == 0
    assert rig.fetcher.in_flight == 0 or stop_after is not None
    rig.close()


def test_an_object_that_no_endpoint_can_have_fails_by_name_and_the_others_are_stored():
    rig = Rig(good)
    writer = rig.mount()
    rig.source.unreachable = {b"n0001"}
    rig.assign(parts(3))

    (outcome,) = rig.settle()

    assert outcome.stored == len(writer.files) == 2
    assert [(failure.name, failure.reason, failure.detail) for failure in outcome.failures] == [
        (b"n0001", Reason.REJECTED, "no endpoint has it")
    ]
    assert rig.meter.failures == {Reason.REJECTED: 1}


@pytest.mark.parametrize("routes", [("edge", "origin"), ("origin",)])
@pytest.mark.parametrize("length", [0, 7, 3 << 20])
def test_an_object_of_unknown_size_and_date_is_stored_as_it_comes(routes, length):
    rig = Rig(lambda request: Answer(body=b"z" * length), routes=routes, bounds=Bounds(streamed=1 << 20))
    writer = rig.mount()
    rig.assign([part_of(b"d", {b"a": -1}, mtime=-1)])

    (outcome,) = rig.settle()

    assert writer.files == {b"d/a": b"z" * length}
    (record,) = records_of(outcome)
    assert (record.sizes, record.stored, outcome.stored_bytes) == ([-1], [length], length)
    assert rig.transfers.memory.held == 0
    assert rig.transfers.memory.held == 0
    assert all(endpoint.targets.in_flight == 0 for endpoint in rig.transfers._order)


@pytest.mark.parametrize("reason", [Reason.UNWRITTEN, Reason.MACHINE, Reason.UNSTORABLE, Reason.VOLUME_SICK])
def test_an_object_larger_than_memory_takes_whose_volume_refuses_it_ends_once(reason):
    rig = Rig(lambda request: Answer(body=b"L" * (2 << 20)), routes=("origin",))
    writer = rig.mount()
    writer.refuse, writer.refuses_streams = reason, True
    rig.assign(parts(1))

    (outcome,) = rig.settle()

    ended = [*outcome.failures, *outcome.deferred, *outcome.unplaced]
    assert len(ended) == 1
    assert rig.transfers.memory.held == 0


def test_a_clock_that_is_set_while_an_object_is_tried_again_is_no_try_of_it():
    troubles = [Reason.RESET, Reason.RESET, Reason.CLOCK, Reason.RESET, Reason.CLOCK]

    def answer(request):
        return Answer(failure=troubles.pop(0)) if "n0000" in request.url and troubles else Answer(body=BODY)

    rig = Rig(answer, routes=("origin",))
    rig.mount()
    rig.assign(parts(2))

    assert rig.settle()[0].stored == 2


def test_an_object_whose_time_is_always_refused_comes_again_and_ends():
    rig = Rig(lambda request: Answer(failure=Reason.CLOCK) if "n0000" in request.url else Answer(body=BODY))
    rig.mount()
    for passes in (0, 9):
        rig.assign(parts(2), id=passes, passes=passes)
    first, last = rig.settle(2)

    assert names_of(first.deferred) == [b"n0000"]
    assert [failure.reason for failure in last.failures] == [Reason.CLOCK]


@pytest.mark.parametrize("seed", range(4))
def test_where_a_quarter_is_refused_whatever_the_pace_no_object_comes_long_after_the_others(seed):
    """The last of 6,000 objects came 15 to 50 seconds after the others: its waits doubled with each refusal by chance."""
    chance = random.Random(seed)

    def answer(_request):
        return Answer(429) if chance.random() < 0.25 else Answer(body=BODY)

    rig = Rig(answer, ["origin"], level=4, seed=seed)
    rig.mount()
    rig.assign(parts(6000))
    ended = []

    def all_others_came():
        if rig.meter.objects >= 5900:
            ended.append(rig.clock.seconds)
        return rig.outcomes

    rig.run(all_others_came)

    (outcome,) = rig.outcomes
    assert outcome.stored == 6000
    assert rig.clock.seconds - ended[0] < 8
