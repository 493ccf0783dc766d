"""The journal's file: made whole or not at all, one writer, never replaced, never trusted when it is damaged."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.volumes.conftest import Disks

from bucketpull.domain.errors import ConfigError, JobMismatch, JournalDamaged, JournalError, JournalLocked
from bucketpull.domain.model import WorkKind
from bucketpull.journal import database as journal_file
from bucketpull.journal.journal_connection import FILE
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.sqlite_journal import SqliteJournal

CONFIGURATION = {
    "source": "upyun://b",
    "prefix": "",
    "style": "!s400",
    "layout": "key",
    "option.api_url": "http://one",
}


def opened(folder: Path, **changed: str) -> SqliteJournal:
    return SqliteJournal.open(folder, "job", CONFIGURATION | changed)


def test_a_second_writer_is_told_who_the_first_is_and_what_to_do(folder):
    journal = opened(folder)

    with pytest.raises(JournalLocked) as refusal:
        opened(folder)

    assert f"process {os.getpid()} on {os.uname().nodename}" in str(refusal.value)
    assert "--job or --state" in str(refusal.value)
    journal.close()
    opened(folder).close()


def test_the_lock_of_a_killed_process_is_free(folder):
    code = (
        "import sys, time, pathlib\n"
        "from bucketpull.journal.sqlite_journal import SqliteJournal\n"
        f"SqliteJournal.open(pathlib.Path({str(folder)!r}), 'job', {CONFIGURATION!r})\n"
        "print('open', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(JournalLocked, match=f"process {holder.pid} "):
            opened(folder)
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    opened(folder).close()


def test_another_job_is_refused_with_each_difference(folder):
    opened(folder).close()

    with pytest.raises(JobMismatch) as refusal:
        opened(folder, source="upyun://c", style="")

    words = str(refusal.value)
    assert "source was 'upyun://b' and is 'upyun://c'" in words
    assert "style was '!s400' and is ''" in words
    assert "layout" not in words
    assert "--job or --state" in words


def test_after_a_refusal_the_journal_is_free_and_as_it_was(folder):
    opened(folder).close()
    with pytest.raises(JobMismatch):
        opened(folder, prefix="images")

    journal = opened(folder)

    assert journal.configuration() == CONFIGURATION
    journal.close()


def test_the_options_of_the_source_may_change(folder):
    opened(folder).close()
    changed = {"option.api_url": "http://two", "option.cdn_url": "http://three"}

    journal = opened(folder, **changed)

    assert journal.configuration() == CONFIGURATION | changed
    journal.close()


def test_a_journal_keeps_its_id(folder):
    journal = opened(folder)
    name = journal.id
    journal.close()

    again = opened(folder)

    assert re.fullmatch("[0-9a-f]{12}", name)
    assert (again.id, again.job) == (name, "job")
    again.close()


def test_a_command_does_not_make_a_journal(folder):
    with pytest.raises(JournalError, match="not found"):
        SqliteJournal.open(folder, "job", None)
    with pytest.raises(JournalError, match="not found"):
        JournalReader.open_to_read(folder)


def test_a_command_opens_a_journal_as_it_is(folder):
    opened(folder).close()

    journal = SqliteJournal.open(folder, "job", None)

    assert journal.configuration() == CONFIGURATION
    journal.close()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def remove(file: Path) -> None:
    file.unlink()


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_a_page(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 4096)


def cut_to_a_stub(file: Path) -> None:
    os.truncate(file, 50)


def blank_the_beginning(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(bytes(4096))


def blank_a_page(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(4096 * 3)
        stream.write(b"\xff" * 4096)


def put_another_database(file: Path) -> None:
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("create table other (x)")
    connection.commit()
    connection.close()


def put_text(file: Path) -> None:
    file.write_text("this is no journal\n" * 100)


DAMAGES = [
    empty,
    remove,
    halve,
    cut_a_page,
    cut_to_a_stub,
    blank_the_beginning,
    blank_a_page,
    put_another_database,
    put_text,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_journal_is_refused_and_left_as_it_is(folder, damage):
    opened(folder).close()
    file = folder / FILE
    damage(file)
    before = file.read_bytes() if file.exists() else None

    with pytest.raises(JournalDamaged) as refusal:
        opened(folder)

    assert str(file) in str(refusal.value)
    assert "bucketpull rebuild" in str(refusal.value)
    assert (file.read_bytes() if file.exists() else None) == before


@pytest.mark.parametrize("damage", [halve, blank_a_page], ids=lambda damage: damage.__name__)
def test_damage_is_seen_after_a_crash_too(start, folder, damage):
    play = start()
    for number in range(200):
        play.put(b"%d" % number, b"a", b"b")
    play.run()
    play.journal._tables.connection.sqlite.execute("pragma wal_checkpoint(truncate)").fetchall()
    play.crash()
    damage(folder / FILE)

    with pytest.raises(JournalDamaged):
        opened(folder, source="upyun://bucket", style="")


def test_a_reader_refuses_a_damaged_journal(folder):
    opened(folder).close()
    halve(folder / FILE)

    with pytest.raises(JournalDamaged, match="bucketpull rebuild"):
        JournalReader.open_to_read(folder)


def test_damage_met_while_working_is_named(play, folder, monkeypatch):
    monkeypatch.setattr(journal_file, "CHECKED_BYTES", 0)
    for number in range(500):
        play.put(b"%06d" % number, b"a")
    play.run()
    play.journal.close()
    with (folder / FILE).open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        for offset in range(4096 * 20, size, 4096):
            stream.seek(offset)
            stream.write(b"\xff" * 4096)
    play.open()

    with pytest.raises(JournalDamaged, match="bucketpull rebuild"):
        play.run()


def test_what_is_left_of_an_unfinished_creation_does_not_matter(folder):
    folder.mkdir()
    (folder / f"{FILE}.new").write_bytes(b"half")
    (folder / f"{FILE}.new-wal").write_bytes(b"half")

    opened(folder).close()

    assert sorted(path.name for path in folder.iterdir()) == [journal_file.MARKER, journal_file.LOCK, FILE]


def test_a_creation_that_was_cut_off_before_its_marker_is_whole(folder):
    opened(folder).close()
    (folder / journal_file.MARKER).unlink()

    opened(folder).close()

    assert (folder / journal_file.MARKER).exists()


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (99, "of a newer bucketpull; update bucketpull"),
        (3, "of an older bucketpull; move its folder away and make a new one with `bucketpull rebuild`"),
    ],
)
def test_a_journal_of_another_version_is_refused_with_what_to_do_and_not_changed(folder, version, told):
    opened(folder).close()
    connection = sqlite3.connect(folder / FILE)
    connection.execute(f"pragma user_version = {version}")

    for attempt in (lambda: opened(folder), lambda: JournalReader.open_to_read(folder)):
        with pytest.raises(JournalError, match=told):
            attempt()

    assert connection.execute("pragma user_version").fetchone() == (version,)
    connection.close()


def test_every_transaction_is_synced(folder):
    journal = opened(folder)
    connection = journal._tables.connection.sqlite

    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    assert connection.execute("pragma synchronous").fetchone() == (2,)
    journal.close()


def test_a_reader_sees_each_transaction_while_the_writer_works(play, folder):
    play.put(b"", b"a", b"b")
    play.begin()
    reader = JournalReader.open_to_read(folder)
    assert reader.counters().listed == 0

    play.scan()
    assert reader.counters().listed == 2
    play.drain()
    assert reader.counters().stored == 2
    assert [extent.volume for extent in reader.where(b"", b"a")] == ["v1"]
    assert reader.outstanding() == play.journal.outstanding()
    reader.close()


def test_a_look_from_another_process_takes_nothing_from_a_coordinator_that_has_been_looked_at_itself(
    play, folder
):
    """Its own dashboard reads the journal too; to close a file by hand would have dropped the writer's locks on it."""
    look = (
        "import sys; from pathlib import Path; from bucketpull.journal.journal_reader import JournalReader\n"
        "reader = JournalReader.open_to_read(Path(sys.argv[1])); print(reader.counters().stored); reader.close()"
    )

    def looked():
        done = subprocess.run(
            [sys.executable, "-c", look, folder], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    play.put(b"", b"a", b"b")
    play.begin()
    JournalReader.open_to_read(folder).close()  # as the dashboard does
    assert looked() == 0
    play.scan()
    play.drain()
    assert looked() == 2
    play.crash()
    assert looked() == 2


def test_a_reader_changes_nothing(play, folder):
    play.put(b"", b"a")
    play.run()
    reader = JournalReader.open_to_read(folder)

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._tables.connection.sqlite.execute("delete from page")
    reader.close()


def test_a_reader_needs_no_writer(play, folder):
    play.put(b"", b"a")
    play.run()
    play.crash()

    reader = JournalReader.open_to_read(folder)

    assert reader.counters().stored == 1
    reader.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"journal .*/file/state: .*--state"):
        opened(tmp_path / "file" / "state")


def fill(path: Path, left: int) -> Path:
    filler = path / "filler"
    free = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize
    with filler.open("ab") as stream:
        stream.write(bytes(max(0, free - left)))
    return filler


def test_a_disk_that_is_nearly_full_is_told_of_while_the_journal_can_still_be_written(start, small_disk):
    play = start(small_disk / "state")
    play.put(b"", b"a")
    play.begin()
    play.journal.check_room()
    filler = fill(small_disk, 8 << 20)

    with pytest.raises(JournalError, match=r"[78] MiB free on its disk, 64 MiB are needed; free some space"):
        play.journal.check_room()
    play.finish()
    assert play.journal.counters().stored == 1

    filler.unlink()
    play.journal.check_room()


def test_a_disk_that_tells_no_size_has_room(start, tmp_path):
    subprocess.run(["mount", "-t", "ramfs", "ramfs", tmp_path], check=True)
    try:
        play = start(tmp_path / "state")
        play.journal.check_room()
        play.journal.close()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_journal_whose_disk_died_is_let_go_without_an_error_of_the_system(tmp_path):
    disks = Disks(tmp_path)
    disk = disks.ext4()
    try:
        lock = journal_file.locked(Path(disk.path, "state"))
        disk.shut_down()
        lock.release()
        lock.release()
    finally:
        disks.close()


def test_a_transaction_for_which_there_is_no_room_has_not_happened(start, small_disk):
    play = start(small_disk / "state")
    for number in range(3000):
        play.put(b"%0200d" % number, b"a")
    play.begin()
    (work,) = play.claim(WorkKind.SCAN)
    receipt = play.scanned(work)
    before = (play.journal.counters(), play.journal.outstanding())
    filler = fill(small_disk, 0)

    with pytest.raises(JournalError, match="full"):
        play.journal.commit([receipt], play.now)
    assert (play.journal.counters(), play.journal.outstanding()) == before

    filler.unlink()
    play.journal.commit([receipt], play.now)
    play.finish()
    assert play.journal.counters().stored == 3000


@pytest.mark.parametrize(
    "blob", [b"\x91" * 100_000, b"\x91\x92\x00\xa1\xff", b"none", b"\x91\x93\x00\xcf" + b"\xff" * 8]
)
def test_a_row_that_was_spoilt_is_damage_with_the_remedy(play, folder, blob):
    play.put(b"photos", *(b"%06d" % number for number in range(20)))
    play.run()
    play.put(b"photos", b"new", b"other")
    connection = play.journal._tables.connection.sqlite
    connection.execute("update page set extents = ?", (blob,))

    with pytest.raises(JournalDamaged, match="bucketpull rebuild"):
        play.run()


def test_nobody_else_can_read_a_journal_or_hold_its_lock(folder, monkeypatch):
    before = os.umask(0)
    try:
        folder = folder / "below" / "job"
        opened(folder).close()
        (folder / journal_file.LOCK).chmod(0o666)  # as an earlier version, or somebody, left it
        opened(folder).close()
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes[folder.name] == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700, (
        "who may write there could put another job in its place"
    )
    assert modes[FILE] == modes[journal_file.LOCK] == 0o600


def test_a_folder_in_which_everybody_may_write_is_refused_before_anything_is_made(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(ConfigError, match="everybody may write in its folder"):
        SqliteJournal.open(folder, "job", {})
    assert list(folder.iterdir()) == []


def test_a_folder_of_another_user_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    folder = tmp_path / "job"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    else:
        monkeypatch.setattr("os.geteuid", lambda: 65534)

    with pytest.raises(ConfigError, match="its folder belongs to user"):
        SqliteJournal.open(folder, "job", {})
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["journal.lock", "journal.id"])
def test_a_link_in_the_place_of_a_file_of_the_journal_changes_nothing_elsewhere(tmp_path, name):
    folder, victim = tmp_path / "job", tmp_path / "victim"
    folder.mkdir()
    (folder / name).symlink_to(victim)

    with pytest.raises((ConfigError, JournalError)):
        SqliteJournal.open(folder, "job", {})
    assert not victim.exists()
