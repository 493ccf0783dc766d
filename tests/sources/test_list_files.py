"""Lists in files: any line ends, marks and lengths; read page by page from offsets, each line once with its number."""

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import AnswerError, ConfigError
from bucketpull.sources import list_files
from bucketpull.sources.list_files import (
    LONGEST_LINE,
    ListPosition,
    check_unchanged,
    content_of,
    fingerprint,
    read_lines,
)
from bucketpull.sources.s3.config import S3Config
from bucketpull.sources.urls.tables import table_of


@pytest.fixture
def make(tmp_path: Path):
    def write(content: bytes) -> str:
        path = tmp_path / "list"
        path.write_bytes(content)
        return str(path)

    return write


def _all(path: str, separator: bytes = b"\n", limit: int = 3):
    """Read a file page by page, each from its cursor alone."""
    found, odd, place = [], [], ListPosition()
    while place is not None:
        page = read_lines(path, ListPosition.of(place.text()), separator, limit)
        found += zip(page.numbers, page.lines, strict=True)
        odd += page.odd
        place = page.following
    return found, odd


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")]),
        (b"a\n\n\r\nb", [(1, b"a"), (4, b"b")]),
        (b"\xef\xbb\xbfa\nb", [(1, b"a"), (2, b"b")]),
        (b"  a \n#b\n", [(1, b"  a "), (2, b"#b")]),
        (b"\n" * 10 + b"z", [(11, b"z")]),
    ],
)
def test_lines_are_what_stands_between_line_ends(make, content, lines):
    assert _all(make(content)) == (lines, [])


def test_with_nul_everything_else_belongs_to_the_line(make):
    assert _all(make(b"a\nb\r\0\0 c"), b"\0") == ([(1, b"a\nb\r"), (3, b" c")], [])


def test_a_line_that_is_too_long_fails_by_its_number_and_the_others_are_read(make):
    long = b"x" * (3 << 20)
    lines, odd = _all(make(b"a\n" + long + b"\nb\n" + b"y" * (LONGEST_LINE + 1) + b"\nc\n" + long))
    assert lines == [(1, b"a"), (3, b"b"), (5, b"c")]
    assert [text.partition(":")[0] for text in odd] == ["line 2", "line 4", "line 6"]


@given(
    st.lists(st.binary(max_size=6).filter(lambda line: b"\n" not in line), max_size=30),
    st.integers(1, 7),
    st.booleans(),
)
def test_each_line_is_read_once_whatever_the_page_length(tmp_path_factory, lines, limit, has_end):
    path = tmp_path_factory.mktemp("lists") / "list"
    path.write_bytes(b"\n".join(lines) + (b"\n" if has_end else b""))
    found, odd = _all(str(path), limit=limit)
    whole = [
        (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).removesuffix(b"\r")
        for number, line in enumerate(lines, 1)
    ]
    assert found == [(number, line) for number, line in enumerate(whole, 1) if line]
    assert odd == []


def test_a_list_that_changed_is_another_one(make):
    path = make(b"a\nb\n")
    first = fingerprint(path)
    assert fingerprint(path) == first
    make(b"a\nc\n")
    assert fingerprint(path) != first


def test_a_list_that_was_written_anew_with_the_same_content_is_the_same(make):
    path = make(b"a\nb\n")
    first = fingerprint(path)
    os.utime(path, (1, 1))
    assert content_of(fingerprint(path)) == content_of(first)
    check_unchanged(path, first)
    make(b"a\nc\n")
    os.utime(path, (2, 2))
    with pytest.raises(AnswerError, match="has changed"):
        check_unchanged(path, first)


def test_of_a_very_large_list_the_time_of_change_counts(make, monkeypatch):
    monkeypatch.setattr(list_files, "_WHOLE_BYTES", 1)
    monkeypatch.setattr(list_files, "_SAMPLE_BYTES", 2)
    path = make(b"a\nb\nc\n")
    first = fingerprint(path)
    check_unchanged(path, first)
    os.utime(path, (1, 1))
    with pytest.raises(AnswerError, match="has changed"):
        check_unchanged(path, first)


def test_a_list_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory"):
        fingerprint(str(tmp_path / "absent"))
    with pytest.raises(AnswerError, match="absent"):
        read_lines(str(tmp_path / "absent"), ListPosition())


@pytest.mark.parametrize("cursor", ["x", "1", "1:x", "-1:2", "9" * 50 + ":1"])
def test_a_cursor_that_is_none_is_refused(cursor):
    with pytest.raises(AnswerError):
        ListPosition.of(cursor)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(b"http://h/a\n", mtime=0), "gzip"),
        (bz2.compress(b"http://h/a\n"), "bzip2"),
        (lzma.compress(b"http://h/a\n"), "xz"),
        ("http://h/a\n".encode("utf-16"), "UTF-16"),
        (b"ORC\n\x00", "ORC"),
        (b"PK\x03\x04\x14", "zip"),
    ],
)
def test_a_file_that_is_no_text_is_refused_before_each_of_its_lines_fails(make, content, kind):
    path = make(content)
    with pytest.raises(ConfigError, match=f"is {kind}, not text; unpack or write it as lines"):
        table_of(path)
    with pytest.raises(ConfigError, match=f"is {kind}, not text"):
        S3Config.of("//bucket", {"keys": path}).prepared()


@pytest.mark.parametrize(
    "content", [b"a/1\0b/2\0", "a/1\n".encode("utf-16-le"), "图\n".encode("utf-16-be"), b"a\n\0b\n"]
)
def test_keys_with_nul_bytes_are_refused_with_what_reads_them(make, content):
    with pytest.raises(ConfigError, match=r"has NUL bytes; write what is UTF-16 as UTF-8, and .* by --keys0"):
        S3Config.of("//bucket", {"keys": make(content)}).prepared()


def test_keys_that_end_with_nul_may_begin_with_anything(make):
    S3Config.of("//bucket", {"keys0": make(b"PK\x03\x04.zip\0")}).prepared()
