"""One number, one meaning: what status, volumes, summary and manifest say of the same job is the same, and what lies on the disks."""

import json

import pytest

SYNC = ("sync", "upyun://photos", "disk1", "disk2", "--quiet", "--summary", "summary.json")


@pytest.fixture
def pulled(user, bucket):
    """Give the service of a pulled bucket."""
    simulator = bucket("2023=flat:30,size=900;2024=flat:70,size=1100")
    user.knows(simulator).run(*SYNC)
    return simulator


def check_books(user, objects):
    """Compare everything that tells how many objects, and bytes, the volumes hold."""
    disks = ("disk1", "disk2")
    files = {disk: user.files(disk) for disk in disks}
    on_disk = {str(user.folder / disk): len(files[disk]) for disk in disks}
    size = {
        str(user.folder / disk): sum((user.folder / disk / name).stat().st_size for name in files[disk])
        for disk in disks
    }
    shown = {volume["path"]: volume for volume in user.json("volumes")}
    assert {path: volume["stored_objects"] for path, volume in shown.items()} == on_disk
    assert {path: volume["stored_bytes"] for path, volume in shown.items()} == size
    (status,) = user.json("status")
    assert {volume["path"]: volume["stored_objects"] for volume in status["volumes"]} == on_disk
    summary = json.loads((user.folder / "summary.json").read_text())
    assert {volume["path"]: volume["stored_objects"] for volume in summary["volumes"]} == on_disk
    books = status["counters"]
    assert books["stored"] + books["skipped"] == books["listed"] == sum(on_disk.values()) == objects
    assert len(user.says("export", "--format", "jsonl").splitlines()) == objects


def test_a_first_run(user, pulled):
    check_books(user, 100)


def test_objects_that_were_replaced_and_added_count_once(user, pulled):
    keys = sorted(item.key for item in pulled.contents.walk())
    pulled.mutate(touch=keys[:40], put={"new.jpg": 700})
    user.run(*SYNC)
    check_books(user, 101)
    pulled.mutate(touch=keys[:40])
    user.run(*SYNC)
    check_books(user, 101)


def test_objects_that_were_repaired_count_once(user, pulled):
    for disk in ("disk1", "disk2"):
        for name in user.files(disk)[:5]:
            (user.folder / disk / name).unlink()
        for name in user.files(disk)[:3]:
            (user.folder / disk / name).write_bytes(b"short")
    user.run("verify", "disk1", "disk2", "--repair")
    (status,) = user.json("status")
    assert status["counters"]["bytes"] == status["counters"]["listed_bytes"]
    assert sum(volume["stored_objects"] for volume in status["volumes"]) == 100
    user.run(*SYNC)
    check_books(user, 100)
