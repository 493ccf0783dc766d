"""What a ledger says of listed objects decides which of them are fetched."""

from hashlib import md5

import msgspec
import pytest

from bucketpull.agent.intake import compare
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Extent, Part
from bucketpull.domain.record import Record
from bucketpull.testing.memory import part_of

OLD, NEW = md5(b"old", usedforsecurity=False), md5(b"new", usedforsecurity=False)


def changed(listed, **recorded):
    """Compare one object of equal size and date, listed with an ETag, with what is recorded of it."""
    part = part_of(b"d", {b"a": 3})
    record = msgspec.structs.replace(Record.of(part), **recorded)
    matched = compare([msgspec.structs.replace(part, versions=[listed])], [(Extent("v1", 0), [record])])
    assert matched.skipped + len(matched.changed) == 1
    return list(matched.changed)


@pytest.mark.parametrize("form", ['"%s"', "%s"])
def test_an_object_of_equal_size_and_date_has_changed_if_both_tell_an_md5_and_they_differ(form):
    assert changed(form % NEW.hexdigest(), md5s=[OLD.digest()]) == ["v1"]
    assert changed(form % OLD.hexdigest().upper(), md5s=[OLD.digest()]) == []


@pytest.mark.parametrize(
    ("listed", "recorded"),
    [
        (NEW.hexdigest(), {}),
        (NEW.hexdigest(), {"md5s": [b""]}),
        (f"{NEW.hexdigest()}-2", {"md5s": [OLD.digest()]}),
        ("", {"md5s": [OLD.digest()]}),
        (NEW.hexdigest(), {"md5s": [OLD.digest()], "doubts": {0: Reason.CHECKSUM}}),
    ],
    ids=["none-recorded", "not-of-this-one", "no-md5-listed", "nothing-listed", "etag-known-to-be-no-md5"],
)
def test_what_cannot_be_compared_is_in_place(listed, recorded):
    assert changed(listed, **recorded) == []


def test_blocks_of_deleted_objects_among_the_listed_names_are_told_and_of_others_not():
    block = Extent("v1", 0)

    def known(name):
        return [(block, [Record(b"x", "", [name], [1], [2])])]

    listed = Part(b"x", "", [b"b", b"k"], [1, 1], [2, 2])

    assert compare([listed], known(b"g")).extents == [block]
    assert compare([listed], known(b"z")).extents == []


def test_blocks_of_what_is_in_place_are_told_oldest_first():
    old = Record(b"d", "", [b"a", b"b"], [1, 1], [1, 1])
    new = Record(b"d", "", [b"a"], [2], [2])
    listed = Part(b"d", "", [b"a", b"b"], [2, 1], [2, 1])

    matched = compare([listed], [(Extent("v1", 0), [old]), (Extent("v1", 9), [new])])

    assert matched.skipped == 2
    assert matched.extents == [Extent("v1", 0), Extent("v1", 9)]
