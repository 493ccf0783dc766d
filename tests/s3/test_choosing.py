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

    (puller.folder / "rules").write_text("+ /b/**\n")
    rules = str(puller.folder / "rules")
    first = puller.sync("--rules-file", rules, "--exclude", "1?.jpg", "--max-size", "5K", "--newer", "1d")
    assert (first["stored"], first["excluded"], first["listed"]) == (11, 30, 41)
    assert puller.objects().keys() == {key for key in OBJECTS if key.startswith(b"b/") and b"/1" not in key}

    forecast = json.loads(puller.run(*puller.arguments("--dry-run", "--json")).stdout)
    rest = puller.sync()
    assert (rest["stored"], rest["skipped"]) == (30, 11)
    assert (forecast["stored"], forecast["skipped"]) == (30, 11)
    assert puller.objects() == OBJECTS


def test_files_that_are_there_are_taken_over_by_the_md5_that_the_listing_states(ceph, bucket, puller):
    ceph.fill(bucket, OBJECTS.items())
    for key, body in OBJECTS.items():
        if key.startswith(b"a/"):
            path = puller.volume / key.decode()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"y" * len(body) if key == b"a/07.jpg" else body)

    summary = puller.sync("--adopt")

    assert (summary["skipped"], summary["stored"]) == (19, 22)
    kept = (puller.volume / "a/07.jpg.kept").rename(puller.folder / "kept")
    assert kept.read_bytes() == b"y" * 10
    assert puller.objects() == OBJECTS


def test_what_the_bucket_has_lost_is_pruned(ceph, bucket, puller):
    ceph.fill(bucket, OBJECTS.items())
    puller.sync()
    gone = [b"a/03.jpg", b"b//odd"]
    for key in gone:
        ceph.delete(bucket, key)

    prune = [*puller.arguments()[:3], "prune", str(puller.volume), "--state", str(puller.folder / "state")]
    assert len(puller.run(*prune).stdout.splitlines()) == 2
    assert puller.objects() == OBJECTS, "nothing goes unless told so"
    told = puller.run(*prune, "--delete", "--max-delete", "10%", "--keep-for", "30d").stdout

    assert len(told.splitlines()) == 2
    (kept,) = puller.volume.glob(".bucketpull/trash/until-*")
    assert (kept / "a/03.jpg").read_bytes() == OBJECTS[b"a/03.jpg"]
    assert puller.objects() == {key: body for key, body in OBJECTS.items() if key not in gone}


def test_order_a_trial_a_budget_and_prices_are_of_s3_too(ceph, bucket, puller):
    ceph.fill(bucket, OBJECTS.items())

    puller.sync("--first", "b/,a/", "--limit", "5", expect=6)
    assert len(puller.objects()) == 5
    assert all(key.startswith(b"b/") for key in puller.objects())
    puller.sync("--max-requests", "2", expect=6)
    puller.sync("--max-bytes", "1K", expect=6)
    assert len(puller.objects()) == 5, "what an earlier run used counts"

    spent = puller.sync("--price-per-gb", "1000", "--price-per-10k", "10")["spent"]

    assert puller.objects() == OBJECTS
    assert spent["requests"] > 0
    assert abs(spent["cost"] - spent["bytes"] / 1e6 - spent["requests"] / 1000) < 1e-3


def test_a_volume_is_of_one_job_and_may_hold_its_journal(ceph, bucket, puller):
    ceph.fill(bucket, OBJECTS.items())
    state = str(puller.volume / "journal")
    puller.sync("--state", state)

    refused = puller.run(*puller.arguments("--state", str(puller.folder / "another")), expect=2).stderr

    assert f"has {len(OBJECTS)} objects of the job of s3://{bucket}" in refused
    assert puller.run(*puller.arguments()[:3], "verify", str(puller.volume), "--json").stdout == ""
