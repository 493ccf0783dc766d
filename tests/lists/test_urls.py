"""A list of URLs is pulled whole, whatever its form; what is wrong with a line costs that line."""

import csv
import hashlib

import pytest


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


def test_what_is_not_there_and_what_is_no_url_fail_by_name_and_by_line(tmp_path, make_web, pull):
    web = make_web({"/1": b"one"})
    path = tmp_path / "list"
    path.write_text(f"{web.url}/1\nftp://nowhere/2\n{web.url}/gone\n#\n")
    puller = pull(path)
    summary = puller.sync(expect=3)
    assert summary["stored"] == 1
    failures = puller.command("failures")
    assert "/gone" in failures
    assert "line 2: 'ftp://nowhere/2' is no http:// or https:// URL" in failures


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


def test_a_list_that_changed_is_refused(tmp_path, make_web, pull):
    web = make_web({"/1": b"one", "/2": b"two"})
    path = tmp_path / "list"
    path.write_text(f"{web.url}/1\n")
    puller = pull(path)
    puller.sync()
    path.write_text(f"{web.url}/2\n")
    assert "list was" in puller.run(*puller.arguments(), expect=2).stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent", None, "No such file or directory"),
        ("list.csv", "http://h/1,1\n", "no column url"),
        ("list.parquet", "PAR1", "no Parquet"),
    ],
)
def test_a_list_that_cannot_be_used_is_said_before_anything_is_made(tmp_path, pull, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    puller = pull(path)
    assert words in puller.refused(expect=2)
    assert not (puller.folder / "state").exists()
