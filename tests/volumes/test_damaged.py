"""What a power cut, NFS or somebody's hand leaves among a volume's own files does not keep it from being used."""

import errno
import os
from contextlib import closing

import msgspec
import pytest
from tests.volumes.filling import JOURNAL, Filler

from bucketpull.domain.batching import encode_parts
from bucketpull.domain.errors import LedgerError
from bucketpull.domain.model import Former, Part
from bucketpull.domain.record import Conclusion, Record
from bucketpull.domain.status import VolumeState
from bucketpull.reading.readable_volumes import ReadableVolume
from bucketpull.volumes import ledger
from bucketpull.volumes.ledger import Entry, Kind, Ledger
from bucketpull.volumes.packs import tar
from bucketpull.volumes.volume import open_volume


@pytest.mark.parametrize(
    "name", [".nfs0000000000000001", "note", "a.b.c", "j.1.-5", "j.\u0661.\u0662", "j." + "9" * 190 + ".1"]
)
def test_a_stray_file_among_the_notes_of_batches_is_stepped_over(tmp_path, name):
    with Filler(tmp_path) as filler:
        filler.volume.intend("journal", 7)
    (tmp_path / ".bucketpull/intents" / name).touch()
    with closing(open_volume(str(tmp_path))) as volume:
        assert volume.pending("journal") == [(7, [])]


RECORDS = {
    "a path to elsewhere": Record(b"", "", [b"a"], [1], [0], paths={0: b"../../etc/shadow"}),
    "an absolute path": Record(b"", "", [b"a"], [1], [0], paths={0: b"/etc/shadow"}),
    "a pack elsewhere": Record(b"", "", [b"a"], [1], [0], pack="../../a", offsets=[1]),
    "no offset": Record(b"", "", [b"a"], [1], [0], pack="012345-0-000000"),
    "an offset beyond all": Record(b"", "", [b"a"], [1], [0], pack="012345-0-000000", offsets=[2**62]),
    "fewer sizes than names": Record(b"", "", [b"a", b"b"], [1], [0]),
}  # fmt: skip


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_ledger_that_somebody_made_up_is_refused_by_whoever_reads_it(tmp_path, record):
    with Filler(tmp_path):
        pass
    with closing(Ledger(os.open(tmp_path / ".bucketpull/ledger", os.O_RDWR), str(tmp_path))) as ledger:
        ledger.append([Entry(Kind.BLOCK, "j", 1, msgspec.msgpack.encode([record]), 1, 1)])
        with pytest.raises(LedgerError, match="it was not written by bucketpull"):
            next(ledger.salvage()).records()
    with pytest.raises(LedgerError):
        ReadableVolume(str(tmp_path)).read(b"a")


def test_the_index_is_not_written_where_the_volume_is_somebody_elses(tmp_path, monkeypatch):
    """Who may write there can put a link in its place: root's `serve` and `cat` would write through it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    volume, elsewhere = tmp_path / "volume", tmp_path / "elsewhere"
    for made in (volume, elsewhere):
        made.mkdir()
    with Filler(volume) as filler:
        filler.store({(b"", b"a"): b"body"})
    os.chown(volume / ".bucketpull", 54_321, 54_321)
    (volume / ".bucketpull/keys").symlink_to(elsewhere)
    with closing(ReadableVolume(str(volume))) as reading:
        assert reading.read(b"a") == b"body"
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("length", [b"0", b"1", b"5", b"9" * 300, b"999999999"])
def test_a_pax_record_whose_length_cannot_be_makes_no_header(length):
    """GNU tar ends with an error at such a record, so it is told as damage and not passed over."""

    def with_record(record):
        extended = tar.named(b"PaxHeader", len(record), 0)
        block = bytearray(extended)
        block[156:157] = b"x"
        block[148:154] = b"%06o" % (sum(block) - sum(block[148:156]) + 8 * 0x20)
        return bytes(block) + record + bytes(tar.padding(len(record))) + tar.header(b"here", 0, 0)

    assert tar.read_header(with_record(length + b" path=elsewhere\n")) is None
    sound = tar.read_header(with_record(b"18 path=elsewhere\n"))
    assert sound is not None
    assert sound.path == b"elsewhere"


@pytest.mark.parametrize(
    "field", [b"-0000000001", b"0000000009x", b"0b1", b"\xff" * 11, b" " * 11, b"0_0_0_0_0_0"]
)
def test_a_size_that_is_none_makes_no_header(field):
    sound = tar.header(b"a", 5, 0)
    block = bytearray(sound)
    block[124:135] = field.ljust(11, b"\0")
    block[148:154] = b"%06o" % (sum(block) - sum(block[148:156]) + 8 * 0x20)
    assert tar.read_header(sound) is not None
    assert tar.read_header(bytes(block)) is None
    assert tar.stated_size(bytes(block)) is None


def with_damaged_beginning(path):
    """Store three batches; return the volume, opened again, of which the ledger's first entry is damaged."""
    with Filler(path) as filler:
        for name in (b"a", b"b", b"c"):
            filler.store({(b"", name): b"body"})
    damage(path, 0)
    return open_volume(str(path))


def damage(path, offset):
    with open(path / ".bucketpull/ledger", "r+b") as file:
        file.seek(offset + 60)
        file.write(b"\xff")


def test_a_ledger_that_is_damaged_before_its_end_is_told_of_while_the_volume_is_used(tmp_path):
    with closing(with_damaged_beginning(tmp_path)) as volume:
        said = volume.status().warning
    assert said.startswith("has a ledger that is damaged from byte 0 to ")
    assert f"`bucketpull verify {tmp_path} --repair` heals it" in said


def test_a_long_ledger_is_read_a_piece_at_a_time_and_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "_PIECE_BYTES", 1)
    with closing(with_damaged_beginning(tmp_path)) as volume:
        volume._check._at = next(volume._ledger.salvage()).end
        assert [volume.status().warning for _ in range(4)] == [""] * 4
        assert volume._check._at == volume._ledger.end


def test_a_damaged_entry_that_is_asked_for_is_told_of_at_once(tmp_path):
    with closing(with_damaged_beginning(tmp_path)) as volume:
        with pytest.raises(LedgerError):
            volume.read(0)
        assert "has a ledger that is damaged at byte 0" in volume.status().warning


def test_a_sector_of_a_ledger_that_cannot_be_read_is_told_of_and_costs_no_more(tmp_path, monkeypatch):
    def unreadable(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with closing(with_damaged_beginning(tmp_path)) as volume:
        monkeypatch.setattr(volume._ledger, "salvage", unreadable)
        assert "cannot be read from byte 0 on (Input/output error)" in volume.status().warning
        assert volume.status().state is VolumeState.OPEN


X = Part(b"", "", [b"x"], [4], [1_600_000_000])


def files(path):
    return sorted(each.name for each in path.iterdir() if each.is_file())


def test_what_may_be_told_of_in_a_damaged_entry_stays_when_a_batch_is_concluded(tmp_path):
    """Else a disk that fails with files on their way would never come back."""
    with_damaged_beginning(tmp_path).close()
    with Filler(tmp_path) as filler:
        filler.volume.intend(JOURNAL, 9, encode_parts([X]))
        filler.store({(b"", b"x"): b"body"}, settle=False)

        filler.volume.conclude(JOURNAL, [Conclusion(9)])

        assert filler.volume.pending(JOURNAL) == []
    assert files(tmp_path) == ["a", "b", "c", "x"]


def test_a_copy_stays_where_the_block_that_may_describe_the_one_that_counts_is_damaged(tmp_path):
    with_damaged_beginning(tmp_path).close()
    with Filler(tmp_path) as filler:
        for work in (8, 9):
            filler.volume.intend(JOURNAL, work, encode_parts([X]))
        for name in (b"a", b"x"):
            filler.store({(b"", name): b"body"})
        (of_a,), (of_x,) = filler.blocks.values()

        filler.volume.conclude(JOURNAL, [Conclusion(1, [of_a], [0]), Conclusion(2, [of_x])])

        assert filler.volume.pending(JOURNAL) == [(8, []), (9, [])]
    assert files(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize(("at", "left"), [(0, ["a", "b", "c"]), (-1, ["a", "b", "c", "x"])])
def test_a_file_of_a_removed_object_stays_where_a_damaged_entry_may_tell_of_it_anew(
    tmp_path, monkeypatch, at, left
):
    with Filler(tmp_path) as filler:
        for name in (b"a", b"x", b"b"):
            filler.store({(b"", name): b"body"})
        copy = Former(filler.id, filler.blocks[2], "another", encode_parts([X]))
        with monkeypatch.context() as patch:
            patch.setattr("bucketpull.volumes.files.tree.Tree.remove", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                filler.volume.remove(JOURNAL, [copy])
        filler.store({(b"", b"c"): b"body"})
        damage(tmp_path, [filler.blocks[1][0], filler.blocks[4][0]][at])

        filler.volume.remove(JOURNAL, [copy])

    assert files(tmp_path) == left
