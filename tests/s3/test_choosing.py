"""What a job wants of an S3 bucket, what it would do, and what goes when the bucket has lost it."""

import json

OBJECTS = {
    b"%s/%02d.jpg" % (folder, number): b"x" * (10 if folder == b"a" else 5000)
    for folder in (b"a", b"b/c")
    for number in range(20)
}
OBJECTS[b"b//odd"] = b"odd"


def test_rules_and_sizes_choose_and_what_is_left_out_is_counted(ceph, bucket, puller):
    ceph.fill(bucket, OBJECTS.items())

    first = puller.sync("--include", "/b/**", "--exclude", "1?.jpg", "--max-size", "5K")
    assert (first["stored"], first["excluded"], first["listed"]) == (11, 30, 41)
    assert puller.objects().keys() == {key for key in OBJECTS if key.startswith(b"b/") and b"/1" not in key}

    forecast = json.loads(puller.run(*puller.arguments("--dry-run", "--json")).stdout)
    rest = puller.sync()
    assert (rest["stored"], rest["skipped"]) == (30, 11)
    assert (forecast["stored"], forecast["skipped"]) == (30, 11)
    assert puller.objects() == OBJECTS


def test_what_the_bucket_has_lost_is_pruned(ceph, bucket, puller):
    ceph.fill(bucket, OBJECTS.items())
    puller.sync()
    gone = [b"a/03.jpg", b"b//odd"]
    for key in gone:
        ceph.delete(bucket, key)

    prune = [*puller.arguments()[:3], "prune", str(puller.volume), "--state", str(puller.folder / "state")]
    told = puller.run(*prune, "--delete", "--max-delete", "10%").stdout

    assert len(told.splitlines()) == 2
    assert puller.objects() == {key: body for key, body in OBJECTS.items() if key not in gone}
