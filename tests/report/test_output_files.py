"""Files that lie where others may write: what they put there beforehand is not followed, nor gone on with."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.report.list_forms import FORMS, Columns
from bucketpull.report.list_output import FileOutput, FolderOutput, ListState, Mark, read_state, write_state
from bucketpull.report.output_files import Folder, append, replacing
from bucketpull.trusted_path import foreign_link


@pytest.fixture
def victim(tmp_path):
    """A file that a link of somebody else leads to."""
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


@pytest.fixture
def foreign(monkeypatch):
    """Makes a file somebody else's; who may not give files away becomes somebody else, of whom there is one."""

    def give(path):
        if os.geteuid() == 0:
            os.lchown(path, 65534, 65534)
        else:
            monkeypatch.setattr("os.geteuid", lambda: 65534)

    return give


def test_a_link_in_the_place_of_a_new_file_is_removed_and_not_followed(tmp_path, victim):
    (tmp_path / "list.part").symlink_to(victim)

    with closing(Folder(tmp_path)) as folder:
        with folder.create("list.part") as file:
            file.write(b"new")

    assert victim.read_text() == "precious"
    assert (tmp_path / "list.part").read_bytes() == b"new"


def test_a_link_or_a_pipe_is_not_gone_on_with(tmp_path, victim):
    (tmp_path / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "pipe")

    with closing(Folder(tmp_path)) as folder:
        for name in ("link", "pipe"):
            with pytest.raises(OSError, match=r"symbolic links|somebody else's"):
                folder.reopen(name, "r+b")


@pytest.mark.parametrize("name", ["out.csv.part", "out.csv.bucketpull-list.json.new"])
def test_a_list_follows_no_link_at_the_names_that_it_makes(tmp_path, victim, name):
    path = tmp_path / "out.csv"
    (tmp_path / name).symlink_to(victim)
    with closing(FileOutput(FORMS["csv"], path, None)) as output:
        output.mark(ListState())
        output.finish()

    assert victim.read_text() == "precious"
    assert path.read_text().startswith("key,")


def test_a_list_stays_in_its_folder_when_another_is_put_in_its_place(tmp_path, foreign):
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    columns = Columns([b"a"], [1], [0], [""], ["http://h/a"])
    with (
        closing(FileOutput(FORMS["csv"], tmp_path / "folder" / "out.csv", None)) as file,
        closing(FolderOutput(FORMS["oms"], tmp_path / "folder", None)) as files,
    ):
        (tmp_path / "folder").rename(tmp_path / "aside")
        (tmp_path / "folder").symlink_to("elsewhere")
        foreign(tmp_path / "folder")
        for output in (file, files):
            output.write(columns)
            output.mark(ListState())
            output.finish()

    assert os.listdir(tmp_path / "elsewhere") == []
    assert (tmp_path / "aside" / "out.csv").read_text().count("\n") == 2
    assert (tmp_path / "aside" / "list-00001.txt").exists()
    with pytest.raises(OSError, match="is a link of user"):
        Folder(tmp_path / "folder")


def test_what_is_sorted_is_what_was_written_and_not_what_has_its_name_by_now(tmp_path, victim):
    with closing(FileOutput(FORMS["gcs"], tmp_path / "out", None)) as output:
        output.write(Columns([b"b", b"a"], [1, 1], [0, 0], ["", ""], ["http://h/b", "http://h/a"]))
        (tmp_path / "out.part").unlink()
        (tmp_path / "out.part").symlink_to(victim)
        output.finish()

    assert "precious" not in (tmp_path / "out").read_text()


def test_a_list_that_cannot_be_sorted_stays_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sort").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "bin/sort").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "out").write_text("before")
    with closing(FileOutput(FORMS["gcs"], tmp_path / "out", None)) as output:
        output.write(Columns([b"a"], [1], [0], [""], ["http://h/a"]))
        with pytest.raises(OSError, match="sort\\(1\\) ended with exit code 2"):
            output.finish()

    assert (tmp_path / "out").read_text() == "before"


def test_a_list_s_state_that_is_a_link_is_refused(tmp_path):
    with closing(Folder(tmp_path)) as folder:
        write_state(folder, "state", Mark())
    (tmp_path / "link").symlink_to(tmp_path / "state")

    assert read_state(tmp_path / "state") == Mark()
    with pytest.raises(ConfigError, match="remove it to begin anew"):
        read_state(tmp_path / "link")


def test_what_is_replaced_is_whole_or_as_it_was_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("old")

    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", None])
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write(b"new")

    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["summary.json"]


def test_a_link_of_another_user_at_the_name_that_was_asked_for_is_replaced(tmp_path, victim, foreign):
    path = tmp_path / "summary.json"
    path.symlink_to(victim)
    foreign(path)

    with replacing(path) as file:
        file.write(b"new")

    assert victim.read_text() == "precious"
    assert path.read_text() == "new"


def test_standard_output_by_its_name_is_written_to_though_it_is_a_file(tmp_path):
    code = (
        "from pathlib import Path; from bucketpull.report.output_files import replacing\n"
        "with replacing(Path('/dev/stdout')) as file: file.write(b'here')"
    )
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)

    assert (tmp_path / "out").read_text() == "here"
    assert os.path.islink("/dev/stdout")


def test_a_log_follows_links_of_its_user_and_of_nobody_else(tmp_path, victim, foreign):
    (tmp_path / "own").symlink_to(victim)
    os.close(append(tmp_path / "own"))
    os.close(append(tmp_path / "new", 0o600))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600

    (tmp_path / "theirs").symlink_to(victim)
    foreign(tmp_path / "theirs")
    with pytest.raises(OSError, match="is a link of user"):
        append(tmp_path / "theirs")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_of_somebody_else_behind_one_of_ours_is_not_followed(tmp_path, foreign, there):
    ours, theirs, end = (tmp_path / name for name in ("ours", "theirs", "end"))
    ours.symlink_to("theirs")
    theirs.symlink_to(end)
    foreign(theirs)
    if there:
        end.write_text("precious")
    # Who may not give files away has become somebody else, to whom both are foreign.
    first = theirs if os.geteuid() == 0 else ours

    found = foreign_link(ours)
    with pytest.raises(OSError, match=f"{first} is a link of user"):
        append(ours)
    with replacing(ours) as file:
        file.write(b"new")

    assert found.link == str(first)
    assert not ours.is_symlink()
    assert ours.read_text() == "new"
    assert end.read_text() == "precious" if there else not end.exists()


def test_nothing_is_written_through_a_folder_that_is_a_link_of_somebody_else(tmp_path, foreign):
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    foreign(tmp_path / "folder")
    path = tmp_path / "folder" / "summary.json"

    with pytest.raises(OSError, match="is a link of user"):
        append(path)
    with pytest.raises(OSError, match="is a link of user"), replacing(path):
        pass
    assert os.listdir(tmp_path / "real") == []
    assert foreign_link(path).link == str(tmp_path / "folder")


def test_links_of_this_user_are_followed_to_their_end(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to(f"{tmp_path}/./real/")
    (tmp_path / "first").symlink_to("folder/second")
    (tmp_path / "real" / "second").symlink_to("../end")
    monkeypatch.chdir(tmp_path)

    with replacing(Path("first")) as file:
        file.write(b"one ")
    with os.fdopen(append(Path("first")), "wb") as file:
        file.write(b"two")

    assert foreign_link("first") is None
    assert (tmp_path / "end").read_text() == "one two"
    assert (tmp_path / "first").is_symlink()


def test_links_that_lead_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(OSError, match="Too many levels"):
        append(tmp_path / "a")
    with pytest.raises(OSError, match="Too many levels"), replacing(tmp_path / "a"):
        pass


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_a_descriptor_by_its_name_is_written_to(tmp_path, folder):
    reader, writer = os.pipe()
    path = Path(folder, str(writer))

    with os.fdopen(append(path), "wb") as file:
        file.write(b"one ")
    with replacing(path) as file:
        file.write(b"two")
    os.close(writer)

    assert os.read(reader, 100) == b"one two"
    os.close(reader)


def test_a_log_is_not_written_to_a_file_or_pipe_of_somebody_else(tmp_path, foreign):
    (tmp_path / "theirs").touch()
    foreign(tmp_path / "theirs")
    os.mkfifo(tmp_path / "pipe")
    foreign(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    for name in ("theirs", "pipe"):
        with pytest.raises(OSError, match="it belongs to user"):
            append(tmp_path / name)

    os.close(reader)
    assert (tmp_path / "theirs").read_bytes() == b""


def test_a_log_into_a_pipe_needs_somebody_who_reads_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="a pipe that nobody reads"):
        append(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = append(tmp_path / "pipe")
    os.write(writer, b"a line")

    assert os.read(reader, 100) == b"a line"
    assert os.get_blocking(writer)
    os.close(reader), os.close(writer)


def test_a_pipe_of_somebody_else_is_replaced_and_not_waited_for(tmp_path, foreign):
    path = tmp_path / "summary.json"
    os.mkfifo(path)
    foreign(path)

    with replacing(path) as file:
        file.write(b"new")

    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("plain/file", None),
        ("ours/file", None),
        ("not-there/file", None),
        ("loop", None),
        ("theirs", "theirs"),
        ("theirs/file", "theirs"),
        ("ours/../theirs/file", "theirs"),
        ("two-hops/file", "theirs"),
        ("absolute/file", "theirs"),
    ],
)
def test_a_link_of_somebody_else_is_found_at_any_component_and_hop(tmp_path, path, found):
    (tmp_path / "plain").mkdir()
    for name, target in {
        "ours": "plain",
        "theirs": "plain",
        "two-hops": "ours/../theirs",
        "absolute": str(tmp_path / "two-hops"),
        "loop": "loop",
    }.items():
        (tmp_path / name).symlink_to(target)
    os.lchown(tmp_path / "theirs", 65534, 65534)

    link = foreign_link(tmp_path / path)
    assert (link and link.link) == (found and str(tmp_path / found))
