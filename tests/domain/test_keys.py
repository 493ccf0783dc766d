"""Keys become paths: injective, inside the volume, reversible."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bucketpull.domain import keys, model

_PIECES = st.sampled_from(
    [
        b"a",
        b"b.jpg",
        b"..",
        b".",
        b"",
        b"%~",
        b"%~%~",
        b"%~f",
        b"%~d",
        b"%2E",
        b"%",
        b".bucketpull",
        b"\x00",
        b"\n",
        b" ",
        b"x" * 255,
        b"y" * 256,
        b"A",
        b"\xff\xfe",
        "é".encode(),
        unicodedata.normalize("NFD", "é").encode(),
        b"long",
        b"~",
        b"bucket~1",
    ]
)
_KEYS = st.one_of(
    st.lists(st.lists(_PIECES, max_size=3).map(b"".join), max_size=6).map(b"/".join),
    st.lists(st.binary(max_size=12), max_size=6).map(b"/".join),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
)


def _key_of_path(path: bytes) -> bytes | None:
    """The key whose path this is, None where only the ledger can tell."""
    names = [keys.name_of(segment) for segment in path.split(b"/")]
    return None if None in names else b"/".join(names)


def _key_of_hashed_path(path: bytes) -> bytes | None:
    return keys.name_of(path.rpartition(b"/")[2])


_LAYOUTS = [
    (keys.path_of, _key_of_path, False),
    (keys.path_of, _key_of_path, True),
    (keys.hashed_path_of, _key_of_hashed_path, False),
    (keys.hashed_path_of, _key_of_hashed_path, True),
]


def _folded(path: bytes) -> str:
    """What a file system that folds takes a path for, at its worst."""
    text = unicodedata.normalize("NFKD", path.decode("utf-8", "surrogateescape")).casefold()
    return unicodedata.normalize("NFKD", text)


@pytest.mark.parametrize(("path_of", "key_of", "folds"), _LAYOUTS)
@given(key=_KEYS)
def test_a_path_stays_inside_the_volume_and_outside_our_own_folder(path_of, key_of, folds, key):
    path = path_of(key, folds)

    segments = path.split(b"/")
    assert not any(segment in {b"", b".", b".."} for segment in segments)
    assert b"\0" not in path
    assert segments[0].lower() != b".bucketpull"
    assert max(map(len, segments)) <= 255
    assert len(path) <= keys.LONGEST_PATH


@pytest.mark.parametrize(("path_of", "key_of", "folds"), _LAYOUTS)
@given(key=_KEYS)
@example(b"a/%~f")
@example(b"..\n")
def test_a_path_gives_its_key_back_or_says_that_it_cannot(path_of, key_of, folds, key):
    found = key_of(path_of(key, folds))

    assert found == key or (found is None and len(key) > 80)


@pytest.mark.parametrize(("path_of", "key_of", "folds"), _LAYOUTS)
@given(pair=st.tuples(_KEYS, _KEYS))
def test_two_keys_never_share_a_path(path_of, key_of, folds, pair):
    first, second = (path_of(key, folds) for key in pair)

    same = _folded(first) == _folded(second) if folds else first == second
    assert same == (pair[0] == pair[1])


@given(base=_KEYS, other=_KEYS)
def test_the_other_places_of_a_key_are_its_own(base, other):
    path = keys.path_of(base)
    directory, slash, segment = path.rpartition(b"/")
    places = {path, keys.file_beside_directory(path), directory + slash + keys.directory_beside_file(segment)}

    assert len(places) == 3
    assert all(len(place.rpartition(b"/")[2]) <= 255 for place in places)
    for place in places:
        assert _key_of_path(place) in {base, None}
        assert place != keys.path_of(other) or (other == base and place == path)


@given(path=st.lists(_PIECES, min_size=1, max_size=4).map(b"/".join))
def test_any_path_is_read_without_an_error(path):
    key = _key_of_path(path)

    assert key is None or isinstance(key, bytes)


def test_an_ordinary_key_is_its_own_path():
    for key in [b"a.jpg", "图/片 1.jpg".encode(), b"a/b/.hidden", b"...", b" x ", b"a:b?c#d", b"\xff\xfe"]:
        assert keys.path_of(key) == key


def test_keys_that_cannot_be_paths_are_escaped_readably():
    assert keys.path_of(b"a//b") == b"a/%~/b"
    assert keys.path_of(b"/a") == b"%~/a"
    assert keys.path_of(b"../../etc/passwd") == b"%~%2E%2E/%~%2E%2E/etc/passwd"
    assert keys.path_of(b"%~x") == b"%~%25~x"
    assert keys.path_of(b"a\0b") == b"%~a%00b"
    assert keys.path_of(b".bucketpull/id") == b"%~%2Ebucketpull/id"
    assert keys.path_of(b"a/.bucketpull/volume.json") == b"a/%~%2Ebucketpull/volume.json"


@pytest.mark.parametrize("name", [b"bucket~1", b"bucket~4", b"BUCKET~12", b"bu0f3a~1", b"BuCkEt~1"])
def test_no_short_name_that_a_file_system_gave_our_own_folder_leads_into_it(name):
    """FAT keeps one for each name that is not 8.3, a Windows server may; whoever asks for it gets the long one's folder."""
    path = keys.path_of(name + b"/ledger", folds_case=True)

    assert b"~" not in path.partition(b"/")[0].removeprefix(b"%~")
    assert _key_of_path(path) == name + b"/ledger"
    assert keys.path_of(name + b"/ledger") == name + b"/ledger"
    assert keys.path_of(b"bucket~x", folds_case=True) == b"bucket~x"


def test_case_twins_and_normal_form_twins_lie_apart_where_names_fold():
    assert keys.path_of(b"A.jpg", folds_case=True) == b"%~%41.jpg"
    assert keys.path_of(b"a.jpg", folds_case=True) == b"a.jpg"
    composed, decomposed = (unicodedata.normalize(form, "é").encode() for form in ("NFC", "NFD"))
    assert keys.path_of(composed, folds_case=True) != keys.path_of(decomposed, folds_case=True)
    assert keys.path_of("图片.jpg".encode(), folds_case=True) == "图片.jpg".encode()


def test_a_file_and_a_folder_of_one_name_have_a_place_each():
    assert keys.file_beside_directory(b"x/a") == b"x/%~a%~f"
    assert keys.directory_beside_file(b"a") == b"%~a%~d"
    assert _key_of_path(b"x/%~a%~d/b") == b"x/a/b"


def test_names_and_paths_too_long_begin_readably_and_end_with_a_digest():
    path = keys.path_of(b"n" * 300 + b".jpg")
    assert path.startswith(b"%~%~nnn")
    assert len(path) <= 255
    assert keys.path_of(b"d/" * 2100).startswith(b"%~%~long/")


def test_the_hashed_layout_spreads_numbered_names_evenly():
    counts: dict[bytes, int] = {}
    for number in range(20_000):
        first = keys.hashed_path_of(b"photos/%08d.jpg" % number).split(b"/")[0]
        counts[first] = counts.get(first, 0) + 1

    assert len(counts) == 256
    assert max(counts.values()) < 2 * 20_000 / 256


def test_every_way_to_have_listed_a_key_is_given_the_likeliest_first():
    assert list(keys.homes_of(b"a/b/c")) == [(b"a/b", b"c"), (b"a", b"b/c"), (b"", b"a/b/c")]
    assert list(keys.homes_of(b"a")) == [(b"", b"a")]


@pytest.mark.parametrize("key", [b"/lead", b"//lead", b"///", b"/", b"a//b", b"a/"])
def test_a_slash_before_a_key_is_part_of_it_however_it_was_listed(key):
    homes = list(keys.homes_of(key))

    assert (b"", key) in homes
    assert {model.key_of(*home) for home in homes} == {key}
