import csv
import hashlib
import io
import json

import pytest

SYNC = ("sync", "upyun://photos", "disk1", "disk2", "--quiet")


def test_the_manifest_has_every_object_once_with_its_place(user, bucket):
    user.knows(bucket("tree:dirs=40,files=100,size=300")).run(*SYNC)
    places = {user.volume_id(name): user.folder / name for name in ("disk1", "disk2")}

    rows = [json.loads(line) for line in user.says("export", "--jsonl").splitlines()]

    assert len(rows) == len({row["key"] for row in rows}) == 4000
    for row in rows[::40]:
        data = (places[row["volume"]] / row["path"]).read_bytes()
        assert len(data) == row["size"]
        assert hashlib.md5(data).hexdigest() == row["md5"]
        assert int((places[row["volume"]] / row["path"]).stat().st_mtime) == row["mtime"]


def test_csv_goes_to_a_file_whole_or_not_at_all(user, service):
    user.knows(service).run(*SYNC)

    user.run("export", "--csv", "manifest.csv")

    rows = list(csv.DictReader(io.StringIO((user.folder / "manifest.csv").read_text())))
    assert len(rows) == 100
    assert set(rows[0]) == {"key", "size", "mtime", "md5", "volume", "path", "offset", "length"}
    assert [path for path in user.files() if "manifest" in path] == ["manifest.csv"]


def test_parquet_can_be_read_back(user, service):
    parquet = pytest.importorskip("pyarrow.parquet")
    user.knows(service).run(*SYNC)

    user.run("export", "--parquet", "manifest.parquet")

    table = parquet.read_table(user.folder / "manifest.parquet")
    assert table.num_rows == 100
    assert set(table.column_names) >= {"key", "size", "mtime", "md5", "volume", "path", "offset", "length"}


def test_parquet_wants_a_file(user, service):
    user.knows(service).run(*SYNC)

    assert "FILE" in user.run("export", "--parquet", expect=2).stderr


def test_jobs_that_share_a_disk_have_manifests_of_their_own(user, service):
    user.knows(service)
    for folder in ("2023", "2024"):
        user.run("sync", f"upyun://photos/{folder}", "disk1", "--quiet")

    assert len(user.says("export", "--jsonl", "--job", "photos-2023").splitlines()) == 30
    assert len(user.says("export", "--jsonl", "--job", "photos-2024").splitlines()) == 70


def test_an_absent_volume_is_told_and_ends_with_3(user, bucket):
    user.knows(bucket("tree:dirs=40,files=100,size=300")).run(*SYNC)
    held = len(user.files("disk1"))
    missing = user.volume_id("disk2")
    (user.folder / "disk2").rename(user.folder / "shelf")

    done = user.run("export", "--jsonl", expect=3)

    assert len(done.stdout.splitlines()) == held
    assert missing in done.stderr


def test_odd_keys_are_written_so_that_they_can_be_read_back(user, bucket):
    simulator = bucket("odd")
    user.knows(simulator).run("sync", "upyun://photos", "disk1", "--quiet", "--reserve", "0")
    wanted = {item.key for item in simulator.contents.walk()}

    rows = list(csv.DictReader(io.StringIO(user.says("export", "--csv"), newline="")))
    lines = [json.loads(line) for line in user.says("export", "--jsonl").split("\n") if line]

    assert {row["key"] for row in rows} == {row["key"] for row in lines} == wanted
