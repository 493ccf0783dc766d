"""A list that somebody damaged or made up is read, or refused in words: no form of it ends in another error."""

import contextlib
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.damage import damages

from bucketpull.domain.errors import AnswerError, ConfigError
from bucketpull.sources.urls.tables import table_of


def _parquet() -> bytes:
    table = pa.table({"url": [f"http://a/{n}" for n in range(50)], "size": list(range(50))})
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


FORMS = {
    ".csv": b'url,key,size,md5,mtime\nhttp://a/1,k,5,d41d8cd98f00b204e9800998ecf8427e,2020-01-01\n"http://a/2","k\n2",,,\n',
    ".tsv": b"url\tkey\tsize\nhttp://a/1\tk\t5\n",
    ".txt": b"http://a/1\nhttp://b/2?x=\xff\n",
    ".parquet": _parquet(),
}
CURSORS = st.sampled_from(["", "0:0", "7:1", "-5:1", "x", ":", "9" * 5000 + ":1", "1:1:1", "\u0663:1"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lists")


@pytest.mark.parametrize("form", FORMS)
@given(st.data())
@settings(max_examples=150)
def test_a_damaged_list_is_read_or_refused_in_words(folder, form, data):
    path = folder / f"list{form}"
    path.write_bytes(data.draw(damages(FORMS[form])))

    with contextlib.suppress(ConfigError, AnswerError):
        table_of(str(path)).page(data.draw(CURSORS))


BOMBS = {
    "a head of one long cell": b"url," + b"a" * 200_000,
    "a head with a lone carriage return": b"url\rkey\nhttp://a/1\r2\n",
    "a quote that is never closed": b'url\n"http://a/1\n' + b"a\n" * 100_000,
    "a row without an end": b"url\n" + b"a" * 3_000_000,
    "NULs": b"url\nhttp://a/\0\0\n" + b"\0" * 1000,
    "cells without number": b"url\n" + b"," * 1_000_000 + b"\n",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("form", [".csv", ".tsv", ".txt"])
def test_a_list_that_is_a_bomb_is_read_or_refused_in_words(folder, form, bomb):
    path = folder / f"bomb{form}"
    path.write_bytes(bomb)

    with contextlib.suppress(ConfigError, AnswerError):
        table_of(str(path)).page("")
