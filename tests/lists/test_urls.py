"""A list of URLs is pulled whole, whatever its form; what is wrong with a line costs that line."""

import csv
import hashlib
import json
import os
from contextlib import ExitStack

import pytest
from tests.servers.s3_pages import BUCKET, Numbered, PageServer

_EACH = 34_000


def test_urls_of_three_hosts_are_pulled_once(tmp_path, make_web, pull):
    webs = [
        make_web({f"/{host}/{n:03d} é.jpg": b"%d/%d" % (host, n) for n in range(150)}) for host in range(3)
    ]
    for web in webs:
        web.objects = {
            path.replace(" ", "%20").replace("é", "%C3%A9"): body for path, body in web.objects.items()
        }
    lines = [f"{web.url}{path}" for web in webs for path in web.objects]
    path = tmp_path / "list.txt"
    path.write_text("\ufeff" + "\r\n".join([*lines, "", lines[0]]))
    puller = pull(path)

    summary = puller.sync()

    assert (summary["stored"], summary["failed"]) == (450, 0)
    port = webs[1].server.server_port
    assert puller.objects()[f"127.0.0.1:{port}/1/007 é.jpg".encode()] == b"1/7"
    again = puller.sync()
    assert (again["stored"], again["skipped"]) == (0, 450)


def test_a_table_names_keys_sizes_md5s_and_dates(tmp_path, make_web, pull):
    web = make_web({"/1": b"one", "/2": b"two", "/3": b"three"})
    md5 = hashlib.md5(b"one").hexdigest()
    path = tmp_path / "list.csv"
    rows = [
        ("mtime", "url", "key", "size", "md5"),
        (1_600_000_000, f"{web.url}/1", "a/1.jpg", 3, md5),
        ("", f"{web.url}/2", "a/2, with comma\nand line.jpg", "", ""),
        ("", f"{web.url}/3", "a/3.jpg", "", "0" * 32),
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    puller = pull(path)

    summary = puller.sync(expect=3)

    assert summary["failures"] == {"checksum": 1}
    assert puller.objects() == {b"a/1.jpg": b"one", b"a/2, with comma\nand line.jpg": b"two"}
    assert (puller.volume / "a/1.jpg").stat().st_mtime == 1_600_000_000
    assert (puller.volume / "a/2, with comma\nand line.jpg").stat().st_mtime == 1_478_701_618  # Last-Modified


def test_what_is_not_there_and_what_is_no_url_fail_by_name_and_by_line(tmp_path, make_web, pull):
    web = make_web({"/1": b"one"})
    path = tmp_path / "list"
    path.write_text(f"{web.url}/1\nftp://nowhere/2\n{web.url}/gone\n#\n")
    puller = pull(path)
    for _ in range(2):
        summary = puller.sync(expect=3)
        books = [summary[name] for name in ("listed", "stored", "skipped", "failed")]
        assert books in ([4, 1, 0, 3], [4, 0, 1, 3])
        assert summary["failures"] == {"rejected": 2, "not-found": 1}
    failures = puller.command("failures")
    assert "/gone" in failures
    assert "line 2: 'ftp://nowhere/2' is not an http:// or https:// URL" in failures


def test_doctor_reads_a_list_and_fetches_its_first_objects(tmp_path, make_web, pull):
    web = make_web({"/1": b"one", "/2": b"two"})
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text(f"{web.url}/1\nno url\n{web.url}/2\n")
    bad.write_text(f"{web.url}/gone\n")
    puller = pull(good)
    told = puller.command("doctor", f"urls:{good}", str(puller.volume))
    assert "1 of its first lines name nothing: line 2: 'no url'" in told
    assert "its first 2 objects come" in told
    assert "/gone: " in puller.command("doctor", f"urls:{bad}", str(puller.volume), expect=3)


def test_a_failure_is_tried_again_at_its_own_url(tmp_path, make_web, pull):
    web = make_web({})
    path = tmp_path / "list.tsv"
    path.write_text(f"key\turl\nphotos/a.jpg\t{web.url}/x?id=1\n")
    puller = pull(path)
    puller.sync(expect=3)
    web.objects["/x?id=1"] = b"now"
    puller.command("retry")
    puller.sync()
    assert puller.objects() == {b"photos/a.jpg": b"now"}


def test_a_list_that_changed_is_refused_and_one_written_anew_is_not(tmp_path, make_web, pull):
    web = make_web({"/1": b"one", "/2": b"two"})
    path = tmp_path / "list"
    path.write_text(f"{web.url}/1\n")
    puller = pull(path)
    puller.sync()
    [row] = map(json.loads, puller.command("export", "--format", "jsonl").splitlines())
    assert (row["key"][-1], row["size"]) == ("1", 3)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    assert puller.sync()["skipped"] == 1
    path.write_text(f"{web.url}/2\n")
    assert "list was" in puller.run(*puller.arguments(), expect=2).stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent", None, "No such file or directory"),
        ("list.csv", "http://h/1,1\n", "no column url"),
        ("list.csv", "url,size,URL \nhttp://h/1,1,http://h/2\n", "2 columns url; leave one"),
        ("list.parquet", "PAR1", "is not Parquet"),
        ("list.csv", "PAR1", "is Parquet, not text; unpack or write it"),
    ],
)
def test_a_list_that_cannot_be_used_is_said_before_anything_is_made(tmp_path, pull, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    puller = pull(path)
    assert words in puller.refused(expect=2)
    assert not (puller.folder / "state").exists()


@pytest.mark.soak
def test_a_hundred_thousand_urls_of_three_hosts_come_down_through_kills(tmp_path, pull):
    path = tmp_path / "list"
    with ExitStack() as stack:
        servers = [stack.enter_context(PageServer(Numbered(_EACH))) for _ in range(3)]
        keys = Numbered(_EACH)
        path.write_text(
            "".join(f"{each.url}/{BUCKET}/{keys[n].decode()}\n" for n in range(_EACH) for each in servers)
        )
        puller = pull(path)
        for seen in (_EACH // 3, _EACH, 2 * _EACH):
            puller.kill_at(seen)
        summary = puller.sync()
        assert (summary["listed"], summary["failed"]) == (3 * _EACH, 0)
        for server in servers:
            folder = puller.volume / server.url.removeprefix("http://") / BUCKET
            assert all((folder / keys[n].decode()).read_bytes() == keys[n] for n in range(_EACH))
        assert puller.count() == 3 * _EACH
        again = puller.sync()
    assert (again["stored"], again["skipped"]) == (0, 3 * _EACH)
