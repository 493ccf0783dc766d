"""The file system of fsspec, as other libraries use it."""

import json
import pickle

import fsspec
import pytest
from pyarrow import csv, fs
from tests.volumes.filling import Filler

from bucketpull.domain.packing import Packing


@pytest.fixture
def volume(tmp_path):
    objects = {
        (b"", b"root.txt"): b"root",
        (b"a", b"1.json"): json.dumps({"x": 1}).encode(),
        (b"a", b"2.csv"): b"x,y\n1,2\n3,4\n",
        (b"a/b", b"3.bin"): bytes(range(100)),
        (b"mark", b""): b"its key ends with a slash",
    }
    with Filler(tmp_path, Packing()) as filler:
        filler.store(objects, mtime=1_600_000_000)
    return str(tmp_path)


@pytest.fixture
def system(volume):
    return fsspec.filesystem("bucketpull", volumes=[volume], skip_instance_cache=True)


def test_directories_are_made_of_the_slashes(system):
    assert system.ls("", detail=False) == ["a", "mark", "root.txt"]
    assert system.ls("a", detail=False) == ["a/b", "a/1.json", "a/2.csv"]
    assert system.find("") == ["a/1.json", "a/2.csv", "a/b/3.bin", "mark", "root.txt"]
    assert system.glob("a/*.csv") == ["a/2.csv"]
    assert system.isdir("a")
    assert not system.exists("c")
    assert system.info("a/b/3.bin") == {
        "name": "a/b/3.bin", "size": 100, "type": "file", "mtime": 1_600_000_000, "etag": system.info("a/b/3.bin")["etag"],
    }  # fmt: skip


def test_objects_are_read_whole_and_in_parts(system):
    assert system.cat_file("root.txt") == b"root"
    assert system.cat_file("a/b/3.bin", 10, 13) == bytes([10, 11, 12])
    assert system.cat_file("a/b/3.bin", -2) == bytes([98, 99])
    assert system.cat(["root.txt", "a/1.json"]) == {"root.txt": b"root", "a/1.json": b'{"x": 1}'}
    with system.open("a/b/3.bin") as file:
        file.seek(50)
        assert file.read(2) == bytes([50, 51])


def test_a_key_that_ends_with_a_slash_is_read_though_fsspec_takes_it_off(system):
    assert system.cat_file("mark/") == system.cat("mark") == b"its key ends with a slash"
    assert system.cat_file("bucketpull://mark/", 4, 7) == b"key"
    with system.open("mark/") as file:
        assert file.read() == b"its key ends with a slash"


def test_an_address_is_enough_for_fsspec(volume):
    with fsspec.open("bucketpull://a/1.json", "rt", volumes=[volume]) as file:
        assert json.load(file) == {"x": 1}


def test_pyarrow_reads_by_it(system):
    with fs.PyFileSystem(fs.FSSpecHandler(system)).open_input_stream("a/2.csv") as stream:
        assert csv.read_csv(stream).to_pydict() == {"x": [1, 3], "y": [2, 4]}


def test_what_is_not_there_and_writing_are_errors(system):
    for call in (system.info, system.cat_file, system.open, system.ls):
        with pytest.raises(FileNotFoundError):
            call("a/nothing")
    with pytest.raises(PermissionError, match="read-only"):
        system.open("new", "wb")


def test_it_goes_into_other_processes(system):
    assert pickle.loads(pickle.dumps(system)).cat_file("root.txt") == b"root"
