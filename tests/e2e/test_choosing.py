"""What a job wants, and what it leaves: through the installed command, against a bucket that others would pull whole."""

import json
from collections.abc import Callable

import pytest
from tests.e2e.conftest import Job

SPEC = "2023=flat:30,size=1KiB;2024=flat:40,size=4KiB;tmp=flat:10,size=1KiB"


def keys(job: Job) -> list[str]:
    return [item.key for item in job.simulator.contents.walk()]


def requests(job: Job, kind: str) -> int:
    return sum(job.simulator.counters()["requests"].get(kind, {}).values())


def test_what_is_not_wanted_is_counted_and_not_fetched(make_job: Callable[..., Job]):
    job = make_job(SPEC)
    wanted = [key for key in keys(job) if key.startswith("2024/")]

    summary = job.sync("--include", "2024/**", "--exclude", wanted[3])

    assert sorted(job.files()) == sorted(set(wanted) - {wanted[3]})
    assert summary["complete"] is True
    assert (summary["stored"], summary["excluded"], summary["listed"]) == (39, 41, 80)


def test_the_last_rule_that_matches_decides(make_job: Callable[..., Job]):
    job = make_job(SPEC)

    job.sync("--exclude", "**", "--include", "/2023/**")

    assert sorted(job.files()) == sorted(key for key in keys(job) if key.startswith("2023/"))


def test_a_folder_in_which_nothing_is_wanted_is_not_listed(make_job: Callable[..., Job]):
    job = make_job(SPEC)
    whole = make_job(SPEC)

    job.sync("--exclude", "/2024/", "--exclude", "/tmp/")
    whole.state.parent.joinpath("other").mkdir()
    whole.options += ["--state", str(whole.folder / "other")]
    whole.volumes = [whole.folder / "other-volume"]
    whole.sync()

    assert requests(whole, "rest.list") - requests(job, "rest.list") == 2


def test_other_rules_on_the_same_job_fetch_only_what_is_new(make_job: Callable[..., Job]):
    job = make_job(SPEC)
    first = job.sync("--include", "2023/**")
    fetched = requests(job, "cdn.get")

    second = job.sync("--exclude", "tmp/")

    assert (first["stored"], second["stored"], second["skipped"]) == (30, 40, 30)
    assert requests(job, "cdn.get") - fetched == 40
    third = job.sync()
    assert (third["stored"], third["skipped"], third.get("excluded", 0)) == (10, 70, 0)
    job.check_every_byte()


def test_a_run_that_wants_less_forgets_nothing(make_job: Callable[..., Job]):
    job = make_job(SPEC)
    job.sync()

    job.sync("--include", "2024/**")
    again = job.sync()

    assert (again["stored"], again["skipped"]) == (0, 80)
    assert requests(job, "cdn.get") == 80


@pytest.mark.parametrize(("before", "now"), [("2023/**", "**"), ("**", "2024/**"), ("2023/**", "2024/**")])
def test_an_unfinished_run_with_other_rules_gives_way_to_what_is_wanted_now(
    make_job: Callable[..., Job], before: str, now: str
):
    job = make_job(SPEC)
    job.sync("--include", before, "--limit", "5", expect=6)
    there = job.files().keys()
    wanted = {key for key in keys(job) if now == "**" or key.startswith("2024/")}

    summary = job.sync("--include", now)

    assert (summary["complete"], summary["listed"]) == (True, 80)
    assert (summary["stored"], summary["skipped"]) == (len(wanted - there), len(wanted & there))
    assert job.files().keys() == wanted | there
    assert requests(job, "cdn.get") == len(wanted | there)
    again = job.sync("--include", now)
    assert (again["stored"], again["skipped"]) == (0, len(wanted))
    assert job.command("verify", str(job.volumes[0]), "--hash", "--json") == ""


def test_sizes_and_dates_choose_too(make_job: Callable[..., Job]):
    job = make_job(SPEC)

    summary = job.sync("--min-size", "2K", "--newer", "2000-01-01")

    assert (summary["stored"], summary["excluded"]) == (40, 40)


@pytest.mark.parametrize(("first", "sign"), [("newest", -1), ("oldest", 1), ("smallest", 1), ("largest", -1)])
def test_what_is_wanted_first_is_on_disk_when_the_job_ends_early(
    make_job: Callable[..., Job], first: str, sign: int
):
    job = make_job("flat:400,size=lognormal:4KiB")
    rows = [
        (item.mtime if first in {"newest", "oldest"} else item.size, item.key)
        for item in job.simulator.contents.walk()
    ]

    job.sync("--first", first, "--limit", "100", expect=6)

    best = sorted(sign * value for value, _ in rows)[:100]
    assert sorted(sign * value for value, key in rows if key in job.files()) == best


def test_a_trial_takes_nothing_before_the_objects_of_the_prefixes(make_job: Callable[..., Job]):
    """What lies before them in the tree is listed first, and could be fetched while they are looked for."""
    job = make_job("a=flat:2000,size=100;b=flat:1500,size=100;c/d/e=flat:30,size=100;c/d/f=flat:30,size=100")
    wanted = [key for key in keys(job) if key.startswith(("c/d/f/", "c/d/e/"))]

    job.sync("--first", "c/d/f/,c/d/e/", "--limit", "40", expect=6)

    there = sorted(job.files())
    assert len(there) == 40
    assert {key for key in there if key.startswith("c/d/f/")} == {k for k in wanted if k.startswith("c/d/f/")}
    assert set(there) <= set(wanted)
    assert job.sync("--first", "c/d/f/,c/d/e/", "--limit", "25", expect=6)["stored"] == 65
    assert set(wanted) <= set(job.files())


def test_rules_come_from_a_file_and_flags_come_after(make_job: Callable[..., Job]):
    job = make_job(SPEC)
    rules = job.folder / "rules"
    rules.write_text("# only the years\n+ /20??/**\n- /2023/**\n")

    job.sync("--rules-file", str(rules), "--include", keys(job)[0])

    expected = {key for key in keys(job) if key.startswith("2024/")} | {keys(job)[0]}
    assert set(job.files()) == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--include", "[z-a]"], "[z-a] is not a set of characters"),
        (["--min-size", "2K", "--max-size", "1K"], "leave nothing"),
        (["--newer", "yesterday"], "write 2024-05-01"),
        (["--first", "newest,oldest"], "--first 'newest,oldest': write one of"),
        (["--rules-file", "/nowhere"], "--rules-file /nowhere: No such file or directory"),
    ],
)
def test_what_is_not_understood_ends_before_anything_is_done(
    make_job: Callable[..., Job], options: list[str], said: str
):
    job = make_job("flat:10")

    process = job.start(*options)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert said in errors
    assert len(errors.splitlines()) == 1
    assert not job.state.exists()
    assert not job.volumes[0].exists()


def test_plan_counts_only_what_is_wanted(make_job: Callable[..., Job]):
    job = make_job(SPEC)
    access = ["--api-url", job.simulator.api_url, "--cdn-url", job.simulator.cdn_url]
    where = [f"upyun://{job.simulator.bucket}", str(job.folder)]

    plan = json.loads(job.command("plan", *where, *access, "--include", "2024/**", "--json"))

    assert plan["demand"]["objects"]["value"] == 40
