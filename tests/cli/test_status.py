import json
from pathlib import Path
from threading import Thread

import pytest
from tests.cli.conftest import until

from bucketpull.web import control_socket

SYNC = ("sync", "upyun://photos", "disk1", "--quiet")


def test_a_finished_job_shows_its_books_its_volumes_and_its_journal(user, service):
    user.knows(service).run(*SYNC)

    told = user.says("status", "--job", "photos")

    assert "complete" in told.splitlines()[0]
    assert "100" in told
    assert user.volume_id("disk1") in told
    assert str(user.folder / "home") in told
    assert max(map(len, told.splitlines()[:-1])) <= 80 + len(str(user.folder))


def test_packs_are_counted_with_what_they_take(user, service):
    user.knows(service).run(*SYNC, "--pack", "64K")
    packs = [path.stat().st_size for path in (user.folder / "disk1/packs").glob("*.tar")]

    told = user.says("status")

    assert f"{len(packs)} packs" in told
    assert "of them open" in told
    (shown,) = user.json("volumes")
    assert (shown["packs"], shown["pack_bytes"]) == (len(packs), sum(packs))
    assert 1 <= shown["open_packs"] <= len(packs)


def test_the_only_job_needs_no_name_and_several_are_listed(user, service):
    user.knows(service).run(*SYNC)
    assert user.says("status").startswith("photos")

    user.run("sync", "upyun://photos/2024", "disk2", "--quiet")

    assert "photos, photos-2024" in user.run("status", expect=2).stderr
    assert user.says("status", "upyun://photos/2024").startswith("photos-2024")


def test_json_has_the_fields_of_a_snapshot_and_whether_it_runs(user, service):
    user.knows(service).run(*SYNC)

    (shown,) = user.json("status", "--job", "photos")

    assert shown["counters"]["stored"] == 100
    assert shown["state"] == "complete"
    assert shown["running"] is False
    assert shown["last_run"]["state"] == "complete"


def test_a_job_at_rest_shows_the_time_the_speed_and_the_volumes_of_its_end(user, service):
    user.knows(service).run(*SYNC, "--summary", "summary.json")
    summary = json.loads((user.folder / "summary.json").read_text())
    (user.folder / "disk1").rename(user.folder / "drawer")

    (shown,) = user.json("status")

    assert shown["seconds"] == summary["seconds"] > 0
    assert shown["rates"]["objects_mean"] == pytest.approx(summary["objects_per_second"], abs=0.01)
    (volume,) = shown["volumes"]
    assert (volume["state"], volume["stored_objects"]) == ("away", 100)


def test_a_coordinator_that_does_not_answer_is_told_and_not_taken_for_one_that_has_ended(user, service):
    user.knows(service).run(*SYNC, "--limit", "10", expect=6)
    (shown,) = user.json("status")

    with control_socket.listen(Path(shown["journal"])) as listener:
        Thread(target=hang_up, args=(listener,), daemon=True).start()
        found = user.run("status")

    assert "its coordinator does not answer" in found.stderr
    assert "goes on" not in found.stdout
    assert "10" in found.stdout


def hang_up(listener):
    for _ in ("a trial", "the question"):
        listener.accept()[0].close()


def test_directories_balance_one_by_one(user, service):
    user.knows(service).run(*SYNC)

    rows = {row["directory"]: row for row in user.json("status", "--directories")}

    assert {name: row["listed"] for name, row in rows.items()} == {"": 0, "2023": 30, "2024": 70}
    assert all(row["listed"] == row["stored"] and row["outstanding"] == 0 for row in rows.values())
    told = user.says("status", "--directories").splitlines()
    assert told[-1].split() == ["2024", "70", "70", "0", "0", "0", "0", "0"]
    assert {len(line) for line in told} == {80}


def test_a_running_job_tells_its_speed_and_ends_undisturbed(user, bucket):
    user.knows(bucket("flat:2000,size=300"))
    process = user.start("sync", "upyun://photos", "disk1", "--quiet", "--rate", "25")
    until(lambda: running(user), "the job to answer")

    (shown,) = user.json("status", "--job", "photos")
    told = user.says("status", "--job", "photos")

    assert shown["machines"]
    assert shown["volumes"][0]["path"] == str(user.folder / "disk1")
    assert "/s" in told
    user.run("limit", "--rate", "off")
    assert process.wait(60) == 0, process.stdout.read()
    process.stdout.close()
    assert user.json("status")[0]["running"] is False


def test_a_killed_job_is_shown_as_interrupted(user, bucket):
    user.knows(bucket("flat:2000,size=300"))
    process = user.start("sync", "upyun://photos", "disk1", "--quiet", "--rate", "25")
    until(lambda: running(user), "the job to answer")
    process.kill()
    process.communicate()

    (shown,) = user.json("status", "--job", "photos")

    assert shown["state"] == "interrupted"
    assert shown["running"] is False


def test_chinese_is_spoken_where_the_locale_says_so(user, service):
    user.knows(service).run(*SYNC)
    user.environment["LC_ALL"] = "zh_CN.UTF-8"

    assert "已完成" in user.says("status")


def test_a_damaged_journal_is_refused_with_what_to_do(user, service):
    user.knows(service).run(*SYNC, "--state", "state")
    (user.folder / "state/journal.sqlite").write_bytes(b"no database")

    assert "rebuild" in user.run("status", "--state", "state", expect=3).stderr


@pytest.mark.parametrize("command", ["status", "volumes", "failures"])
def test_looking_changes_nothing(user, service, command):
    user.knows(service).run(*SYNC, "--state", "state")
    before = (user.folder / "state/journal.sqlite").read_bytes(), user.everything()

    user.run(command, "--state", "state")

    assert ((user.folder / "state/journal.sqlite").read_bytes(), user.everything()) == before


def running(user) -> bool:
    done = user.run("status", "--job", "photos", "--json", expect=None)
    return '"running":true' in done.stdout and '"machines":[{' in done.stdout
