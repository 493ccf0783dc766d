"""Taking over files of others, pruning, emptying the trash and compacting, while somebody swaps links before every call.

`test_hostile` has the rest, and how it is done.
"""

import hashlib
import itertools
import os
import shutil
from contextlib import ExitStack, closing, suppress

import pytest
from tests.volumes.filling import SMALL_PACKS, Filler, bodies
from tests.volumes.test_hostile import SwapOfTheirs, picture

from bucketpull.domain.batching import batch_of
from bucketpull.domain.errors import BucketpullError
from bucketpull.domain.model import Part
from bucketpull.volumes import key_index
from bucketpull.volumes.identity import HOME, initialise
from bucketpull.volumes.ledger import Gone
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.packs.compacting import Compaction, find_waste
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.volume import open_volume

BODY, OTHER = b"ours", b"else"
NAMES = (b"x", b"y", b"z")
PAST, FUTURE = "until-20200101T000000Z", "until-99990101T000000Z"


@pytest.fixture
def outside(tmp_path):
    """A folder of somebody who has not asked for anything: it holds what the volume holds, and as a volume does."""
    folder = tmp_path / "outside"
    for name in ("e", "tmp", "partial", "intents", "packs", "keys", FUTURE, f"{PAST}/d"):
        (folder / name).mkdir(parents=True)
    for name in (
        "x",
        "y",
        "z",
        "x.kept",
        "e/x",
        f"{FUTURE}/x",
        f"{PAST}/d/x",
        "0-1.keys",
        "SHA256SUMS",
        "0.lock",
    ):
        (folder / name).write_bytes(BODY)
    for path in folder.rglob("*"):
        os.utime(path, (5, 5))
    return folder


def listed():
    return [Part(b"d", "", list(NAMES), [4] * 3, [5] * 3, [hashlib.md5(BODY).hexdigest()] * 3)]


def lay(root, *names):
    """Put files of others where objects belong: one is the object, the others are not."""
    for name in names:
        path = root / "d" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(BODY if name == "x" else OTHER)
        os.utime(path, (5, 5.5 if name == "z" else 5))


def with_foreign(root):
    initialise(str(root))
    lay(root, "x", "y", "z")


def adopt(root):
    with closing(open_volume(str(root))) as volume:
        for adopts in ("md5", "date"):
            volume.inspect(listed(), adopts)
        volume.clear(batch_of(listed()))


def with_files(root):
    initialise(str(root))
    with Filler(root) as filler:
        filler.store({(b"d", name): BODY for name in NAMES} | {(b"d/e", b"x"): BODY})


def with_packs(root):
    initialise(str(root))
    with Filler(root, SMALL_PACKS) as filler:
        filler.store(bodies(3))


def with_trash(root):
    with_files(root)
    prune(root, PAST)


def prune(root, trash=FUTURE):
    with ExitStack() as stack:
        volume = stack.enter_context(closing(open_volume(str(root))))
        reader = stack.enter_context(closing(open_reader(str(root))))
        gone = [Gone(*entry) for entry in LiveObjects(reader, str(root.parent)).entries()]
        volume.prune(gone, trash)


def empty_trash(root):
    with closing(open_volume(str(root))) as volume:
        for name in volume.trash.expired():
            volume.trash.empty(name)


def with_dead(root):
    initialise(str(root))
    with Filler(root, SMALL_PACKS) as filler:
        filler.store(bodies(12))
        filler.store(bodies(6))


def compact(root):
    with ExitStack() as stack:
        volume = stack.enter_context(closing(open_volume(str(root))))
        reader = stack.enter_context(closing(open_reader(str(root))))
        live = LiveObjects(reader, str(root.parent))
        wasted = [waste for waste in find_waste(reader, live) if waste.is_much]
        list(map(Compaction(volume, reader, live, wasted).rewrite, wasted))


CASES = [
    (with_foreign, adopt, ("d", "d/x", "d/y", HOME, f"{HOME}/keys", f"{HOME}/kept.txt")),
    (
        with_files,
        prune,
        ("d", "d/e", "d/x", HOME, f"{HOME}/trash", f"{HOME}/trash/{FUTURE}", f"{HOME}/trash/{FUTURE}/d"),
    ),
    (with_packs, prune, ("packs", f"{HOME}/trash/{FUTURE}", f"{HOME}/trash/{FUTURE}/d")),
    (with_trash, empty_trash, (HOME, f"{HOME}/trash", f"{HOME}/trash/{PAST}", f"{HOME}/trash/{PAST}/d")),
    (with_dead, compact, ("packs", HOME, f"{HOME}/packs", "packs/SHA256SUMS")),
]
EVERY = [(filled, work, place) for filled, work, places in CASES for place in places]


def named(value):
    return getattr(value, "__name__", None) or (value if isinstance(value, str) else "")


@pytest.mark.parametrize(("filled", "work", "place"), EVERY, ids=named)
def test_whatever_is_swapped_before_a_call_nothing_outside_is_touched(tmp_path, outside, filled, work, place):
    swap_before_calls(tmp_path, outside, filled, work, place, stride=3)


@pytest.mark.soak
@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize(("filled", "work", "place"), EVERY, ids=named)
def test_so_it_is_before_every_other_call(tmp_path, outside, filled, work, place, start):
    swap_before_calls(tmp_path, outside, filled, work, place, stride=3, start=start)


def swap_before_calls(tmp_path, outside, filled, work, place, *, stride, start=0):
    model = tmp_path / "model"
    model.mkdir()
    filled(model)
    before = picture(outside)
    for step in itertools.count(start, stride):
        inside = tmp_path / "inside"
        shutil.copytree(model, inside, symlinks=True)
        swap = SwapOfTheirs(inside / place, outside, step)
        with swap.around(), suppress(BucketpullError, OSError):
            work(inside)
        assert picture(outside) == before, f"{place} before call {step}"
        shutil.rmtree(inside)
        if swap.left >= 0:
            break
    assert step > 1


@pytest.mark.parametrize(
    ("filled", "work", "outcome"),
    [
        (with_foreign, adopt, {"d/x", "d/y.kept", "d/z.kept"}),
        (with_files, prune, {f"{HOME}/trash/{FUTURE}/d/{name}" for name in ("x", "y", "z", "e/x")}),
        (with_trash, empty_trash, set()),
    ],
    ids=named,
)
def test_where_nobody_swaps_anything_it_is_done(tmp_path, filled, work, outcome):
    filled(tmp_path)
    work(tmp_path)
    bodies_left = {
        path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() in {BODY, OTHER}
    }
    assert {str(path.relative_to(tmp_path)) for path in bodies_left} == outcome


def test_an_index_of_keys_that_somebody_linked_elsewhere_while_our_directory_was_open_to_all_is_not_used(
    tmp_path, outside, monkeypatch
):
    monkeypatch.setattr(key_index, "_SEGMENT_BYTES", 0)
    root = tmp_path / "inside"
    root.mkdir()
    with_files(root)
    (root / HOME / "keys").symlink_to(outside)
    lay(root, "x", "y", "z")
    before = picture(outside)
    with suppress(BucketpullError, OSError):
        adopt(root)
    assert picture(outside) == before
