"""A giant directory is listed in parallel, and no less exactly than serially."""

import bisect
import random

import pytest
from listing_world import ListingWorld, answer, source

from bucketpull.domain.model import Position
from bucketpull.sources.upyun.stages import RowKeys as SourceRowKeys
from bucketpull.sources.upyun.stages import between, stage_of
from upyun_simulator.contents import FOLDER, Contents, Entry, Folder
from upyun_simulator.cursor import RowKeys, Sealed
from upyun_simulator.spec import parse_spec


class _Names(Contents, Folder):
    """One folder of given names, which may change while it is listed."""

    def __init__(self, files, folders=()):
        self.sorts = {False: sorted(set(files)), True: sorted(set(folders))}

    def folder(self, path):
        return self if path == "" else _Names([])

    def item(self, key):
        raise NotImplementedError

    def usage(self):
        return 0

    def scan(self, *, folders, after, limit, desc=False):
        names = self.sorts[folders]
        if desc:
            end = len(names) if after is None else bisect.bisect_left(names, after)
            chosen = names[max(0, end - limit) : end][::-1]
        else:
            begin = 0 if after is None else bisect.bisect_right(names, after)
            chosen = names[begin : begin + limit]
        return [Entry(name, FOLDER if folders else "image/jpeg", 1, 1_400_000_000) for name in chosen]


_RANDOM = random.Random(11)
_FAMILIES = {
    "hexadecimal": [f"{_RANDOM.getrandbits(128):032x}.jpg" for _ in range(30_000)],
    "unpadded": [f"{number}.jpg" for number in range(30_000)],
    "clustered": [
        f"2016{_RANDOM.choice('01')}{_RANDOM.randrange(1, 10)}_{_RANDOM.randrange(10**6):06d}"
        for _ in range(30_000)
    ],
    "words": ["".join(_RANDOM.choices("etaoinshrdlu", k=9)) for _ in range(30_000)],
    "skewed": [f"a{number:06d}" for number in range(29_000)] + [f"z{number:06d}" for number in range(1000)],
    "unicode": [f"图片{number:06d}.jpg" for number in range(30_000)],
    "growing": ["x" * (number % 40) + f"{number:05d}" for number in range(30_000)],
}


def _list(contents, cursors=None, spoil=None, limit=100, **options):
    world = ListingWorld(source(list_limit=limit, **options), contents, cursors, spoil)
    seconds = world.run(most=20_000)
    return world, seconds


@pytest.mark.parametrize("family", _FAMILIES)
def test_ranges_give_exactly_what_a_serial_listing_gives(family):
    contents = _Names(_FAMILIES[family])
    expected = sorted(name.encode() for name in contents.sorts[False])

    world, seconds = _list(contents)
    _, serially = _list(contents, split_listing=False)

    assert world.failed == []
    assert world.retries == []
    assert sorted(world.objects) == expected
    assert seconds < serially / (1 if family == "growing" else 3)
    assert world.requests < 3 * len(expected) / 100


@pytest.mark.parametrize(
    ("entries", "requests"), [(1, 1), (100, 1), (101, 2), (200, 2), (300, 3), (301, 4), (600, 12)]
)
def test_what_is_asked_to_split_a_directory_pays_for_itself(entries, requests):
    world, _ = _list(_Names([f"{number:06d}" for number in range(entries)]))

    assert len(world.objects) == entries
    assert world.requests <= requests


def test_ten_times_as_fast_is_a_directory_of_a_million_with_pages_of_50_ms():
    world, seconds = _list(parse_spec("flat:1000000"), limit=10_000)

    assert len(world.objects) == len(set(world.objects)) == 1_000_000
    assert seconds < 100 * 0.05 / 10


def test_a_million_folders_are_split_like_files():
    contents = _Names(
        [f"{number}.txt" for number in range(300)], [f"{number:07d}" for number in range(20_000)]
    )
    world = ListingWorld(source(list_limit=100), contents)
    world._take = _without_descent(world)

    seconds = world.run()

    assert len(world.directories) == len(set(world.directories)) == 20_000
    assert len(world.objects) == len(set(world.objects)) == 300
    assert seconds < 203 * 0.05 / 3


def _without_descent(world):
    take = world._take

    def only_here(page):
        return [position for position in take(page) if position.directory == b""]

    return only_here


def test_cursors_that_cannot_be_forged_are_followed_serially():
    world, _ = _list(parse_spec("flat:5000"), Sealed(RowKeys("demo")))

    assert world.failed == []
    assert len(world.objects) == len(set(world.objects)) == 5000
    assert world.requests == 50


def test_small_directories_cost_no_request_more():
    world, _ = _list(parse_spec("flat:100"))
    assert world.requests == 1
    world, _ = _list(parse_spec("flat:150"))
    assert world.requests == 2


def _forged(contents, ask, cursors):
    if not ask.cursor:
        return None
    position = cursors.decode(ask.folder, ask.cursor)
    names = contents.sorts[position.folders]
    at = bisect.bisect_left(names, position.name)
    return None if at < len(names) and names[at] == position.name else position


@pytest.mark.parametrize("after_requests", [2, 3, 5])
@pytest.mark.parametrize("skipped", [1, 30])
def test_a_gap_behind_forged_cursors_is_noticed_and_filled(skipped, after_requests):
    """The probe passes; later the service leaves out entries behind each cursor that names none."""
    contents, cursors, seen = _Names([f"{number:06d}" for number in range(10_000)]), RowKeys("demo"), []

    def spoil(ask, page):
        seen.append(ask)
        if len(seen) > after_requests and not ask.desc and _forged(contents, ask, cursors):
            del page.entries[:skipped]
        return page

    world, _ = _list(contents, cursors, spoil)

    assert world.failed == []
    assert sorted(world.objects) == _keys(contents)
    assert world.requests < 300


def _keys(contents):
    return [name.encode() for name in contents.sorts[False]]


@pytest.mark.parametrize("seed", range(4))
def test_a_service_that_changes_its_mind_about_forged_cursors_has_each_entry_listed_once(seed):
    """Each answer leaves out some entries, or gives some from before, or none, and not the same when asked again."""
    chance = random.Random(seed)
    contents, cursors, seen = _Names([f"{number:06d}" for number in range(10_000)]), RowKeys("demo"), []

    def spoil(ask, page):
        seen.append(ask)
        position = _forged(contents, ask, cursors)
        if len(seen) > 3 and not ask.desc and position:
            if chance.random() < 0.1:
                page.entries[:0] = contents.scan(folders=False, after=position.name, limit=2, desc=True)[::-1]
            else:
                del page.entries[: chance.choice([0, 1, 30, 99, 350, 1000])]
        return page

    world, _ = _list(contents, cursors, spoil)

    assert world.failed == []
    assert sorted(world.objects) == _keys(contents)


@pytest.mark.parametrize("lie", ["refused", "ascending"])
def test_gaps_are_filled_also_where_descending_order_is_no_longer_had(lie):
    contents, cursors, seen = _Names([f"{number:06d}" for number in range(5000)]), RowKeys("demo"), []

    def spoil(ask, page):
        seen.append(ask)
        if len(seen) <= 3:
            return page
        if ask.desc and lie == "refused":
            return answer(403, b'{"msg":"no","code":40300014,"id":"1"}')
        if ask.desc:
            after = cursors.decode(ask.folder, ask.cursor).name if ask.cursor else None
            page.entries = contents.scan(folders=False, after=after, limit=ask.limit)
        elif _forged(contents, ask, cursors):
            del page.entries[:7]
        return page

    world, _ = _list(contents, cursors, spoil)

    assert world.failed == []
    assert sorted(world.objects) == _keys(contents)


def test_an_end_told_too_early_in_a_range_is_not_believed():
    contents, cursors, lies = _Names([f"{number:06d}" for number in range(10_000)]), RowKeys("demo"), []

    def spoil(ask, page):
        position = cursors.decode(ask.folder, ask.cursor) if ask.cursor else None
        if position and not ask.desc and "003000" < position.name < "006000":
            lies.append(ask)
            page.body_cursor = page.header_cursor = "g2gCZAAEbmV4dGQAA2VvZg"
        return page

    world, _ = _list(contents, cursors, spoil)

    assert lies
    assert len(world.objects) == len(set(world.objects)) > 5000


def test_an_overlap_behind_forged_cursors_is_noticed_and_the_directory_listed_serially():
    contents, cursors, seen = _Names([f"{number:06d}" for number in range(10_000)]), RowKeys("demo"), []

    def spoil(ask, page):
        seen.append(ask)
        if len(seen) > 3 and not ask.desc and _forged(contents, ask, cursors):
            page.entries[:0] = contents.scan(folders=False, after=None, limit=3)
        return page

    world, _ = _list(contents, cursors, spoil)

    assert world.failed == []
    assert sorted(world.objects) == _keys(contents)


@pytest.mark.parametrize("refused", [40001005, 40300014])
def test_a_service_that_refuses_descending_order_is_listed_serially(refused):
    def spoil(ask, page):
        return answer(refused // 100_000, b'{"msg":"no","code":%d,"id":"1"}' % refused) if ask.desc else page

    world, _ = _list(parse_spec("flat:5000"), spoil=spoil)

    assert world.failed == []
    assert len(world.objects) == len(set(world.objects)) == 5000


def test_a_service_that_ignores_descending_order_is_listed_serially():
    contents = _Names([f"{number:06d}" for number in range(5000)])

    def spoil(ask, page):
        if ask.desc:
            page.entries = contents.scan(folders=False, after=None, limit=2)
        return page

    world, _ = _list(contents, spoil=spoil)

    assert world.failed == []
    assert len(world.objects) == len(set(world.objects)) == 5000


@pytest.mark.parametrize("seed", range(5))
def test_what_stays_while_others_come_and_go_is_listed(seed):
    chance = random.Random(seed)
    names = [f"{number:06d}" for number in range(20_000)]
    contents, steady = _Names(names), set(names[::2])

    def spoil(_ask, page):
        files = contents.sorts[False]
        for _ in range(20):
            gone = chance.choice(files)
            if gone not in steady:
                files.remove(gone)
            bisect.insort(files, f"{chance.randrange(20_000):06d}-new")
        return page

    world, _ = _list(contents, spoil=spoil)

    assert world.failed == []
    assert {name.encode() for name in steady} <= set(world.objects)
    assert len(world.objects) == len(set(world.objects))


def test_every_position_of_a_run_has_a_cursor_of_its_own():
    world = ListingWorld(source(list_limit=100), _Names(_FAMILIES["clustered"]))
    seen, read = [], world._read

    def noting(position):
        seen.append(position.cursor)
        return read(position)

    world._read = noting
    world.run()

    assert len(seen) == len(set(seen))


def test_a_later_run_cuts_at_the_same_places():
    def cursors_of(count):
        world = ListingWorld(source(list_limit=100), _Names([f"{number:06d}" for number in range(count)]))
        seen, read = set(), world._read

        def noting(position):
            seen.add(position.cursor)
            return read(position)

        world._read = noting
        world.run()
        return seen

    first, again, grown = cursors_of(30_000), cursors_of(30_000), cursors_of(30_005)

    assert first == again
    assert len(first & grown) > 0.75 * len(first)


def test_row_keys_are_those_of_the_contract():
    keys = SourceRowKeys("demo-bucket", b"photos/2016")

    assert keys.cursor(b"@#a b.jpg") == "ZGVtby1idWNrZXQvfnBob3Rvcy9+MjAxNi9AI2EgYi5qcGc="
    assert SourceRowKeys("demo-bucket", b"").cursor(b"@#foo.jpg") == "ZGVtby1idWNrZXQvQCNmb28uanBn"
    marker = "c3F1aXJyZWwvfndvcmRTcGxpdC9+eG1sL34yMDE2MTIyMC9AfkZGODA4MDgxNTkxOUExNTEwMTU5MTlEN0RDOEYwMDM2"
    squirrel = SourceRowKeys("squirrel", b"wordSplit/xml/20161220")
    assert squirrel.row(marker) == b"@~FF8080815919A151015919D7DC8F0036"
    assert keys.row(marker) is None
    assert keys.row("g2gCZAAEbmV4dGQAA2VvZg") is None
    assert keys.row("not base64!") is None


def test_a_row_between_two_is_between_them():
    assert between(b"@#a", b"@#b") == b"@#a "
    assert between(b"@#a", b"@#a ") is None


def test_a_stage_that_is_not_understood_is_listed_serially():
    assert stage_of(Position(b"d", "c", "nonsense")).kind == "serial"
