import json
import re
import time

import pytest

from upyun_simulator.buckets import ODD_NAMES
from upyun_simulator.contents import FOLDER
from upyun_simulator.overlay import Overlay
from upyun_simulator.spec import parse_spec


def walk_by_listing(contents, path="", limit=3):
    """Find every key through pages of few entries, in both orders, and check that they agree."""
    found = []
    folder = contents.folder(path)
    for folders in (False, True):
        names = {}
        for desc in (False, True):
            after, rows = None, []
            while page := folder.scan(folders=folders, after=after, limit=limit, desc=desc):
                assert len(page) <= limit
                rows += page
                after = page[-1].name
            names[desc] = [row.name for row in rows]
        assert names[False] == names[True][::-1]
        assert names[False] == sorted(names[False], key=str.encode)
        for row in rows:
            assert (row.type == FOLDER) == folders
            if folders:
                found += walk_by_listing(contents, f"{path}{row.name}/", limit)
            else:
                item = contents.item(path + row.name)
                assert (row.length, row.last_modified, row.type) == (item.size, item.mtime, item.type)
                found.append(path + row.name)
    return found


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ("flat:0", 0),
        ("flat:1", 1),
        ("flat:101,size=1", 101),
        ("flat:7,dir=a/b c/中", 7),
        ("tree:dirs=1,files=2", 2),
        ("tree:dirs=30,files=2,depth=3", 60),
        ("tree:dirs=1001,files=0,depth=2", 0),
        ("tree:dirs=12,files=1,depth=1", 12),
        ("x=flat:3;y z=tree:dirs=4,files=2", 11),
        ("odd", 190),
    ],
)
def test_walking_and_listing_find_the_same_objects_once(spec, count):
    contents = Overlay(parse_spec(spec))

    walked = [item.key for item in contents.walk()]

    assert sorted(walked) == sorted(walk_by_listing(contents))
    assert len(walked) == len(set(walked))
    assert len(walked) >= count if spec == "odd" else len(walked) == count


def test_the_demo_bucket_looks_real():
    items = list(parse_spec("demo").walk())

    assert sum(item.type.startswith("image/") for item in items) == 10_000
    assert sum(item.size > 10 << 20 for item in items) == 4
    assert any("商品" in item.key for item in items)
    assert parse_spec("demo").folder("空文件夹/") is not None


def test_the_odd_bucket_has_every_kind_of_awkward_name():
    keys = {item.key for item in parse_spec("odd").walk()}

    assert set(ODD_NAMES) <= keys
    assert {"twice", "twice/inside.jpg", "../../etc/passwd", "a//b.jpg", "/leading slash.jpg"} <= keys
    assert max(len(key.rpartition("/")[2].encode()) for key in keys) > 255
    assert max(len(key.encode()) for key in keys) > 4096
    assert any(item.size == 0 for item in parse_spec("odd").walk())


@pytest.mark.parametrize("spec", ["flat:5000", "tree:dirs=500,files=9", "flat:3000000,size=10", "demo"])
def test_usage_is_the_sum_of_the_sizes(spec):
    contents = parse_spec(spec)

    exact = 30_000_000 if "3000000" in spec else sum(item.size for item in contents.walk())

    assert contents.usage() == exact


def test_ten_million_entries_and_a_million_folders_cost_nothing_to_start_with():
    began = time.process_time()

    flat, tree = parse_spec("flat:10000000"), parse_spec("tree:dirs=1000000,files=5")
    page = flat.folder("").scan(folders=False, after="img-7654321.jpg", limit=10_000)
    leaf = tree.folder("d99/d99/d99/")

    assert page[0].name == "img-7654322.jpg"
    assert len(page) == 10_000
    assert [row.name for row in leaf.scan(folders=False, after=None, limit=9)] == [
        f"img-{n}.jpg" for n in range(5)
    ]
    assert tree.folder("d99/d99/d100/") is None
    assert tree.folder("d99/d99/d99/img-0.jpg/") is None
    assert flat.usage() > 10_000_000
    assert time.process_time() - began < 0.5


def test_seeds_change_sizes_and_equal_seeds_do_not():
    sizes = {seed: [item.size for item in parse_spec(f"flat:50,seed={seed}").walk()] for seed in (1, 2)}

    assert sizes[1] == [item.size for item in parse_spec("flat:50,seed=1").walk()]
    assert sizes[1] != sizes[2]


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "flat",
        "flat:x",
        "flat:5,color=red",
        "tree:dirs=x",
        "nonsense:3",
        "flat:5,size=big",
        "flat:5,size=normal:1",
    ],
)
def test_a_wrong_spec_says_what_is_wrong(spec):
    with pytest.raises(ValueError, match=r"use|must|write"):
        parse_spec(spec)


@pytest.mark.parametrize("form", ["json", "toml"])
def test_a_manifest_holds_objects_folders_and_mounts(tmp_path, form):
    manifest = tmp_path / f"bucket.{form}"
    if form == "json":
        objects = {"a/b.jpg": {"size": "2KiB", "mtime": 5, "meta": {"foo": "bar"}}, "c": 7}
        manifest.write_text(
            json.dumps({"objects": objects, "folders": ["empty"], "mounts": {"big/": "flat:20"}})
        )
    else:
        manifest.write_text(
            'folders = ["empty"]\n[objects]\nc = 7\n"a/b.jpg" = {size = "2KiB", mtime = 5, meta = {foo = "bar"}}\n'
            '[mounts]\n"big/" = "flat:20"\n'
        )

    contents = parse_spec(f"manifest:{manifest}")

    item = contents.item("a/b.jpg")
    assert (item.size, item.mtime, item.type, item.meta) == (2048, 5, "image/jpeg", (("foo", "bar"),))
    assert contents.item("c").size == 7
    assert contents.item("big/img-07.jpg").key == "big/img-07.jpg"
    assert len(list(contents.walk())) == 22
    assert contents.folder("empty/") is not None


@pytest.mark.parametrize(
    "text", ['{"object": {}}', '{"objects": {"a": {"sise": 1}}}', "[", '{"objects": {"a": "large"}}']
)
def test_a_wrong_manifest_is_named(tmp_path, text):
    manifest = tmp_path / "bucket.json"
    manifest.write_text(text)

    with pytest.raises(ValueError, match=r"bucket\.json|large"):
        parse_spec(f"manifest:{manifest}")


class TestOverlay:
    def test_a_touched_object_has_other_bytes_and_a_later_time(self):
        contents = Overlay(parse_spec("flat:10"))
        before = contents.item("img-3.jpg")

        contents.put("img-3.jpg")

        after = contents.item("img-3.jpg")
        assert (after.version, after.size, after.mtime) == (1, before.size, before.mtime + 3600)
        assert [i.version for i in contents.walk()].count(1) == 1

    def test_added_and_deleted_objects_are_listed_as_they_are(self):
        contents = Overlay(parse_spec("flat:10"))

        contents.put("img-35.jpg", 5)
        contents.put("new/deep/x.jpg", 6)
        contents.delete("img-4.jpg")
        contents.delete("img-0.jpg")

        keys = walk_by_listing(contents)
        assert sorted(keys) == sorted(item.key for item in contents.walk())
        assert set(keys) == {f"img-{n}.jpg" for n in (1, 2, 3, 5, 6, 7, 8, 9)} | {
            "img-35.jpg",
            "new/deep/x.jpg",
        }
        assert not contents.delete("img-4.jpg")

    def test_usage_follows(self):
        contents = Overlay(parse_spec("flat:10,size=100"))

        contents.put("more", 11)
        contents.put("img-1.jpg", 50)
        contents.delete("img-2.jpg")

        assert contents.usage() == 1000 + 11 - 50 - 100
        assert contents.usage() == sum(item.size for item in contents.walk())

    def test_usage_follows_a_folder_that_is_deleted(self):
        contents = Overlay(parse_spec("tree:dirs=4,files=3,depth=1,size=100"))
        contents.put("d0/new.jpg", 50)
        contents.put("d0/img-0.jpg", 70)

        contents.delete("d0/")

        assert contents.usage() == 9 * 100 == sum(item.size for item in contents.walk())

    def test_a_deleted_folder_is_gone_with_all_in_it(self):
        contents = Overlay(parse_spec("tree:dirs=4,files=2,depth=2"))

        assert contents.delete("d0/")

        assert contents.folder("d0/") is None
        assert contents.folder("d0/d1/") is None
        assert contents.item("d0/d1/img-0.jpg") is None
        assert len(walk_by_listing(contents)) == 4
        with pytest.raises(ValueError, match="deleted"):
            contents.put("d0/x", 1)

    def test_an_object_put_again_after_its_deletion_is_there_once(self):
        contents = Overlay(parse_spec("flat:4"))

        contents.delete("img-1.jpg")
        contents.put("img-1.jpg", 9)

        assert walk_by_listing(contents).count("img-1.jpg") == 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("flat:-5", "flat is '-5': it must be a whole number from 0 to 1,000,000,000,000"),
        ("flat:9999999999999", "from 0 to"),
        ("flat:3,seed=x", "seed is 'x'"),
        ("tree:dirs=-1", "dirs is '-1'"),
        ("tree:dirs=9,depth=0", "depth is '0': it must be a whole number from 1 to 64"),
        ("flat:3,size=uniform:9:3", "must not be above"),
        ("flat:3,size=lognormal:9:x", "sigma is 'x'"),
    ],
)
def test_a_number_that_makes_no_bucket_is_refused_by_its_name(spec, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_spec(spec)
