"""`sync --dry-run` says what a sync would do, and leaves no trace."""

import json

SPEC = "a=flat:30,size=1KiB;b=flat:20,size=2KiB"


def forecast(job, *options):
    process = job.start("--dry-run", "--json", *options)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "a dry run writes no file\n" in errors, "it was given --json already"
    return json.loads(said)


def test_it_says_what_would_be_done_and_makes_nothing(make_job):
    job = make_job(SPEC)

    found = forecast(job, "--exclude", "/b/")

    assert (found["listed"], found["stored"], found["bytes"]) == (30, 30, 30 * 1024)
    assert not job.state.exists()
    assert not job.volumes[0].exists()
    assert "cdn.get" not in job.simulator.counters()["requests"]


def test_what_is_in_place_would_be_skipped_and_what_changed_stored(make_job):
    job = make_job(SPEC, volumes=2)
    job.sync("--exclude", "b/img-0*")
    first = next(item.key for item in job.simulator.contents.walk() if item.key.startswith("a/"))
    job.simulator.mutate(touch=[first])

    found = forecast(job, "--exclude", "b/img-19.jpg")

    real = job.sync("--exclude", "b/img-19.jpg")
    names = ("stored", "skipped", "excluded", "listed", "bytes")
    assert [found[name] for name in names] == [real[name] for name in names]
    assert real["stored"] == 11


def test_another_jobs_volume_is_refused_here_too(make_job):
    job = make_job(SPEC)
    job.sync()
    process = job.start("--dry-run", "--state", str(job.folder / "other"))
    _, told = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "objects of the job of" in told


def test_a_journal_of_another_job_is_refused_here_too(make_job):
    """It told what would be stored; the same command without --dry-run was refused."""
    job = make_job(SPEC)
    job.sync()

    process = job.start("--dry-run", "--style", "!s400")
    _, told = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "is of another job" in told
    assert "style was '' and is '!s400'" in told
