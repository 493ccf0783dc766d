"""Two jobs on one disk: refused before anything is made, with a way to go on; nothing is fetched twice or counted twice."""

import json

import pytest

SPEC = "a=flat:30,size=1KiB;b=flat:20,size=1KiB"


def another(job, source, state, *options, expect=0):
    """Sync another source, or with another journal, onto the same volumes."""
    job.source, before = source, job.source
    try:
        process = job.start("--state", str(job.folder / state), *options)
        _, told = process.communicate(timeout=60)
    finally:
        job.source = before
    assert process.returncode == expect, told
    return told


def whole(job):
    return f"upyun://{job.simulator.bucket}"


def fetched(job):
    return sum(job.simulator.counters()["requests"].get("cdn.get", {}).values())


def held(job, state):
    said = job.command("volumes", "--json", "--state", str(job.folder / state)).splitlines()
    return sum(json.loads(line)["stored_objects"] for line in said)


@pytest.mark.parametrize("part", ["/a", ""], ids=["prefix after the whole", "the same with another journal"])
def test_a_second_job_is_refused_before_anything_is_made(make_job, part):
    job = make_job(SPEC)
    job.sync()
    before = fetched(job)

    told = another(job, whole(job) + part, "other", expect=2)

    assert f"has 50 objects of the job of {whole(job)} with journal" in told
    assert "bucketpull rebuild" in told
    assert len(told.splitlines()) == 1
    assert not (job.folder / "other").exists()
    assert fetched(job) == before
    assert job.sync()["skipped"] == 50


def test_another_bucket_is_refused_and_cannot_be_rebuilt_either(make_job):
    job = make_job(SPEC)
    job.sync()

    told = another(job, "upyun://elsewhere", "other", expect=2)
    assert f"objects of the job of {whole(job)}" in told

    command = ["rebuild", "upyun://elsewhere", str(job.volumes[0]), "--state", str(job.folder / "other")]
    job.command(*command, expect=2)


def test_the_whole_after_a_prefix_goes_on_by_rebuild(make_job):
    job = make_job(SPEC)
    job.source = whole(job) + "/a"
    job.sync()
    assert fetched(job) == 30
    another(job, whole(job), "whole", expect=2)

    job.command("rebuild", whole(job), str(job.volumes[0]), "--state", str(job.folder / "whole"))
    another(job, whole(job), "whole")

    assert fetched(job) == 50
    assert held(job, "whole") == 50
    assert "objects of the job of" in another(job, job.source, "state", expect=2)


def test_two_folders_of_one_disk_are_two_volumes(make_job):
    job = make_job(SPEC)
    job.source = whole(job) + "/a"
    job.sync()
    first = job.volumes
    job.volumes = [job.folder / "second"]

    another(job, whole(job) + "/b", "other")

    assert len(job.files()) == 20
    job.volumes = first
    assert len(job.files()) == 30


def test_a_volume_on_which_nothing_was_stored_is_anybodys(make_job):
    job = make_job(SPEC)
    job.sync("--include", "nothing-is-named-so")

    another(job, whole(job), "other")

    assert len(job.files()) == 50


def test_a_volume_of_another_job_is_not_added(make_job):
    job = make_job(SPEC)
    job.sync()
    volume, job.volumes = job.volumes[0], [job.folder / "second"]
    another(job, whole(job) + "/a", "other")

    job.command("volumes", "add", str(volume), "--state", str(job.folder / "other"), expect=2)


def assert_each_has_its_own(job, inner):
    """Both volumes are as their ledgers say; each job counts its own objects, once."""
    for volume, state in ((job.volumes[0], "state"), (inner, "other")):
        assert (
            job.command("verify", str(volume), "--hash", "--json", "--state", str(job.folder / state)) == ""
        )
    assert (held(job, "state"), held(job, "other")) == (50, 30)


def test_a_volume_around_that_of_another_job_is_refused_before_anything_is_made(make_job):
    job = make_job(SPEC)
    outer, job.volumes = job.volumes, [job.volumes[0] / "a"]
    outer[0].mkdir()
    another(job, whole(job) + "/a", "other")
    inner, job.volumes = job.volumes[0], outer

    told = another(job, whole(job), "state", expect=2)

    assert f"volume {outer[0]}: the volume {inner} lies inside of it" in told
    assert len(told.splitlines()) == 1
    assert not job.state.exists()


def test_a_volume_that_was_moved_into_another_is_not_touched_by_the_others_job(make_job):
    job = make_job(SPEC)
    job.sync("--include", "/b/")
    outer, job.volumes = job.volumes, [job.folder / "second"]
    another(job, whole(job) + "/a", "other")
    inner = job.volumes[0].rename(outer[0] / "a")
    job.volumes = outer

    assert job.sync()["stored"] == 30
    job.simulator.mutate(touch=[item.key for item in job.simulator.contents.walk()][:10])
    assert job.sync()["stored"] == 10

    job.volumes = [inner]
    another(job, whole(job) + "/a", "other")
    job.volumes = outer
    assert_each_has_its_own(job, inner)
    assert job.sync()["skipped"] == 50
