"""The tree of directories: each shows the sums of all that is in and below it."""

from bucketpull.domain.errors import Reason
from bucketpull.domain.record import Record
from bucketpull.journal.directories import directories_below

ROWS = 1_000


def below(play, parent=b"", limit=100, rows=ROWS):
    return directories_below(play.journal._tables, parent, limit, rows)


def test_a_directory_sums_up_what_is_below_it(play):
    play.put(b"a", b"1.jpg")
    play.put(b"a/b", b"2.jpg", b"3.jpg")
    play.put(b"a/b/c", b"4.jpg", b"bad.jpg")
    play.outcomes = {b"bad.jpg": Reason.FORBIDDEN}
    play.run()

    (a,) = below(play)
    (b,) = below(play, b"a")
    (c,) = below(play, b"a/b")

    assert [(each.directory, each.objects, each.bytes, each.failed) for each in (a, b, c)] == [
        (b"a", 5, 50, 1),
        (b"a/b", 4, 40, 1),
        (b"a/b/c", 2, 20, 1),
    ]
    assert [each.state for each in (a, b, c)] == ["done", "done", "done"]
    assert [each.directories for each in (a, b, c)] == [None, None, 0]


def test_siblings_whose_names_sort_between_a_directory_and_what_is_below_it_are_shown(play):
    names = [b"a", b"a!x", b"a-b", b"a.b", b"a0", b"b"]
    for name in [*names, b"a/below", b"a-b/below"]:
        play.put(name, b"1.jpg")
    play.run()

    assert [state.directory for state in below(play)] == names
    assert [state.objects for state in below(play)] == [2, 1, 2, 1, 1, 1]


def test_what_is_excluded_is_not_outstanding(play):
    play.put(b"a", b"1.jpg")
    play.excluded[b"a"] = 7
    play.run()

    assert [(state.objects, state.outstanding, state.state) for state in below(play)] == [(1, 0, "done")]


def test_a_directory_that_cannot_be_listed_fails_and_so_does_what_it_is_in(play):
    play.put(b"a", b"1.jpg")
    play.put(b"a/b")
    play.unlisted.add(b"a/b")
    play.run()

    assert [(state.directory, state.state) for state in below(play)] == [(b"a", "failed")]
    assert [(state.directory, state.state) for state in below(play, b"a")] == [(b"a/b", "failed")]


def test_while_the_job_lists_what_is_below_may_grow(play):
    play.put(b"a", b"1.jpg")
    play.put(b"a/b", b"2.jpg")
    play.put(b"a/b/c", b"3.jpg")
    play.begin()
    for _ in range(3):
        play.scan()
    play.drain()

    assert play.journal.outstanding().scans == 1  # a/b/c
    assert [(state.directory, state.state, state.directories) for state in below(play, b"a")] == [
        (b"a/b", "done", None)
    ]
    assert [(state.directory, state.state) for state in below(play)] == [(b"a", "listing")]


def test_a_level_reads_a_bounded_number_of_rows_and_says_so(play):
    for directory in (b"a", b"a/1", b"a/2", b"a/3", b"z", b"z/1"):
        play.put(directory, b"1.jpg")
    play.run()

    assert [(state.objects, state.partial) for state in below(play, rows=2)] == [(3, True), (2, True)]
    assert [(state.objects, state.partial) for state in below(play)] == [(4, False), (2, False)]


def test_what_only_ledgers_tell_of_is_neither_listed_nor_outstanding(play):
    play.journal.learn([("v1", 0, [Record(b"a", "", [b"1.jpg"], [10], [1], [], [])])])

    assert list(play.journal.balances()) == []
    (a,) = below(play)
    assert (a.state, a.objects, a.bytes, a.outstanding) == ("waiting", 0, 0, 0)
