"""A whole bucket of a real gateway comes down, each key as it is; a second time nothing; through kills; and what is wrong is said."""

import os

import pytest
from tests.s3.conftest import ODD_KEYS
from tests.servers.ceph import Ceph


def _objects(count: int) -> dict[bytes, bytes]:
    return {b"img/%03d/%05d.jpg" % (number % 40, number): b"%d;" % number * 40 for number in range(count)}


def test_a_bucket_of_odd_and_ordinary_keys_comes_down_once(ceph, bucket, puller):
    objects = (
        {key: b"<" + key for key in ODD_KEYS}
        | _objects(2_000)
        | {b"empty": b"", b"large": os.urandom(12 << 20)}
    )
    ceph.fill(bucket, objects.items())

    summary = puller.sync()

    assert (summary["stored"], summary["failed"]) == (len(objects), 0)
    assert puller.objects() == objects
    again = puller.sync()
    assert (again["stored"], again["skipped"]) == (0, len(objects))


def test_what_was_pulled_is_found_verified_and_exported(ceph, bucket, puller):
    ceph.fill(bucket, {b"a/../b+%": b"odd", b"img/1.jpg": b"usual"}.items())
    puller.sync()

    assert "/a/%~%2E%2E/b+%  " in puller.command("where", "a/../b+%")
    puller.run(*puller.arguments()[:3], "verify", str(puller.volume))
    assert '"key":"a/../b+%"' in puller.command("export", "--format", "jsonl")


def test_only_a_changed_object_is_fetched_again(ceph, bucket, puller):
    ceph.fill(bucket, _objects(300).items())
    puller.sync()
    ceph.put(bucket, b"img/007/00007.jpg", b"new")
    summary = puller.sync()
    assert summary["stored"] == 1
    assert puller.objects()[b"img/007/00007.jpg"] == b"new"


def test_files_that_are_there_are_taken_over_by_the_listed_md5(ceph, bucket, puller):
    objects = _objects(300)
    ceph.fill(bucket, objects.items())
    for key, body in list(objects.items())[:200]:
        path = puller.volume / key.decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body if key != b"img/007/00007.jpg" else body[::-1])

    summary = puller.sync("--adopt")

    assert (summary["stored"], summary["skipped"], summary["failed"]) == (101, 199, 0)
    kept = puller.volume / "img/007/00007.jpg.kept"
    assert kept.read_bytes() == objects[b"img/007/00007.jpg"][::-1]
    kept.unlink()
    assert puller.objects() == objects


def test_a_prefix_is_a_folder_and_keys_stay_whole(ceph, bucket, puller):
    ceph.fill(bucket, {b"a/1": b"1", b"a//2": b"2", b"ab/3": b"3", b"a": b"4", b"a/": b"5"}.items())
    puller.bucket += "/a"
    assert puller.sync()["stored"] == 3
    assert puller.objects() == {b"a/1": b"1", b"a//2": b"2", b"a/": b"5"}


def test_a_kill_costs_no_object(ceph, bucket, puller):
    objects = _objects(2_000)
    ceph.fill(bucket, objects.items())
    for seen in (1, 500):
        puller.kill_at(seen, "--rate", "800")
    summary = puller.sync()
    assert puller.objects() == objects
    assert summary["listed"] == len(objects)
    assert puller.sync()["stored"] == 0


@pytest.mark.soak
def test_a_hundred_thousand_odd_and_ordinary_keys_come_down_through_kills(tmp_path, make_puller):
    objects = {key: b"<" + key for key in ODD_KEYS} | _objects(99_000)
    odd = [b"%s-%d/%s" % (key[:900], number, key[:100]) for number in range(20) for key in ODD_KEYS]
    objects |= {key: b"(" + key for key in odd}
    with Ceph(tmp_path / "gateway") as ceph:
        ceph.make_bucket("many")
        ceph.fill("many", objects.items())
        puller = make_puller(ceph.url, "many", ceph.environment)
        for seen in (1, len(objects) // 4, len(objects) // 2):
            puller.kill_at(seen)
        summary = puller.sync()
        again = puller.sync()

    assert (summary["listed"], summary["failed"]) == (len(objects), 0)
    assert puller.objects() == objects
    assert (again["stored"], again["skipped"]) == (0, len(objects))


def test_a_public_bucket_needs_no_keys(ceph, make_puller):
    ceph.make_bucket("public", public=True)
    ceph.fill("public", {b"a b": b"1"}.items())
    puller = make_puller(ceph.url, "public", {}, "--anonymous")
    puller.sync()
    assert puller.objects() == {b"a b": b"1"}


@pytest.mark.parametrize(
    ("environment", "options", "expect", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, [], 4, "SignatureDoesNotMatch"),
        (
            {"AWS_ACCESS_KEY_ID": "NOBODY"},
            [],
            4,
            "; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (s3://",
        ),
        ({}, ["--anonymous"], 4, "AccessDenied"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, [], 2, "no keys; set AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, [], 2, "AWS_SECRET_ACCESS_KEY is not set"),
    ],
)
def test_who_may_not_read_is_told_why(puller, environment, options, expect, words):
    puller.environment = puller.environment | environment
    assert words in puller.refused(*options, expect=expect)


_AT_ANOTHER_TIME = """
import runpy, sys, time
ours, hours = time.time, int(sys.argv.pop(1))
time.time = lambda: ours() + 3600 * hours
runpy.run_module("bucketpull", run_name="__main__", alter_sys=True)
"""


def test_a_machine_whose_clock_is_wrong_learns_the_services_time(ceph, bucket, puller):
    objects = _objects(120)
    ceph.fill(bucket, objects.items())
    python, *arguments = puller.arguments()
    assert arguments[:2] == ["-m", "bucketpull"]

    puller.run(python, "-c", _AT_ANOTHER_TIME, "30", *arguments[2:])

    summary = puller.summary()
    assert summary["failed"] == 0
    assert list(summary["retries"]) == ["clock"]
    assert puller.objects() == objects


def test_a_bucket_that_does_not_exist_is_named(puller):
    puller.bucket = "no-such-bucket"
    said = puller.refused()
    assert "there is no such bucket" in said
    assert "s3://no-such-bucket" in said
