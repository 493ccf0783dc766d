"""Columns in, columns out, with only what is odd told an object."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.batching import REPORT_SECONDS
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import Assignment
from bucketpull.domain.record import Record
from bucketpull.downloader.batch_progress import BatchProgress
from bucketpull.testing.memory import part_of


def sheet_of(*parts):
    return BatchProgress(Assignment(7, "v1", 2, msgspec.msgpack.encode(list(parts))))


def records(outcome):
    return msgspec.msgpack.decode(outcome.records, type=list[Record]) if outcome.records else []


def test_an_ordinary_part_comes_back_as_it_was_listed():
    part = part_of(b"d", {b"a": 1, b"b": 2}, "c")
    batch = sheet_of(part)
    while items := batch.take(1):
        for progress, index, _, size, _ in items:
            batch.store(progress, index, size, None)
    outcome = batch.outcome()

    assert records(outcome) == [Record(b"d", "c", part.names, part.sizes, part.mtimes)]
    assert (outcome.id, outcome.stored, outcome.stored_bytes, batch.left) == (7, 2, 3, 0)


def test_a_listed_etag_that_is_not_the_md5_of_what_came_is_noted_and_counts_as_no_doubt():
    contents = b"m" * 16
    part = part_of(b"d", {b"a": 1, b"b": 2})
    batch = sheet_of(msgspec.structs.replace(part, versions=["0" * 32, contents.hex()]))
    progress = batch.parts[0]
    for index, size in enumerate(part.sizes):
        progress.note_md5(index, contents)
        batch.store(progress, index, size, None)
    outcome = batch.outcome()

    assert records(outcome)[0].doubts == {0: Reason.CHECKSUM}
    assert outcome.doubts == {}


def test_odd_sizes_paths_and_sums_keep_to_their_objects_when_others_fail():
    batch = sheet_of(part_of(b"d", {b"a": 1, b"b": 2, b"c": 3, b"e": 4}))
    progress = batch.parts[0]
    batch.fail(progress, 0, Reason.REJECTED, 1, 400, "x" * 1000)
    batch.store(progress, 1, 20, None)
    batch.store(progress, 2, 3, b"odd/path")
    progress.note_md5(2, b"m" * 16)
    batch.defer(progress, 3, 4)
    outcome = batch.outcome()

    (record,) = records(outcome)
    assert (record.names, record.sizes, record.stored) == ([b"b", b"c"], [2, 3], [20, 3])
    assert (record.md5s, record.paths) == ([b"", b"m" * 16], {1: b"odd/path"})
    assert len(outcome.failures[0].detail) == 300
    assert outcome.deferred[0].names == [b"e"]


def test_the_first_trouble_is_the_one_that_is_told():
    batch = sheet_of(part_of(b"d", {b"a": 1, b"b": 2}))
    batch.displace(batch.parts[0], 0, Reason.VOLUME_FULL, "full")
    batch.displace_open()

    outcome = batch.outcome()
    assert (outcome.trouble, outcome.detail) == (Reason.VOLUME_FULL, "full")
    assert outcome.unplaced[0].names == [b"a", b"b"]


def test_what_has_ended_is_told_after_some_seconds_and_once():
    batch = sheet_of(part_of(b"d", {b"a": 1, b"b": 2, b"c": 3}))
    progress = batch.parts[0]
    assert not batch.is_due(100.0)
    batch.store(progress, 0, 1, None)
    batch.fail(progress, 2, Reason.REJECTED, 1)
    assert not batch.is_due(100.0)
    assert not batch.is_due(100.0 + REPORT_SECONDS - 0.1)
    assert batch.is_due(100.0 + REPORT_SECONDS)

    first = batch.outcome()
    assert not batch.is_due(200.0)
    batch.store(progress, 1, 20, None)
    second = batch.outcome()

    assert [record.names for record in records(first)] == [[b"a"]]
    assert (first.stored, first.stored_bytes, [part.names for part in first.rest]) == (1, 1, [[b"b"]])
    assert [failure.name for failure in first.failures] == [b"c"]
    assert [(record.names, record.stored) for record in records(second)] == [([b"b"], [20])]
    assert (second.stored, second.stored_bytes, second.failures, second.rest) == (1, 20, [], [])


@given(st.lists(st.lists(st.sampled_from("sfdu"), max_size=8), max_size=5))
def test_each_object_is_in_one_place(plan):
    batch = sheet_of(
        *(part_of(b"p%d" % at, {b"n%d" % i: i for i in range(len(marks))}) for at, marks in enumerate(plan))
    )
    wanted = {"s": set(), "f": set(), "d": set(), "u": set()}
    for progress, marks in zip(batch.parts, plan, strict=True):
        for index, mark in enumerate(marks):
            wanted[mark].add((progress.part.directory, progress.part.names[index]))
            if mark == "s":
                batch.store(progress, index, index, None)
            elif mark == "f":
                batch.fail(progress, index, Reason.REJECTED, 1)
            elif mark == "d":
                batch.defer(progress, index, 4)
            else:
                batch.displace(progress, index, Reason.VOLUME_FULL, "")
    outcome = batch.outcome()

    def found(parts):
        return {(part.directory, name) for part in parts for name in part.names}

    assert found(records(outcome)) == wanted["s"]
    assert {(failure.directory, failure.name) for failure in outcome.failures} == wanted["f"]
    assert found(outcome.deferred) == wanted["d"]
    assert found(outcome.unplaced) == wanted["u"]
    assert batch.left == 0
