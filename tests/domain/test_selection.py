"""Which objects are wanted: the rules one by one, then against another implementation of globs."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wcmatch import glob

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.selection import Rule, Selection

REFERENCE = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB | glob.FORCEUNIX | glob.CASE


def choose(*rules: str, **bounds: int) -> Selection:
    """`+PATTERN` includes, `-PATTERN` excludes."""
    return Selection(tuple(Rule(rule[0] == "+", rule[1:]) for rule in rules), **bounds).checked()


def folders(selection: Selection, *paths: str) -> list[str]:
    """Which of these folders are listed."""
    return [path for path in paths if selection.may_want_below(path.encode())]


def wanted(selection: Selection, *keys: str) -> list[str]:
    return [key for key in keys if selection.wants(key.encode(), 1, 1)]


def test_without_rules_everything_is_wanted():
    assert Selection().is_all
    assert wanted(Selection(), "a", "b/c") == ["a", "b/c"]


def test_what_no_rule_matches_is_wanted_if_the_first_rule_excludes():
    assert wanted(choose("-*.tmp"), "a.jpg", "b.tmp") == ["a.jpg"]


def test_what_no_rule_matches_is_not_wanted_if_the_first_rule_includes():
    assert wanted(choose("+*.jpg"), "a.jpg", "b.tmp") == ["a.jpg"]


def test_the_last_rule_that_matches_decides():
    assert wanted(choose("-*.tmp", "+keep.tmp"), "keep.tmp", "x.tmp") == ["keep.tmp"]
    assert wanted(choose("+keep.tmp", "-*.tmp"), "keep.tmp", "x.tmp") == []


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.jpg", ["a.jpg", "x/a.jpg", ".jpg", "x/y/.hidden.jpg"], ["a.jpg/b", "a.JPG"]),
        ("/*.jpg", ["a.jpg"], ["x/a.jpg"]),
        ("/photos/**", ["photos/a", "photos/x/y"], ["photos", "my/photos/a"]),
        ("photos/", ["photos/a", "my/photos/x/y"], ["photos", "photos.jpg"]),
        ("a/**/z", ["a/z", "a/b/z", "x/a/b/c/z"], ["a/bz", "az"]),
        ("{a,b}/*.{png,gif}", ["a/1.png", "b/2.gif"], ["c/1.png", "a/1.jpg", "a/x/1.png"]),
        ("img-?.jpg", ["img-1.jpg", "img-图.jpg"], ["img-.jpg", "img-12.jpg", "img-/.jpg"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "/x"]),
        ("[!a-c]x", ["dx"], ["ax"]),
        (r"a\*b", ["a*b"], ["axb"]),
        (r"a\[b", ["a[b"], ["ab"]),
        (r"a\{b", ["a{b"], ["ab"]),
        ("a]b", ["a]b"], ["ab"]),
        ("a..b", ["a..b"], ["axxb"]),
        ("x/../*", ["x/../y"], ["x/y"]),
        ("x//*", ["x//y"], ["x/y"]),
        ("//a", ["/a"], ["a", "x//a"]),
        ("//**", ["/a", "/a/b"], ["a", "a//b"]),
        ("a//", ["a//b", "x/a//b/c"], ["a/b"]),
        (r"/a\/b", ["a/b"], ["x/a/b"]),
    ],
)
def test_a_pattern_matches(pattern: str, matching: list[str], other: list[str]):
    assert wanted(choose("+" + pattern), *matching, *other) == matching


def test_keys_of_any_bytes_are_matched():
    selection = choose("+*.jpg")

    assert selection.wants(b"\xff\xfe.jpg", 1, 1)
    assert selection.wants(b"line\nbreak.jpg", 1, 1)


def test_sizes_and_dates_bound_what_is_known():
    selection = choose(smallest=10, largest=20, changed_after=100, changed_before=200)

    assert [size for size in (9, 10, 20, 21, -1) if selection.wants(b"a", size, 150)] == [10, 20, -1]
    assert [date for date in (99, 100, 200, 201, -1) if selection.wants(b"a", 15, date)] == [100, 200, -1]


@pytest.mark.parametrize(
    "pattern",
    ["", "/", "//", "[z-a]", "{1..5000}", "[abc", "{a,b", "x/{a,b}}", "*.{jpg}", "{a,[b}", "{" * 3000],
)
def test_what_is_no_pattern_is_refused_before_anything_is_done(pattern: str):
    with pytest.raises(ConfigError, match=re.escape(f"pattern {pattern!r}")):
        choose("+" + pattern)


def test_directories_in_which_nothing_is_wanted_need_not_be_listed():
    selection = choose("-/cache/**", "-thumbs/")

    assert [
        d
        for d in ("", "cache", "cache/x", "a/thumbs", "a/thumbs/b", "a")
        if selection.may_want_below(d.encode())
    ] == ["", "a"]


def test_an_anchored_include_is_looked_for_only_where_it_may_lie():
    selection = choose("+/photos/2024/*.jpg")

    found = [
        d
        for d in ("", "photos", "photos/2024", "photos/2023", "photos/2024/x", "other")
        if selection.may_want_below(d.encode())
    ]

    assert found == ["", "photos", "photos/2024"]


@pytest.mark.parametrize("everything", ["**", "/**", "*", "**/*", "/**/*", "{x,*}", "**/", "/**/**"])
def test_of_a_bucket_less_everything_only_what_is_included_again_is_listed(everything: str):
    selection = choose("-" + everything, "+/2024/**")

    assert folders(selection, "", "2024", "2024/05", "2023", "x/2024") == ["", "2024", "2024/05"]


@pytest.mark.parametrize(
    ("pattern", "covered", "other"),
    [
        ("cache/**/*", ["cache", "cache/x", "a/cache"], ["", "a"]),
        ("/ca**", ["cache", "cache/x"], ["", "x", "x/cache"]),
        (r"/a\/", ["a", "a/b"], ["", "b"]),
        ("a//", ["a/", "x/a//b"], ["", "a", "a/b"]),
        ("/*", [], ["", "a"]),
        ("/a/*", [], ["", "a", "a/b"]),
        ("/**/x*", [], ["", "x"]),
    ],
)
def test_a_folder_is_not_listed_where_an_exclude_matches_all_that_may_lie_in_it(
    pattern: str, covered: list[str], other: list[str]
):
    assert folders(choose("-" + pattern), *covered, *other) == other


@pytest.mark.parametrize(
    ("pattern", "possible", "impossible"),
    [
        ("/a//z", ["", "a", "a/"], ["b", "a/b"]),
        ("/a/{b/,c}/z", ["", "a", "a/c", "a/b", "a/b/"], ["a/b/c", "a/d"]),
        (r"/a\/b/c", ["", "a", "a/b"], ["b", "a/c"]),
        ("/a/[x/]/c", ["", "a", "a/x"], ["a/y"]),
        ("/a**/b", ["", "a", "ab/c"], ["b"]),
    ],
)
def test_a_folder_is_listed_where_an_include_may_match(
    pattern: str, possible: list[str], impossible: list[str]
):
    assert folders(choose("+" + pattern), *possible, *impossible) == possible


STEP = st.text("ab.x", min_size=1, max_size=3).filter(lambda step: step.strip("."))
KEY = st.lists(STEP, min_size=1, max_size=4).map("/".join)
PART = st.sampled_from(["*", "?", "a*", "*.x", "**", "{a,b}", "[ab]", "[!a]", "a", "b.x", "ab"])
PATTERN = st.lists(PART, min_size=1, max_size=4).map("/".join)


@given(PATTERN, KEY)
@example("**/a", "a")
@example("a/**", "a/b")
def test_anchored_patterns_mean_what_another_library_means_by_them(pattern: str, key: str):
    # To wcmatch `a/**` also matches `a` itself, as a folder; an object `a` lies beside that folder.
    expected = glob.globmatch(key, pattern, flags=REFERENCE)
    if pattern.endswith("**"):
        expected = expected and below(pattern, key)

    assert choose("+/" + pattern).wants(key.encode(), 1, 1) == expected


def below(pattern: str, key: str) -> bool:
    """Whether a key lies below the folder that a pattern with `**` at its end names."""
    head = pattern[: -len("**")].rstrip("/")
    steps = key.split("/")
    return not head.strip("*/") or any(
        glob.globmatch("/".join(steps[:count]), head, flags=REFERENCE) for count in range(1, len(steps))
    )


# Everything that splits, joins or hides a slash, next to what it may split.
ODD_PATTERN = st.lists(
    st.sampled_from(["/", "//", r"\/", "{a/,b}", "{/a,b/}", "{a,}", "[a/]", "**", "*", "?", "[!a]", r"\a", "a", "b"]),
    max_size=6,
).map("".join)  # fmt: skip
RULES = st.lists(st.tuples(st.booleans(), ODD_PATTERN), min_size=1, max_size=4)


@given(RULES, st.text("ab/", min_size=1, max_size=7))
@example([(False, "a//")], "a/b/z")
@example([(True, "/a//z")], "a//z")
@example([(True, "/a/{b/,c}/z")], "a/c/z")
@example([(True, "{a/,b}"), (False, "{a/,b}/")], "a/ba/b")
def test_each_folder_above_a_key_that_is_wanted_is_listed(rules: list[tuple[bool, str]], key: str):
    try:
        selection = Selection(tuple(Rule(*rule) for rule in rules)).checked()
    except ConfigError:
        return
    above = [key[:at].encode() for at, letter in enumerate(key) if letter == "/"]

    listed = [selection.may_want_below(directory) for directory in (b"", *above)]

    assert all(listed) or not selection.wants(key.encode(), 1, 1)
