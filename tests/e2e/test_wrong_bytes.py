"""Answers that lead to other bytes than the object's: none of them is ever stored."""

import json

import pytest

from upyun_simulator import Simulator, content


def failures_of(job) -> dict[str, dict]:
    lines = job.command("failures", "--json", "--state", str(job.state)).splitlines()
    return {line["key"]: line for line in map(json.loads, lines)}


@pytest.mark.parametrize("status", [302, 307, 308])
def test_an_origin_that_redirects_an_object_to_another_host_gives_a_failure_that_names_the_target(
    make_job, status
):
    with Simulator("flat:40,size=500,seed=2") as elsewhere:
        target = f"{elsewhere.cdn_url}/{{key}}"
        job = make_job(
            "flat:40,size=500", cdn=False, faults=[f"redirect:status={status},to={target},path=img-07.jpg"]
        )

        summary = job.sync("--verify", "md5", expect=3)

        failed = failures_of(job)
        assert failed.keys() == {"img-07.jpg"}
        assert failed["img-07.jpg"]["reason"] == "redirected"
        assert f"{elsewhere.cdn_url}/img-07.jpg" in failed["img-07.jpg"]["detail"]
        assert elsewhere.counters()["requests"] == {}  # nothing was asked there, so no credential went there
        assert (summary["stored"], job.count()) == (39, 39)


def test_a_folder_whose_name_holds_the_separator_is_had_from_the_origin(make_job, tmp_path):
    """The CDN takes `x.jpg!s400/z.jpg` for a version of `x.jpg`: as long and as old as the object, and wrong."""
    objects = {"x.jpg": 801, "x.jpg!s400/z.jpg": 1 + 801 // 8, "plain/y.jpg": 500}
    manifest = tmp_path / "bucket.toml"
    manifest.write_text(
        "[objects]\n"
        + "\n".join(f'"{key}" = {{size = {size}, mtime = 1600000000}}' for key, size in objects.items())
    )
    job = make_job(f"manifest:{manifest}", patient=True)

    summary = job.sync()

    job.check_every_byte()
    assert summary["stored"] == 3
    assert job.simulator.counters()["requests"]["rest.get"] == {"200": 1}


def test_keys_that_a_cache_takes_for_another_object_are_had_from_the_origin(make_job, tmp_path):
    """The CDN answers for `a/b.jpg` when it is asked for `a//b.jpg`: as long and as old, and wrong."""
    keys = ["a/b.jpg", "a//b.jpg", "a/./b.jpg", "a/c/../b.jpg"]
    manifest = tmp_path / "bucket.toml"
    manifest.write_text(
        "[objects]\n" + "\n".join(f'"{key}" = {{size = 700, mtime = 1600000000}}' for key in keys)
    )
    job = make_job(f"manifest:{manifest}", normalises=True, patient=True)

    summary = job.sync()

    assert summary["stored"] == len(keys)
    assert job.simulator.counters()["requests"]["rest.get"] == {"200": len(keys) - 1}
    wanted = sorted(content(item.key, item.size, item.version) for item in job.simulator.contents.walk())
    assert sorted(job.files().values()) == wanted
