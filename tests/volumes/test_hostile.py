"""Where others may write: whatever they put in the way, and whenever they swap it, nothing outside of the volume is touched."""

import ast
import itertools
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from bucketpull.domain.errors import BucketpullError, VolumeForeign, VolumeSick
from bucketpull.domain.packing import Packing
from bucketpull.domain.record import Block, Conclusion, Record
from bucketpull.volumes.files.file import FileWriter
from bucketpull.volumes.identity import HOME, identify, initialise
from bucketpull.volumes.packs import sealing
from bucketpull.volumes.packs.writer import open_pack_writer
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.verification import Verification
from bucketpull.volumes.volume import open_volume
from bucketpull.volumes.writer import open_writer

STRANGER = 54_321  # somebody else on this machine, without an account
CALLS = (
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.listdir",
    "os.scandir",
    "os.link",
    "shutil.rmtree",
)
PARTS = (
    HOME,
    *(f"{HOME}/{name}" for name in ("tmp", "partial", "intents", "ledger", "lock", "volume.json")),
    "d",
    "d/e",
)

_before: list[
    Callable[[], None]
] = []  # what is done before each call of the system; an audit hook stays for ever
sys.addaudithook(lambda event, _: _before[-1]() if _before and event in CALLS else None)


@pytest.fixture
def outside(tmp_path):
    """A folder that looks like a volume, and belongs to somebody who has not asked for anything."""
    folder = tmp_path / "outside"
    for name in (
        "tmp",
        "partial",
        "intents",
        "d/e",
        "tmp/deep",
        "e",
        f"{HOME}/tmp",
        f"{HOME}/partial",
        f"{HOME}/intents",
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in (
        "ledger",
        "lock",
        "volume.json",
        "tmp/x",
        "tmp/deep/x",
        "partial/x",
        "d/x",
        "d/e/x",
        "x",
        "e/x",
    ):
        (folder / name).write_text("precious")
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    return folder


def picture(folder):
    """Return all that can be seen of a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        body = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (
            state.st_mode,
            state.st_uid,
            state.st_nlink,
            state.st_size,
            body,
            path.is_dir() or state.st_mtime,
        )
    return found


class Swap:
    """Before the call of a certain number puts a link to `target` in the place of a path, and has the old thing away."""

    def __init__(self, place: Path, target: Path, step: int) -> None:
        self.place, self.target, self.left = place, target, step
        self.aside = place.with_name(place.name + ".aside")

    def __call__(self) -> None:
        self.left -= 1
        if self.left == -1:
            _before.append(lambda: None)
            with suppress(FileNotFoundError):
                self.place.rename(self.aside)
            with suppress(FileNotFoundError, NotADirectoryError):
                self.link()
            _before.pop()

    def link(self) -> None:
        self.place.symlink_to(self.target)

    @contextmanager
    def around(self) -> Iterator[None]:
        _before.append(self)
        try:
            yield
        finally:
            _before.pop()


def store(path):
    with (
        closing(open_volume(str(path))) as volume,
        closing(FileWriter.open(str(path), volume.id, sync=False)) as files,
    ):
        volume.intend("0123456789ab", 1, b"")
        for directory, name in ((b"d", b"x"), (b"d", b"y"), (b"d/e", b"x"), (b"", b"x"), (b"d", b"z")):
            files.store(directory, name, 5, [b"ours"], 0)


def stream(path):
    with (
        closing(open_volume(str(path))) as volume,
        closing(open_writer(str(path), volume.id, "none")) as writer,
    ):
        large = writer.stream(b"d/e", b"x", 8, 5)
        large.append(b"ours")
        large.append(b"ours")
        large.publish(8, None, 0)


def keep_books(path):
    with closing(open_volume(str(path))) as volume:
        volume.probe()
        record = msgspec.msgpack.encode(
            [Record(b"d", "", [b"x", b"y"], [4, 4], [5, 5]), Record(b"d/e", "", [b"x"], [4], [5])]
        )
        volume.intend("0123456789ab", 2, b"")
        [extent] = volume.settle([Block("0123456789ab", 2, record)])
        volume.read(extent.offset)
        volume.conclude("0123456789ab", [Conclusion(2, [extent.offset])])


def read(path):
    with closing(open_reader(str(path))) as reader:
        reader.user()
        list(Verification(reader, hashed=True, folder=str(path.parent)).run())


@pytest.mark.parametrize("place", PARTS)
@pytest.mark.parametrize(
    "work", [initialise, store, stream, keep_books, read], ids=lambda work: work.__name__
)
def test_whatever_is_swapped_for_a_link_before_any_call_nothing_outside_is_touched(
    tmp_path, outside, place, work
):
    before = picture(outside)
    for step in itertools.count():
        inside = tmp_path / "inside"
        inside.mkdir()
        if work is not initialise:
            initialise(str(inside))
            store(inside)
        (inside / "d/e").mkdir(parents=True, exist_ok=True)
        swap = Swap(inside / place, outside / place.removeprefix(f"{HOME}/"), step)
        with swap.around(), suppress(BucketpullError, OSError):
            work(inside if work in {store, stream, keep_books, read} else str(inside))
        assert picture(outside) == before, f"{place} before call {step}"
        shutil.rmtree(inside)
        if swap.left >= 0:
            break
    assert step > 1


class SwapOfTheirs(Swap):
    """The link belongs to somebody else; to make it takes root."""

    def link(self) -> None:
        self.place.symlink_to(self.target)
        os.lchown(self.place, STRANGER, STRANGER)


@pytest.mark.parametrize("work", [initialise, store, stream, keep_books], ids=lambda work: work.__name__)
@pytest.mark.parametrize("place", ["above", "above/inside"])
def test_a_volume_or_what_is_above_it_swapped_for_a_link_of_somebody_else_leads_nowhere(
    tmp_path, outside, place, work
):
    """The other place is a volume too, even of the same id: of `inside` in it, or of itself."""
    folder = tmp_path / "above" / "inside"
    other = outside / "inside" if place == "above" else outside
    other.mkdir(exist_ok=True)
    for step in itertools.count():
        folder.mkdir(parents=True)
        shutil.rmtree(other / HOME, ignore_errors=True)
        if work is not initialise:
            initialise(str(folder))
            store(folder)
            shutil.copytree(folder / HOME, other / HOME)
        before = picture(outside)
        swap = SwapOfTheirs(tmp_path / place, outside, step)
        with swap.around(), suppress(BucketpullError, OSError):
            work(folder if work in {store, stream, keep_books} else str(folder))
        assert picture(outside) == before, f"before call {step}"
        with suppress(OSError):
            (tmp_path / place).unlink()
        for left in tmp_path.glob("above*"):
            shutil.rmtree(left)
        if swap.left >= 0:
            break
    assert step > 1


def pack(path, is_last=True):
    """Open a volume, go on with its pack, book that, and seal it in the end."""
    volume = open_volume(str(path), durable=False)
    writer = open_pack_writer(str(path), volume.id, "none", Packing())
    try:
        for name in (b"x", b"y"):
            writer.put(b"d", name, 5, [b"ours"], name)
        writer.flush()
        found = [each for each in writer.outcomes() if each.reason is None]
        if found:
            record = Record(b"d", "", [each.token for each in found], [4] * len(found), [5] * len(found))
            record.pack, record.offsets = found[0].pack, [each.offset for each in found]
            volume.settle([Block("0123456789ab", 2, msgspec.msgpack.encode([record]))])
            if is_last:
                with closing(volume.pack_folders()) as folders:
                    sealed, _ = sealing.seal(folders.packs.fd, record.pack)
                    folders.note_sealed(sealed)
    finally:
        writer.close()
        volume.close()


@pytest.mark.parametrize("place", ["packs", "packs/{}.tar", f"{HOME}/packs"])
def test_no_pack_is_written_outside_whatever_is_swapped_for_a_link_before_a_call(tmp_path, outside, place):
    target = outside / "packs"
    for step in itertools.count(0, 3):
        inside = tmp_path / "inside"
        inside.mkdir()
        name = f"{initialise(str(inside))[:6]}-0-000000"
        pack(inside, is_last=False)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for precious in (f"{name}.tar", "SHA256SUMS", "state", "0.lock", "0.open"):
            (target / precious).write_text("precious")
        before = picture(outside)
        swapped = place.format(name)
        swap = Swap(inside / swapped, target / f"{name}.tar" if "{}" in place else target, step)
        with swap.around(), suppress(BucketpullError, OSError):
            pack(inside)
        assert picture(outside) == before, f"{place} before call {step}"
        shutil.rmtree(inside)
        if swap.left >= 0:
            break
    assert step > 10


def test_a_thread_that_swaps_directories_all_the_time_brings_nothing_out_of_the_volume(tmp_path, outside):
    before = picture(outside)
    inside = tmp_path / "inside"
    inside.mkdir()
    identity = initialise(str(inside))
    open_volume(str(inside)).close()
    ended = threading.Event()

    def swap():
        for number in itertools.count():
            if ended.is_set():
                return
            for name in ("d", "d/e", HOME):
                with suppress(OSError):
                    (inside / name).rename(inside / f"{number}")
                with suppress(OSError):
                    (inside / name).symlink_to(outside)
                with suppress(OSError):
                    (inside / name).unlink()

    thread = threading.Thread(target=swap)
    files = FileWriter.open(str(inside), identity, sync=False)
    thread.start()
    try:
        outcomes = [
            files.store(directory, b"%d" % number, 5, [b"ours"], 0)
            for number in range(500)
            for directory in (b"d", b"d/e", b"e/d")
        ]
    finally:
        ended.set()
        thread.join()
        files.close()
    assert picture(outside) == before
    stored = sum(outcome.reason is None for outcome in outcomes)
    assert stored > 100
    assert sum(1 for path in inside.rglob("*") if path.is_file() and path.read_bytes() == b"ours") == stored


def give(path, user=STRANGER):
    """Let somebody own all below a folder."""
    for each in (path, *path.rglob("*")):
        os.chown(each, user, user, follow_symlinks=False)


@pytest.fixture
def shared(tmp_path):
    """A volume to be, in which everybody may write."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_a_link_in_the_place_of_our_directory_is_refused_by_name(shared, outside):
    before = picture(outside)
    (shared / HOME).symlink_to(outside)
    for use in (initialise, open_volume, open_reader, identify):
        with pytest.raises(VolumeForeign, match=f"{HOME} is a symbolic link; remove it"):
            use(str(shared))
    assert picture(outside) == before


@pytest.mark.parametrize("name", ["tmp", "partial", "intents", "ledger", "lock", "volume.json"])
def test_a_link_in_the_place_of_a_part_of_ours_is_named_and_no_disk_is_blamed(shared, outside, name):
    before = picture(outside)
    initialise(str(shared))
    (shared / HOME / name).unlink(missing_ok=True)
    (shared / HOME / name).symlink_to(outside)

    with pytest.raises(VolumeSick, match=f"{name}: .*; something else lies in its place, such as a link"):
        open_volume(str(shared))

    assert picture(outside) == before


def test_a_directory_of_ours_that_somebody_else_made_is_refused_and_left_as_it_is(shared, outside):
    initialise(str(shared))
    (shared / HOME / "tmp").symlink_to(outside)
    give(shared / HOME)
    before = picture(outside), picture(shared)
    with pytest.raises(VolumeForeign, match=f"{HOME} belongs to user {STRANGER}; run as that user"):
        open_volume(str(shared))
    with pytest.raises(VolumeForeign):
        FileWriter.open(str(shared), identify(str(shared)), sync=False)
    assert (picture(outside), picture(shared)) == before


@pytest.mark.parametrize("name", ["tmp", "partial", "intents"])
def test_a_part_of_ours_that_somebody_else_made_is_refused(shared, outside, name):
    initialise(str(shared))
    (shared / HOME / name).mkdir()
    (shared / HOME / name / "x").write_text("theirs")
    give(shared / HOME / name)
    with pytest.raises(VolumeForeign, match=f"{HOME}/{name} belongs to user {STRANGER}"):
        open_volume(str(shared))
    assert (shared / HOME / name / "x").exists()


def test_a_prepared_part_of_a_large_object_is_not_gone_on_with(shared, outside):
    identity = initialise(str(shared))
    open_volume(str(shared)).close()

    def part():
        writer = open_writer(str(shared), identity, "none")
        large = writer.stream(b"", b"film", 8, 5)
        if not large.offset:
            large.note('"v"', "")
        large.append(b"ours")
        return writer, large

    writer, large = part()
    large.close(keep=True)
    writer.close()
    [prepared, note] = sorted((shared / HOME / "partial").iterdir())
    noted = note.read_bytes()
    for prepare in (
        lambda: give(prepared),
        lambda: (prepared.unlink(), os.link(outside / "x", prepared)),
        lambda: make_pipe(prepared),
        lambda: give(note),
        lambda: (note.unlink(), note.symlink_to(outside / "x")),
    ):
        prepare()
        before = picture(outside) if prepared.stat().st_nlink == 1 else None
        writer, large = part()
        assert large.offset == 0
        large.append(b"mine")
        large.publish(8, None, 0)
        writer.close()
        film = shared / "film"
        assert film.read_bytes() == b"oursmine"
        assert (film.stat().st_uid, film.stat().st_nlink) == (os.geteuid(), 1)
        assert (outside / "x").read_text() == "precious"
        assert before is None or picture(outside) == before
        film.rename(prepared)
        os.truncate(prepared, 4)
        note.write_bytes(noted)


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["ledger", "volume.json", "lock", "thinned"])
@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: Path(path).mkdir(), lambda path: Path(path).symlink_to("/etc/passwd")]
)
def test_what_is_no_file_in_the_place_of_one_of_ours_is_told_at_once(shared, name, make):
    initialise(str(shared))
    with suppress(FileNotFoundError):
        (shared / HOME / name).unlink()
    make(shared / HOME / name)
    with pytest.raises(BucketpullError):
        open_volume(str(shared))


def test_others_may_not_write_in_our_directory_nor_open_our_lock_whatever_the_mode_was(shared):
    initialise(str(shared))
    (shared / HOME).chmod(0o777)
    open_volume(str(shared)).close()
    assert stat.S_IMODE((shared / HOME).stat().st_mode) == 0o755
    assert stat.S_IMODE((shared / HOME / "lock").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("mask", "folder", "file"), [(0o002, 0o775, 0o664), (0o077, 0o700, 0o600), (0o022, 0o755, 0o644)]
)
def test_the_umask_is_heeded(tmp_path, mask, folder, file):
    """A process of its own: the umask is the process's."""
    code = (
        "import os, sys; from tests.volumes.test_hostile import initialise, store, stream;"
        f"os.umask({mask}); initialise(sys.argv[1]); store(sys.argv[1]);"
        "from pathlib import Path; stream(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, cwd=Path(__file__).parents[2])
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("d", "d/e")} == {folder}
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("d/x", "x", "d/e/x")} == {file}
    assert stat.S_IMODE((tmp_path / HOME).stat().st_mode) & 0o022 == 0


ROOMS = {"beneath.py", "system.py"}
ELSEWHERE = {"key_index.py", "checking.py", "scratch.py"}  # in folders that are not on a volume
FORBIDDEN = {
    "open",
    "mkdir",
    "unlink",
    "remove",
    "rename",
    "replace",
    "link",
    "symlink",
    "rmdir",
    "listdir",
    "scandir",
    "access",
    "truncate",
}


def test_no_other_module_opens_makes_renames_or_removes_by_itself():
    folder = Path(sys.modules[FileWriter.__module__].__file__).parents[1]
    found = set()
    for path in folder.rglob("*.py"):
        if path.name in ROOMS | ELSEWHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "os"
                and node.attr in FORBIDDEN
            ):
                found.add(f"{path.name}:{node.lineno}: os.{node.attr}")
    assert found == set()
