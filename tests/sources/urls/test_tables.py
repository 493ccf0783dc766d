"""Lists of URLs in each form are read page by page, each row once; what is odd is told by its line."""

import csv
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import ConfigError
from bucketpull.report.list_forms import FORMS, Columns
from bucketpull.report.list_output import ParquetOutput
from bucketpull.sources.urls import tables
from bucketpull.sources.urls.rows import OddRow, UrlRow, row_of
from bucketpull.sources.urls.tables import check_urls, table_of


@pytest.mark.parametrize(
    ("url", "key", "sent"),
    [
        (b"http://Img.Example.com/a/b.jpg", b"img.example.com/a/b.jpg", "http://Img.Example.com/a/b.jpg"),
        (b"https://h:8/a%20b", b"h:8/a b", "https://h:8/a%20b"),
        ("http://h/图 1.jpg".encode(), "h/图 1.jpg".encode(), "http://h/%E5%9B%BE%201.jpg"),
        (b"http://h/a?x=1&y=%2F", b"h/a?x=1&y=%2F", "http://h/a?x=1&y=%2F"),
        (b"http://h/a#b.jpg", b"h/a#b.jpg", "http://h/a%23b.jpg"),
        (b"http://h", b"h/", "http://h/"),
        (b"http://h?u=/x", b"h/?u=/x", "http://h/?u=/x"),
        (
            "http://例え.テスト:81/x".encode(),
            "例え.テスト:81/x".encode(),
            "http://xn--r8jz45g.xn--zckzah:81/x",
        ),
        (b"HTTP://h/../a//b", b"h/../a//b", "HTTP://h/../a//b"),
        (b"http://[::1]:8/a", b"[::1]:8/a", "http://[::1]:8/a"),
        (b"http://[fe80::1%25eth0]/a", b"[fe80::1%25eth0]/a", "http://[fe80::1%25eth0]/a"),
        (b"http://a_b.example.:/a", b"a_b.example.:/a", "http://a_b.example.:/a"),
    ],
)
def test_a_key_is_made_of_the_url_which_is_sent_as_it_is(url, key, sent):
    assert row_of(url) == UrlRow(key, sent)


@pytest.mark.parametrize(
    "row",
    [
        (b"",),
        (b"ftp://h/a",),
        (b"http://",),
        (b"http:///a",),
        ("http://straße.example/a".encode(),),
        (("http://" + "é" * 70 + ".example/a").encode(),),
        *(
            (b"http://%s/a" % host,)
            for host in (
                *(b"h:0", b"h:65536", b"h:x", b"h:1:2", b":80", b"a..b", b".a", b"a%41", b"h\\x", b"*"),
                *(b"::1", b"[::1", b"[zz]", b"[1.2.3.4]", b"[::1]x", b"x" * 64 + b".example"),
            )
        ),
        (b" http://h/a",),
        (b"http://h/a", b"", "-1"),
        (b"http://h/a", b"", "9" * 25),
        (b"http://h/a", b"", "", "xyz"),
        (b"http://h/a", b"", "", "", "tomorrow"),
        (b"http://h/" + "é".encode() * 12_000,),  # six characters each in a request
        (b"http://h/a", b"k" * 65_536),
    ],
)
def test_a_row_that_names_no_object_is_odd(row):
    with pytest.raises(OddRow):
        row_of(*row)


@pytest.mark.parametrize("url", [b"http://h/a\rhttp://h/b", b"http://h/a\0http://h/b\0", b"http://h/a\x7f"])
def test_two_urls_that_another_character_parts_are_not_one(url):
    with pytest.raises(OddRow, match="has a control character in it"):
        row_of(url)


def test_a_user_before_the_host_is_told_and_the_password_is_not():
    with pytest.raises(OddRow, match=r"^'http://\*\*\*@h/a' has a user before its host; leave that out$"):
        row_of(b"http://user:p@ss@h/a")


def test_sizes_dates_and_md5s_are_read_in_their_usual_forms():
    row = row_of(b"http://h/a", b"k", " 7 ", "1B2M2Y8AsgTpgAmY7PhCfg==", "2024-02-29T00:00:00Z")
    assert row == UrlRow(b"k", "http://h/a", 7, 1709164800, "d41d8cd98f00b204e9800998ecf8427e")


@given(st.binary(max_size=40), st.binary(max_size=10), *[st.text(max_size=12)] * 3)
def test_any_row_is_an_object_or_odd(url, key, size, md5, mtime):
    try:
        row = row_of(b"http://" + url, key, size, md5, mtime)
    except OddRow:
        return
    assert row.key
    assert row.url.isascii()
    assert row.url.isprintable()


def _all(path: Path, monkeypatch, limit: int):
    """Read a list page by page, each from its cursor alone."""
    monkeypatch.setattr(tables, "PAGE_LINES", limit)
    monkeypatch.setattr("bucketpull.sources.list_files.read_lines.__defaults__", (b"\n", limit))
    rows, odd, cursor = [], [], ""
    while cursor is not None:
        page = table_of(str(path)).page(cursor)
        rows += page.rows
        odd += page.odd
        cursor = page.following
    return rows, odd


ROWS = [(f"http://h/{n}", f"k{n},\n{n}" if n % 3 else "", n if n % 2 else "") for n in range(25)]


def _write_text(path: Path, delimiter: str) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(("URL", "Key", "SIZE"))
        writer.writerows(ROWS)


def _write_parquet(path: Path) -> None:
    columns = {
        "url": [url for url, _, _ in ROWS],
        "key": [key or None for _, key, _ in ROWS],
        "size": [size if size != "" else None for _, _, size in ROWS],
    }
    pq.write_table(pa.table(columns), path, row_group_size=10)


@pytest.mark.parametrize("limit", [1, 4, 10, 25, 100])
@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.parquet"])
def test_a_table_is_read_once_whatever_the_page_length(tmp_path, monkeypatch, name, limit):
    path = tmp_path / name
    if name.endswith("parquet"):
        _write_parquet(path)
    else:
        _write_text(path, "," if name.endswith("csv") else "\t")
    rows, odd = _all(path, monkeypatch, limit)
    assert odd == []
    assert rows == [row_of(url.encode(), key.encode(), str(size)) for url, key, size in ROWS]


def test_odd_rows_are_told_by_their_line(tmp_path, monkeypatch):
    path = tmp_path / "list.csv"
    path.write_text('url,key\nhttp://h/1,"two\nlines"\nnothing,x\n,\nhttp://h/2\n')
    rows, odd = _all(path, monkeypatch, 10)
    assert [row.key for row in rows] == [b"two\nlines", b"h/2"]
    assert odd == ["line 4: 'nothing' is not an http:// or https:// URL"]


def test_a_key_that_stands_there_twice_is_wanted_once(tmp_path, monkeypatch):
    path = tmp_path / "list"
    path.write_text("http://h/1\nhttp://h/1\n")
    assert len(_all(path, monkeypatch, 10)[0]) == 1


def test_a_key_of_two_urls_has_the_first_and_the_other_row_is_told(tmp_path, monkeypatch):
    path = tmp_path / "list.csv"
    path.write_text("url,key\nhttp://h/1,k\nhttp://h/1,k\nhttp://h/2,k\nhttp://h/3,\nhttps://h/3,\n")
    rows, odd = _all(path, monkeypatch, 10)
    assert [row.url for row in rows] == ["http://h/1", "http://h/3"]
    assert odd == ["line 4: 'k' is the key of another URL, 'http://h/1', too; name another in a column key"]


def test_urls_of_two_objects_whose_key_is_the_same_are_told_and_spellings_of_one_are_not(
    tmp_path, monkeypatch
):
    path = tmp_path / "list"
    same = "http://h/a%20b\nhttp://H/a b\nhttps://h/%61%20b\n"
    path.write_text(f"{same}http://h/d/b\nhttp://h/d%2Fb\nhttp://h/q?x\nhttp://h/q%3fx\n")
    rows, odd = _all(path, monkeypatch, 10)
    assert [row.key for row in rows] == [b"h/a b", b"h/d/b", b"h/q?x"]
    assert [text.partition(" is the key of another URL, ")[0] for text in odd] == [
        "line 5: 'h/d/b'",
        "line 7: 'h/q?x'",
    ]


def test_a_cell_of_any_length_is_no_end_of_the_job(tmp_path, monkeypatch):
    path = tmp_path / "list.csv"
    path.write_text("url\nhttp://h/" + "x" * 300_000 + "\nhttp://h/2\n")
    rows, odd = _all(path, monkeypatch, 10)
    assert [row.key for row in rows] == [b"h/2"]
    assert [told[:20] for told in odd] == ["line 2: field larger"]


def _write_lines(path: Path, count: int) -> None:
    path.write_bytes(b"".join(b"http://h%d.example.com/p/%07d.jpg\n" % (n % 3, n) for n in range(count)))


def _write_one_row_group(path: Path, count: int) -> None:
    pq.write_table(pa.table({"url": [f"http://h/{n:07d}.jpg" for n in range(count)]}), path)


def _peak_bytes(path: Path, count: int) -> int:
    """Return the most memory that reading a list page by page takes at a time; a page is let go of before the next."""
    table, cursor, found = table_of(str(path)), "", 0
    tracemalloc.start()
    try:
        while cursor is not None:
            page = table.page(cursor)
            found += len(page.rows)
            cursor = page.following
            del page
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert found == count


@pytest.mark.parametrize(
    ("name", "write"),
    [("list", _write_lines), ("list.parquet", _write_one_row_group)],
    ids=["lines", "parquet"],
)
def test_a_longer_list_takes_no_more_memory(tmp_path, name, write):
    peaks = []
    for count in (20_000, 60_000):
        path = tmp_path / f"{count}{name}"
        write(path, count)
        peaks.append(_peak_bytes(path, count))
    assert peaks[1] < 1.5 * peaks[0]


KEYS = [
    b"a.jpg",
    "é/照 片.jpg".encode(),
    b'comma, "quote"',
    b"tab\tx",
    b"line\nx",
    b"return\rx",
    b"\xff\xfe",
    b" lead",
    b"=1+1",
]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_list_writes_is_read_back(tmp_path, form):
    count = len(KEYS)
    urls = [f"http://h/{number}" for number in range(count)]
    columns = Columns(KEYS, [5] * count, [1_700_000_000] * count, ["0" * 32] * count, urls)
    path = tmp_path / "list-00001.parquet"
    if form == "parquet":
        output = ParquetOutput(tmp_path, None)
        output.write(columns)
        output.finish()
        output.close()
    else:
        path = tmp_path / "list.csv"
        path.write_bytes(FORMS["csv"].head + FORMS["csv"].encode(columns).data)
    found = table_of(str(path)).page("")
    assert found.odd == []
    assert [tuple(getattr(row, name) for name in UrlRow.__struct_fields__) for row in found.rows] == [
        (key, url, 5, 1_700_000_000, "0" * 32) for key, url in zip(KEYS, urls, strict=True)
    ]


def test_a_row_that_cannot_be_read_costs_itself(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b'url,key\nhttp://h/1,a\nhttp://h/2,b\rc\nhttp://h/3,d\nhttp://h/4,"e\nhttp://h/5,f\n')
    found = table_of(str(path)).page("")
    assert [row.key for row in found.rows] == [b"a", b"d"]
    assert [told[:7] for told in found.odd] == ["line 3:", "line 5:"]
    assert "a quote is not closed" in found.odd[1]


def test_a_line_with_a_tab_is_no_url_but_a_table(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"http://h/1\tname\nhttp://h/2\n")
    found = table_of(str(path)).page("")
    assert ([row.key for row in found.rows], len(found.odd)) == ([b"h/2"], 1)


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("keys.txt", "a/1.jpg\na/2.jpg\n", "--keys FILE"),
        ("list.jsonl", '{"key": "a/1.jpg", "url": "http://h/1"}\n', "jq -r .url"),
        ("list.json", '\ufeff\n[{"url": "http://h/1"}]\n', "jq -r .url"),
        ("list.csv", "url,size\n/a/1.jpg,1\n", "--keys FILE"),
    ],
)
def test_a_list_of_something_else_is_refused_with_what_reads_it(tmp_path, name, content, remedy):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ConfigError, match=remedy):
        check_urls(str(path))


@pytest.mark.parametrize("content", ["", "\n\n", "no url\nhttp://h/1\n"])
def test_a_list_with_a_url_or_nothing_is_one_of_urls(tmp_path, content):
    path = tmp_path / "list"
    path.write_text(content)
    check_urls(str(path))
