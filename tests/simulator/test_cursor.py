import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upyun_simulator.cursor import END, BadCursor, Position, RowKeys, Sealed

STEP = st.text(st.characters(exclude_characters="/", exclude_categories=[]), max_size=12)
FOLDER = st.lists(STEP, max_size=4).map(lambda steps: "".join(f"{step}/" for step in steps))


@pytest.mark.parametrize(
    ("bucket", "folder", "position", "cursor"),
    [
        ("demo-bucket", "", Position(False, "foo.jpg"), "ZGVtby1idWNrZXQvQCNmb28uanBn"),
        ("demo-bucket", "photos/2016/", Position(False, "a b.jpg"), "ZGVtby1idWNrZXQvfnBob3Rvcy9+MjAxNi9AI2EgYi5qcGc="),
        ("demo-bucket", "photos/", Position(False, "b.jpg"), "ZGVtby1idWNrZXQvfnBob3Rvcy9AI2IuanBn"),
        (
            "squirrel", "wordSplit/xml/20161220/", Position(True, "FF8080815919A151015919D7DC8F0036"),
            "c3F1aXJyZWwvfndvcmRTcGxpdC9+eG1sL34yMDE2MTIyMC9AfkZGODA4MDgxNTkxOUExNTEwMTU5MTlEN0RDOEYwMDM2",
        ),
    ],
)  # fmt: skip
def test_a_cursor_is_the_row_key_of_the_last_entry(bucket, folder, position, cursor):
    assert RowKeys(bucket).encode(folder, position) == cursor
    assert RowKeys(bucket).decode(folder, cursor) == position
    assert RowKeys(bucket).decode(folder, cursor.rstrip("=")) == position


def test_the_end_token_is_the_erlang_term_next_eof():
    assert base64.b64decode(END + "==") == b"\x83\x68\x02\x64\x00\x04next\x64\x00\x03eof"


@given(FOLDER, st.booleans(), STEP)
def test_both_forms_come_back_as_they_went(folder, folders, name):
    for cursors in (RowKeys("b"), RowKeys("b", padding=False), Sealed(RowKeys("b"))):
        position = Position(folders, name)
        assert cursors.decode(folder, cursors.encode(folder, position)) == position


@pytest.mark.parametrize(
    "cursor",
    ["%%%", "x", base64.b64encode(b"b/~other/@#a").decode(), base64.b64encode(b"b/~here/~a").decode(),
     base64.b64encode(b"c/~here/@#a").decode(), base64.b64encode(b"b/~here/@#\xff").decode(), "ünïcode"],
)  # fmt: skip
def test_a_cursor_of_elsewhere_is_refused(cursor):
    with pytest.raises(BadCursor):
        RowKeys("b").decode("here/", cursor)


def test_a_sealed_cursor_cannot_be_forged():
    forged = RowKeys("b").encode("", Position(False, "m"))

    with pytest.raises(BadCursor):
        Sealed(RowKeys("b")).decode("", forged)
