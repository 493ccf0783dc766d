"""What every volume promises (`ports.Volume`), over all of them; `tests/volumes` has what is of disks alone."""

import pytest
from tests.contracts.conftest import JOURNAL, MTIME, block, part

from bucketpull.domain.batching import batch_of, encode_parts
from bucketpull.domain.errors import LedgerError
from bucketpull.domain.model import Former
from bucketpull.domain.record import Conclusion

X, Y, Z = (b"a", b"x"), (b"a", b"y"), (b"", b"z")


def names(records):
    return {(record.directory, name) for record in records for name in record.names}


def stored(bench, work, *parts, former=()):
    """Write objects and settle them; return the offset of their block."""
    bench.write(*parts)
    [extent] = bench.volume.settle([block(work, *parts, former=former)])
    assert extent.volume == bench.volume.id
    return extent.offset


def test_what_is_settled_is_read_again_and_counted(bench):
    first, second = (stored(bench, work, part(b"a", name)) for work, name in ((1, b"x"), (2, b"y")))
    [record] = bench.volume.read(first)
    assert (record.directory, record.names, record.sizes, record.mtimes) == (b"a", [b"x"], [10], [MTIME])
    assert first < second
    assert bench.volume.status().stored_objects == 2


def test_where_no_block_is_nothing_is_read(bench):
    with pytest.raises(LedgerError):
        bench.volume.read(7)


def test_an_object_that_is_settled_again_counts_once(bench):
    first = stored(bench, 1, part(b"a", b"x", b"y"))
    stored(bench, 2, part(b"a", b"y"), former=[first])
    assert bench.volume.status().stored_objects == 2


def test_an_object_of_two_blocks_that_are_settled_together_counts_once(bench):
    blocks = [part(b"a", b"x", b"y"), part(b"a", b"z"), part(b"a", b"y", b"z")]
    bench.write(*blocks)
    bench.volume.settle([block(work, each) for work, each in enumerate(blocks)])
    assert bench.volume.status().stored_objects == 3


def test_blocks_of_new_objects_count_as_if_they_were_compared(bench):
    bench.write(part(b"a", b"x", b"y"), part(b"b", b"x"))
    blocks = [block(1, part(b"a", b"x"), part(b"b", b"x")), block(2, part(b"a", b"y"))]
    extents = bench.volume.settle(blocks, True)
    status = bench.volume.status()
    assert (status.stored_objects, status.stored_bytes) == (3, 30)
    assert [names(bench.volume.read(extent.offset)) for extent in extents] == [{X, (b"b", b"x")}, {Y}]


def test_noted_batches_are_known_with_their_blocks_until_they_are_forgotten(bench):
    for work in (1, 2):
        bench.volume.intend(JOURNAL, work, encode_parts([part(b"a", b"x")]))
    bench.volume.intend("other", 3)
    offset = stored(bench, 2, part(b"a", b"x"))
    bench.kill()
    assert sorted(bench.volume.pending(JOURNAL)) == [(1, []), (2, [offset])]
    bench.volume.forget(JOURNAL, [2])
    assert bench.volume.pending(JOURNAL) == [(1, [])]


def test_of_an_abandoned_batch_goes_what_was_written_since_and_never_settled(bench):
    bench.write(part(b"a", b"before"))
    bench.volume.intend(JOURNAL, 1, encode_parts([part(b"a", b"before", b"x", b"y"), part(b"", b"z")]))
    stored(bench, 1, part(b"a", b"x"))
    bench.write(part(b"a", b"y", b"of another"), part(b"", b"z"))
    bench.kill()
    bench.volume.conclude(JOURNAL, [Conclusion(1)])
    bench.volume.conclude(JOURNAL, [Conclusion(99)])
    assert bench.files() == {X, (b"a", b"before"), (b"a", b"of another")}
    assert bench.volume.pending(JOURNAL) == []


def test_a_batch_that_was_noted_without_its_objects_is_abandoned_without_a_removal(bench):
    bench.volume.intend(JOURNAL, 1)
    bench.write(part(b"a", b"x"))
    bench.volume.conclude(JOURNAL, [Conclusion(1)])
    assert bench.files() == {X}
    assert bench.volume.pending(JOURNAL) == []


def test_discarded_blocks_go_but_for_objects_that_later_blocks_describe(bench):
    bench.volume.intend(JOURNAL, 1)
    first = stored(bench, 1, part(b"a", b"x", b"y"))
    second = stored(bench, 2, part(b"a", b"y"), part(b"", b"z"), former=[first])
    for _ in range(2):
        bench.volume.conclude(JOURNAL, [Conclusion(1, [first])])
        bench.volume.conclude(JOURNAL, [Conclusion(77, [second])])
    assert bench.files() == {Y, Z}
    assert bench.volume.status().stored_objects == 2
    assert bench.volume.pending(JOURNAL) == []


def test_discarded_blocks_go_but_for_objects_that_kept_ones_describe(bench):
    bench.volume.intend(JOURNAL, 1)
    first = stored(bench, 1, part(b"a", b"x", b"y"))
    second = stored(bench, 1, part(b"a", b"y"), part(b"", b"z"), former=[first])
    bench.volume.conclude(JOURNAL, [Conclusion(1, [second], [first])])
    assert bench.files() == {X, Y}
    bench.kill()
    assert names(bench.volume.read(first)) == {X, Y}


def test_what_was_written_again_and_not_settled_stays_where_a_former_block_describes_it(bench):
    stored(bench, 1, part(b"a", b"x"))
    bench.volume.intend(JOURNAL, 2, encode_parts([part(b"a", b"x", b"y")]))
    bench.write(part(b"a", b"x", b"y"))
    bench.kill()
    bench.volume.conclude(JOURNAL, [Conclusion(2)])
    assert bench.files() == {X}


def test_batches_that_are_concluded_together_share_objects(bench):
    bench.volume.intend(JOURNAL, 1, encode_parts([part(b"a", b"x", b"y")]))
    bench.volume.intend(JOURNAL, 2, encode_parts([part(b"a", b"y")]))
    bench.volume.intend(JOURNAL, 3, encode_parts([part(b"a", b"x"), part(b"", b"z")]))
    first = stored(bench, 1, part(b"a", b"x", b"y"))
    second = stored(bench, 2, part(b"a", b"y"), former=[first])
    kept = stored(bench, 3, part(b"a", b"x"), former=[first])
    bench.write(part(b"", b"z"))
    bench.volume.conclude(JOURNAL, [Conclusion(2, [second]), Conclusion(1, [first], [kept])])
    assert bench.files() == {X, Z}  # the third batch may come again
    bench.volume.conclude(JOURNAL, [Conclusion(3)])
    assert bench.files() == {X}
    assert bench.volume.pending(JOURNAL) == []
    assert bench.volume.status().stored_objects == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_object_of_two_discarded_blocks_goes_whichever_is_discarded_first(bench, order):
    offsets = [stored(bench, 1, part(b"a", b"x")), stored(bench, 2, part(b"a", b"x"))]
    for index in order:
        bench.volume.conclude(JOURNAL, [Conclusion(index + 1, [offsets[index]])])
    assert bench.files() == set()


@pytest.mark.parametrize("gone", [(0,), (1,), (0, 1)])
def test_a_batch_that_was_stored_twice_counts_once_whichever_block_is_discarded(bench, gone):
    bench.volume.intend(JOURNAL, 1)
    offsets = [stored(bench, 1, part(b"a", b"x", b"y")) for _ in range(2)]
    assert bench.volume.status().stored_objects == 2
    kept = [offsets[index] for index in {0, 1} - {*gone}]
    bench.volume.conclude(JOURNAL, [Conclusion(1, [offsets[index] for index in gone], kept)])
    assert bench.volume.status().stored_objects == (0 if len(gone) == 2 else 2)


def test_files_of_a_noted_batch_are_found_whole_after_a_kill_but_not_after_a_restart_of_the_machine(bench):
    bench.write(part(b"a", b"before"))
    bench.volume.intend(JOURNAL, 1)
    bench.write(part(b"a", b"x"))
    wanted = [part(b"a", b"before", b"x", b"missing")]
    bench.kill()
    assert names(bench.volume.recover(JOURNAL, 1, wanted)) == {X}
    assert bench.volume.recover(JOURNAL, 2, wanted) == []
    bench.restart()
    assert bench.volume.recover(JOURNAL, 1, wanted) == []


def test_a_former_copy_goes_that_several_blocks_tell_of_and_none_that_was_named_has_it_any_more(bench):
    blocks = [stored(bench, work, part(b"a", b"x", b"y")) for work in (1, 2, 3)]
    named = [blocks[0], blocks[2]]
    moved = Former(bench.volume.id, named, "other", encode_parts([part(b"a", b"y")]))
    bench.volume.remove(JOURNAL, [moved])
    assert bench.files() == {X}
    assert [names(bench.volume.read(offset)) for offset in named] == [{X}, {X}]


def test_a_former_copy_that_went_with_another_block_is_in_none_that_is_named_later(bench):
    """Each of two batches that did not know of each other stored it: its file goes once."""
    offsets = [stored(bench, work, part(b"a", b"x", b"y")) for work in (1, 2)]
    for offset in reversed(offsets):
        moved = Former(bench.volume.id, [offset], "other", encode_parts([part(b"a", b"y")]))
        bench.volume.remove(JOURNAL, [moved])
    assert bench.files() == {X}
    assert [names(bench.volume.read(offset)) for offset in offsets] == [{X}, {X}]


@pytest.mark.parametrize("named", [0, 1])
def test_a_former_copy_that_went_is_in_no_block_also_in_none_that_was_not_named(bench, named):
    """A batch may store an object where the copy of another one is about to go: the same version is the same file."""
    offsets = [stored(bench, work, part(b"a", b"x", b"y")) for work in (1, 2)]
    moved = Former(bench.volume.id, [offsets[named]], "other", encode_parts([part(b"a", b"y")]))
    bench.volume.remove(JOURNAL, [moved])
    assert bench.files() == {X}
    bench.kill()
    assert [names(bench.volume.read(offset)) for offset in offsets] == [{X}, {X}]
    again = stored(bench, 3, part(b"a", b"y"))
    assert [names(bench.volume.read(offset)) for offset in [*offsets, again]] == [{X}, {X}, {Y}]


def test_former_copies_go_and_their_block_does_not_have_them_any_more(bench):
    offset = stored(bench, 1, part(b"a", b"x", b"y"))
    moved = Former(bench.volume.id, [offset], "other", encode_parts([part(b"a", b"y")]))
    for _ in range(2):
        bench.volume.remove(JOURNAL, [moved])
    assert bench.files() == {X}
    bench.kill()
    assert names(bench.volume.read(offset)) == {X}
    assert bench.volume.status().stored_objects == 1


def test_files_of_others_are_taken_for_objects_of_their_date_or_put_aside(bench):
    bench.put_foreign(b"a", b"x")
    seen = bench.volume.inspect([part(b"a", b"x", b"y")], "date")
    assert (names(seen.records), seen.claims) == ({X}, [])
    bench.put_foreign(b"a", b"y", b"of another length")
    seen = bench.volume.inspect([part(b"a", b"y")], "date")
    assert (seen.records, seen.claims) == ([], [])
    bench.volume.clear(batch_of([part(b"a", b"y")]))
    assert not bench.is_taken(*Y)
