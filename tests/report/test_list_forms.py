"""Each form is read back by a strict reader, written after the document of the service that takes it."""

import csv
import gzip
import hashlib
import io
import json
import subprocess
from base64 import b64decode
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.keys import quoted
from bucketpull.report.list_forms import FORMS, Columns, Form, NginxMap
from bucketpull.report.list_output import FolderOutput, ListState, Mark, StreamOutput

KEYS = [
    b"a/1.jpg",
    b"a b+c%,d;e.jpg",
    "照片/é.jpg".encode(),
    b'"q"',
    b"new\nline",
    b"tab\t",
    b"\xff\xfe",
    b"\\back",
    b"x" * 1024,
]
BASE = "https://img.example.com/"


def columns_of(keys: list[bytes]) -> Columns:
    count = len(keys)
    md5s = ["d41d8cd98f00b204e9800998ecf8427e" if n % 2 else "" for n in range(count)]
    sizes = [-1 if n % 5 == 4 else n for n in range(count)]
    return Columns(
        keys, sizes, [1_600_000_000 + n for n in range(count)], md5s, [BASE + quoted(key) for key in keys]
    )


def written(form: str, columns: Columns) -> tuple[bytes, list[bytes]]:
    stream = io.BytesIO()
    output = StreamOutput(FORMS[form], stream)
    left_out = output.write(columns)
    output.finish()
    return stream.getvalue(), left_out


def is_url_of(url: str, key: bytes) -> bool:
    parts = urlsplit(url)
    assert url.isascii()
    assert url.isprintable()
    assert not parts.query
    return url.startswith(BASE) and unquote_to_bytes(url[len(BASE) :]) == key


def read_oss(data: bytes, most: int) -> list[tuple[str, str]]:
    """Alibaba: rows of Url and Key, both encoded once more, each ended by a line feed."""
    assert data.endswith(b"\n")
    assert len(data) <= most
    rows = [line.split(b",") for line in data[:-1].split(b"\n")]
    assert all(len(row) == 2 and all(row) for row in rows)
    assert not any(byte in row[0] + row[1] for row in rows for byte in b' +"\t\r')
    return [(unquote(row[0].decode("ascii")), unquote_to_bytes(row[1])) for row in rows]


def test_alibabas_list_has_urls_and_keys_encoded_once_more():
    data, left_out = written("oss", columns_of(KEYS))
    rows = read_oss(data, 100_000_000)
    assert left_out == []
    assert [key for _, key in rows] == KEYS
    assert all(is_url_of(url, key) for url, key in rows)
    assert b"a%20b%2Bc%25%2Cd%3Be.jpg" in data  # as the document's example wants plus, percent and comma


def test_googles_list_begins_with_its_version_and_has_three_fields_at_most():
    columns = columns_of(KEYS)
    data, left_out = written("gcs", columns)
    first, *lines, last = data.split(b"\n")
    assert (first, last, left_out) == (b"TsvHttpData-1.0", b"", [])
    for line, key, size, md5 in zip(lines, columns.keys, columns.sizes, columns.md5s, strict=True):
        url, *rest = line.decode().split("\t")
        assert is_url_of(url, key)
        assert rest[:1] == ([str(size)] if size >= 0 else [])
        if md5 and size >= 0:
            assert b64decode(rest[1], validate=True).hex() == md5
        assert len(rest) <= 2


def test_huaweis_list_has_a_tab_and_a_name_that_is_encoded():
    data, left_out = written("oms", columns_of(KEYS))
    assert left_out == []
    assert not data.startswith(b"\xef\xbb\xbf")
    for line, key in zip(data.decode("ascii").split("\n")[:-1], KEYS, strict=True):
        assert len(line) <= 65_535
        url, name = line.split("\t")
        assert is_url_of(url, key)
        assert unquote_to_bytes(name) == key
        assert name.isprintable()
        assert " " not in name


def test_volcengines_list_has_semicolons_and_keys_that_it_allows():
    data, left_out = written("volcengine", columns_of(KEYS))
    assert left_out == [b"a b+c%,d;e.jpg", b"new\nline", b"tab\t", b"\xff\xfe", b"\\back"]
    for line in data.decode().split("\n")[:-1]:
        url, name, size, etag = line.split(";")
        assert is_url_of(url, name.encode())
        assert 1 <= len(name) <= 1024
        assert size == "" or size.isdigit()
        assert len(etag) in {0, 32}


def test_json_lines_hold_any_key():
    data, _ = written("jsonl", columns_of(KEYS))
    rows = [json.loads(line) for line in data.splitlines()]
    assert [
        bytes.fromhex(row["key_hex"]) if "key_hex" in row else row["key"].encode() for row in rows
    ] == KEYS
    assert [row.get("size", -1) for row in rows] == columns_of(KEYS).sizes


def test_a_table_is_read_by_its_head():
    data, _ = written("csv", columns_of(KEYS))
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))
    assert [row["key"].encode("utf-8", "surrogateescape") for row in rows] == KEYS
    assert rows[1]["size"] == "1"
    assert rows[4]["size"] == ""


@pytest.mark.parametrize(("form", "end"), [("keys", b"\n"), ("keys0", b"\0"), ("urls", b"\n")])
def test_a_line_that_would_be_two_is_left_out(form, end):
    data, left_out = written(form, columns_of(KEYS))
    assert left_out == ([b"new\nline"] if form == "keys" else [])
    lines = data.split(end)
    assert lines.pop() == b""
    assert len(lines) == len(KEYS) - len(left_out)


@pytest.mark.parametrize("is_all_known", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_on_the_same_page_changes_no_line(form, is_all_known):
    """Pages of ordinary keys are written by shorter ways than those with odd ones."""
    count = 20
    ordinary = columns_of([b"2024/img-%02d.jpg" % number for number in range(count)])
    if is_all_known:
        md5s = [hashlib.md5(key).hexdigest() for key in ordinary.keys]
        ordinary = ordinary._replace(sizes=list(range(count)), md5s=md5s)
    odd = columns_of(KEYS)
    both = Columns(*(one + other for one, other in zip(ordinary, odd, strict=True)))
    first, second = (written(form, columns)[0] for columns in (ordinary, odd))
    assert written(form, both)[0] == first + second.removeprefix(FORMS[form].head)


def mapped(nginx, keys):
    """Write keys whose files are called as their first bytes are."""
    paths = [f"/mnt/{key[:9].decode()}" for key in keys]
    return nginx.encode(columns_of(keys)._replace(urls=paths))


def test_nginx_reads_a_key_and_a_path_in_quotes():
    keys = [b'a "b"\\c', b"a$b", b"a\nb"]
    encoded = mapped(NginxMap(), keys)
    assert encoded.data == b'"/a \\"b\\"\\\\c" "/mnt/a \\"b\\"\\\\c";\n'
    assert encoded.left_out == [b"a$b", b"a\nb"]


def test_what_has_nginx_refuse_a_whole_map_is_left_out(tmp_path):
    """It takes keys that differ in case alone for one, and reads no more than 4,096 bytes of a word."""
    keys = [
        b"a.jpg",
        b"A.JPG",
        b"\xc3\xa4.jpg",
        b"\xc3\x84.jpg",
        b"~b",
        b"default",
        b"x" * 3_980,
        b"y" * 5_000,
        b'"' * 2_500,
    ]
    nginx = NginxMap()
    first, second = (mapped(nginx, part) for part in (keys[:1], keys[1:]))

    assert second.left_out == [b"A.JPG", b"y" * 5_000, b'"' * 2_500]
    (tmp_path / "map").write_bytes(first.data + second.data)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; events {{}} http {{ map_hash_bucket_size 8192; map $uri $file {{ include {tmp_path}/map; }} }}"
    )
    command = ["nginx", "-t", "-e", f"{tmp_path}/error", "-p", str(tmp_path), "-c", f"{tmp_path}/nginx.conf"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert said.returncode == 0, said.stderr


@given(st.lists(st.integers(0, 60), max_size=30), st.integers(64, 200), st.integers(0, 40))
def test_a_folder_has_whole_lines_in_files_of_a_bounded_size_through_kills(
    tmp_path_factory, lengths, most, kill_at
):
    """After the write of this number the list is killed, and begun again from its last mark."""
    folder = tmp_path_factory.mktemp("list")
    form = Form(FORMS["keys"].encode, ".txt", most_bytes=most)
    keys = [b"%03d" % number + b"x" * length for number, length in enumerate(lengths)]
    output, done, mark = FolderOutput(form, folder, None), 0, None
    while done < len(keys):
        output.write(columns_of(keys[done : done + 3]))
        done = min(done + 3, len(keys))
        if done <= kill_at < done + 3:
            output.close()
            again = json.loads((folder / ".bucketpull-list.json").read_text()) if mark is not None else None
            done = mark if mark is not None else 0
            state = Mark([tuple(each) for each in again["files"]], again["size"]) if again else None
            kill_at = -1
            output = FolderOutput(form, folder, state)
        elif output.can_mark and done % 2:
            output.mark(ListState())
            mark = done
    output.finish()
    files = sorted(path for path in folder.iterdir() if path.suffix == ".txt")
    assert all(path.stat().st_size <= most for path in files)
    assert b"".join(path.read_bytes() for path in files) == b"".join(key + b"\n" for key in keys)


def test_a_compressed_file_can_be_marked_at_its_end_only(tmp_path):
    form = Form(FORMS["oss"].encode, ".csv.gz", most_bytes=100, is_gzipped=True, has_manifest=True)
    output = FolderOutput(form, tmp_path, None)
    assert output.can_mark
    output.write(columns_of([b"a"]))
    assert not output.can_mark
    output.finish()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["fileSchema"] == "Url, Key"
    (file,) = manifest["files"]
    packed = (tmp_path / file["key"]).read_bytes()
    assert len(packed) == file["size"]
    assert read_oss(gzip.decompress(packed), 100) == [(BASE + "a", b"a")]


FORMULAS = [b"=1+1", b"+1", b"-1", b"@SUM(A1)", b"\t=1", b"'=1", "\uff1d1".encode()]


def test_csv_for_a_spreadsheet_holds_no_formula_and_the_key_can_be_had_back():
    keys = [*FORMULAS, b"2024/img.jpg", b"a=b", b"\xff.jpg"]
    data, left_out = written("csv-safe", columns_of(keys))
    rows = csv.DictReader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""))
    found = [row["key"] for row in rows]

    assert left_out == []
    assert all(key.startswith("'") for key in found[: len(FORMULAS)])
    assert [key.removeprefix("'").encode("utf-8", "surrogateescape") for key in found] == keys


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=6) | st.text('a,"\r\n\0 é', max_size=4).map(str.encode),
            st.integers(-1, 1 << 62),
            st.integers(-1, 1 << 40),
            st.sampled_from(["", "0" * 32]),
            st.text('h/,\0"é', max_size=4),
        ),
        max_size=4,
    )
)
def test_a_table_is_read_as_it_was_written(rows):
    columns = Columns(*map(list, zip(*rows, strict=True))) if rows else Columns([], [], [], [], [])
    text = FORMS["csv"].encode(columns).data.decode("utf-8", "surrogateescape")
    expected = [
        [
            key.decode("utf-8", "surrogateescape"),
            *("" if number < 0 else str(number) for number in (size, mtime)),
            md5,
            url,
        ]
        for key, size, mtime, md5, url in rows
    ]
    assert list(csv.reader(io.StringIO(text, newline=""))) == expected
    assert text.endswith("\n") or not rows
