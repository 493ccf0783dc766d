"""Files of others that are the job's objects: what the agent makes of them. In virtual time."""

from tests.agent.test_agent import NAMES, Harness, batch, part

from bucketpull.domain.batching import decode_parts
from bucketpull.domain.messages import BatchReceipt, Died
from bucketpull.testing.memory_volume import MemoryVolume


def with_files_of_others(*names, id="v1"):  # noqa: A002
    volume = MemoryVolume(id)
    for name in names:
        volume.foreign[b"d", name] = (10, b"md5 of " + name)
        volume.write(b"d", name, 10, 5)
    return volume


def receipts(harness):
    return [message for message in harness.said if isinstance(message, BatchReceipt)]


def test_files_with_the_listed_length_and_date_are_settled_and_the_rest_is_fetched():
    harness = Harness(with_files_of_others(*NAMES[:3]), adopts="date")
    harness.give(batch(1))
    (tell,) = harness.assignments()
    assert decode_parts(tell.message.parts)[0].names == NAMES[3:]

    harness.store(tell)
    harness.wait(3)
    (receipt,) = receipts(harness)
    assert (receipt.stored + receipt.skipped, len(receipt.extents)) == (len(NAMES), 2)


def test_a_batch_of_which_all_lies_there_is_not_fetched():
    harness = Harness(with_files_of_others(*NAMES), adopts="date")
    harness.give(batch(1))
    harness.wait(3)

    assert harness.assignments() == []
    assert len(receipts(harness)) == 1


def test_what_only_the_source_can_tell_is_asked_of_it_where_it_lies():
    harness = Harness(with_files_of_others(NAMES[0]), MemoryVolume("v2"), adopts="md5")
    harness.give(batch(1))

    claimed = [tell.message for tell in harness.assignments() if tell.message.claims]
    assert [(each.volume, [claim.name for claim in each.claims]) for each in claimed] == [("v1", [NAMES[0]])]
    fetched = [
        decode_parts(tell.message.parts)[0] for tell in harness.assignments() if not tell.message.claims
    ]
    assert sorted(name for each in fetched for name in each.names) == NAMES[1:]


def test_what_a_dead_process_was_to_look_at_is_looked_at_by_the_next():
    """Else what lies in an object's place would be overwritten, whatever it is."""
    harness = Harness(with_files_of_others(*NAMES[:3]), adopts="md5")
    harness.give(batch(1))
    (first,) = [tell for tell in harness.assignments() if tell.message.claims]
    before = len(harness.assignments())

    harness.hear(Died(), first.process)

    again = [tell.message for tell in harness.assignments()[before:]]
    looked_at = {
        name
        for each in again
        for name in decode_parts(each.parts)[0].names
        if name in {claim.name for claim in each.claims}
    }
    assert looked_at == set(NAMES[:3])


def test_a_disk_that_cannot_be_looked_at_keeps_nothing_from_being_fetched():
    harness = Harness(with_files_of_others(*NAMES), MemoryVolume("v2"), adopts="date")
    harness.volumes["v1"].sicken()
    harness.give(batch(1))

    names = [
        name
        for tell in harness.assignments()
        for each in decode_parts(tell.message.parts)
        for name in each.names
    ]
    assert sorted(names) == NAMES


def test_files_of_another_length_are_not_taken():
    harness = Harness(with_files_of_others(*NAMES), adopts="date")
    harness.give(batch(1, part(*NAMES, size=11)))
    (tell,) = harness.assignments()
    assert decode_parts(tell.message.parts)[0].names == NAMES
