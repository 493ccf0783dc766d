"""The ledger: what was appended is read again, a torn end is cut off, damage elsewhere is told and stepped over."""

import os
import random
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketpull.domain.errors import LedgerError, VolumeFull
from bucketpull.domain.record import Record
from bucketpull.volumes.beneath import OwnDirectory
from bucketpull.volumes.ledger import Damage, Entry, Frame, Kind, Ledger


def records(seed, objects=50):
    source = random.Random(seed)
    names = [source.randbytes(16).hex().encode() + b".jpg" for _ in range(objects)]
    sizes = [source.randrange(60_000) for _ in names]
    return [
        Record(
            b"photos/%d" % seed, "c", names, sizes, [1_600_000_000 + source.randrange(10**7) for _ in names]
        )
    ]


def entry(seed, objects=50):
    written = records(seed, objects)
    return Entry(
        Kind.BLOCK, "5eed5eed5eed", seed, msgspec.msgpack.encode(written), objects, sum(written[0].sizes)
    )


def open_ledger(folder, *, writable=True):
    return Ledger.open(OwnDirectory(folder, "here", ".", None), "here", writable)


@pytest.fixture
def opened(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    ledgers = []

    def ledger(writable=True):
        ledgers.append(open_ledger(folder, writable=writable))
        return ledgers[-1]

    yield ledger
    for made in ledgers:
        made.close()
    os.close(folder)


def test_what_was_appended_is_read_at_its_offset_and_in_order(opened, tmp_path):
    ledger = opened()
    offsets = ledger.append([entry(1), entry(2)]) + ledger.append([entry(3)])
    again = opened(writable=False)
    assert [again.read(offset).records() for offset in offsets] == [records(1), records(2), records(3)]
    assert [(frame.journal, frame.work) for frame in again.salvage(offsets[1])] == [
        ("5eed5eed5eed", 2),
        ("5eed5eed5eed", 3),
    ]


def test_totals_are_known_without_reading_the_ledger(opened):
    opened().append([entry(1, 10), entry(2, 30)])
    ledger = opened()
    assert (ledger.objects, ledger.size) == (40, sum(records(1, 10)[0].sizes) + sum(records(2, 30)[0].sizes))
    ledger.append([Entry(Kind.REMOVAL, "5eed", 2, b"\x90", -30, -ledger.size)])
    assert (ledger.objects, ledger.size) == (10, 0)


def test_an_object_with_a_hexadecimal_name_costs_less_than_33_bytes(opened):
    ledger = opened()
    ledger.append([entry(seed, 1000) for seed in range(5)])
    assert ledger.end / 5000 < 33


@settings(max_examples=60)
@given(cut=st.integers(1, 4000), junk=st.binary(max_size=300))
def test_a_torn_append_is_cut_off_and_nothing_else(tmp_path_factory, cut, junk):
    folder = os.open(tmp_path_factory.mktemp("volume"), os.O_RDONLY)
    ledger = open_ledger(folder)
    first = ledger.append([entry(1)])[0]
    whole = ledger.end
    ledger.append([entry(2)])
    torn = max(whole, ledger.end - cut)
    os.truncate(os.open("ledger", os.O_RDWR, dir_fd=folder), torn)
    fd = os.open("ledger", os.O_WRONLY | os.O_APPEND, dir_fd=folder)
    os.write(fd, junk)
    again = open_ledger(folder)
    assert again.end == whole
    again.cut(again.end)
    assert os.fstat(fd).st_size == whole
    offset = again.append([entry(3)])[0]
    assert [frame.offset for frame in again.salvage()] == [first, offset]
    for each in (ledger, again):
        each.close()
    os.close(fd)
    os.close(folder)


def test_zeros_at_the_end_are_no_entries(opened, tmp_path):
    ledger = opened()
    ledger.append([entry(1)])
    os.truncate(tmp_path / "ledger", ledger.end + 5_000_000)
    assert opened().end == ledger.end


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_a_flipped_bit_is_told_with_its_offset_and_stepped_over_by_salvage(opened, tmp_path):
    ledger = opened()
    offsets = ledger.append([entry(seed) for seed in range(5)])
    flip(tmp_path / "ledger", offsets[2] + 300)
    again = opened()
    with pytest.raises(LedgerError, match=f"byte {offsets[2]} "):
        again.read(offsets[2])
    found = list(again.salvage())
    assert [type(each) for each in found] == [Frame, Frame, Damage, Frame, Frame]
    assert found[2] == Damage(offsets[2], offsets[3])


@settings(max_examples=40)
@given(position=st.floats(0, 0.999), seed=st.integers(0, 2**32))
def test_no_flipped_bit_anywhere_goes_unnoticed(tmp_path_factory, position, seed):
    folder = tmp_path_factory.mktemp("volume")
    fd = os.open(folder, os.O_RDONLY)
    ledger = open_ledger(fd)
    ledger.append([entry(number, 5) for number in range(4)])
    flip(folder / "ledger", int(position * ledger.end))
    whole = [each for each in ledger.salvage() if isinstance(each, Frame)]
    assert len(whole) == 3
    assert all(frame.records() == records(frame.work, 5) for frame in whole)
    ledger.close()
    os.close(fd)


def test_an_offset_that_is_none_is_refused(opened):
    ledger = opened()
    ledger.append([entry(1)])
    for offset in (1, ledger.end, ledger.end + 100):
        with pytest.raises(LedgerError, match="no whole entry"):
            ledger.read(offset)


def test_a_long_damage_at_the_end_is_not_taken_for_a_torn_append(opened, tmp_path):
    ledger = opened()
    ledger.append([entry(1)])
    os.truncate(tmp_path / "ledger", ledger.end + (80 << 20))
    with pytest.raises(LedgerError, match="damaged"):
        opened()


def test_an_append_that_does_not_fit_leaves_no_trace_and_what_was_set_aside_still_serves(disks):
    disk = disks.tmpfs("4m")
    folder = os.open(disk.path, os.O_RDONLY)
    ledger = open_ledger(folder)
    ledger.reserve()
    fill(disk)
    kept = [ledger.append([entry(seed, 1000)])[0] for seed in range(20)]
    with pytest.raises(VolumeFull, match="free some space"):
        kept.extend(ledger.append([entry(seed, 1000)])[0] for seed in range(1000))
    assert [frame.offset for frame in ledger.salvage()] == kept
    assert os.stat("ledger", dir_fd=folder).st_size == ledger.end
    os.unlink("filler", dir_fd=folder)
    ledger.append([entry(1)])
    fill(disk)
    for seed in range(20):  # room is set aside again
        ledger.append([entry(seed, 1000)])
    ledger.close()
    os.close(folder)


def fill(disk):
    with suppress(OSError), open(f"{disk.path}/filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize(
    "payload",
    [b"\x91" * 100_000, b"\x91\x95\xc4\x01a\xa1\xff\x90\x90\x90", b"no records", bytes(4 << 20)],
    ids=["depth", "no UTF-8", "no MessagePack", "NULs"],
)
def test_an_entry_that_nobody_of_ours_wrote_is_damage_with_its_place(opened, payload):
    ledger = opened()
    (offset,) = ledger.append([Entry(Kind.BLOCK, "5eed5eed5eed", 1, payload, 1, 1)])
    with pytest.raises(LedgerError, match=f"entry at byte {offset} is not understood"):
        ledger.read(offset).records()


def test_an_entry_with_numbers_that_no_journal_can_hold_is_damage(opened):
    ledger = opened()
    ledger.append([entry(1)])
    ledger.append([msgspec.structs.replace(entry(2), work=2**63)])
    ledger.append([entry(3)])
    assert [type(found) for found in ledger.salvage()] == [Frame, Damage, Frame]


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("length", [1, 30, 500])
def test_what_is_damaged_can_be_blanked_out_and_all_else_stays(opened, tmp_path, at, length):
    ledger = opened()
    offsets = ledger.append([entry(seed) for seed in range(4)])
    before = [*ledger.salvage()]
    with open(tmp_path / "ledger", "r+b") as file:
        damaged = os.pread(file.fileno(), length, offsets[at] + 20)
        os.pwrite(file.fileno(), bytes(byte ^ 0xA5 for byte in damaged), offsets[at] + 20)
    (damage,) = [found for found in ledger.salvage() if isinstance(found, Damage)]

    assert ledger.blank(damage) is True

    now = [*opened(writable=False).salvage()]
    assert (now[at].offset, now[at].end, now[at].records()) == (damage.offset, damage.end, [])
    assert [*now[:at], *now[at + 1 :]] == [*before[:at], *before[at + 1 :]]
    assert (now[at].objects, now[at].size) == ((now[at - 1].objects, now[at - 1].size) if at else (0, 0))
    assert ledger.blank(damage) is False  # it is whole by now


def test_what_is_whole_or_too_short_for_an_entry_is_not_blanked_out(opened, tmp_path):
    ledger = opened()
    first, second = ledger.append([entry(1), entry(2)])
    with open(tmp_path / "ledger", "r+b") as file:
        file.seek(second)
        rest = file.read()
        file.seek(second)
        file.write(b"???" + rest)
    ledger = opened()

    assert ledger.blank(Damage(first, second)) is False
    assert ledger.blank(Damage(second, second + 3)) is False
    assert [type(found) for found in ledger.salvage()] == [Frame, Damage, Frame]
