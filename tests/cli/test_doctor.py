import json
import os
import resource
import socket
import subprocess

import pytest
from tests.cli.conftest import COMMAND

from bucketpull.cli.doctor import machine
from bucketpull.cli.doctor.machine import MountPoint, mount_of

PASS, WARN, FAIL = "pass", "warn", "fail"


def verdicts(checks: list[dict], name: str) -> list[str]:
    return [check["verdict"] for check in checks if check["name"] == name]


def test_all_is_well_with_a_good_service_and_folder(user, service):
    user.knows(service)
    before = user.everything()

    checks = user.json("doctor", "upyun://photos", "disk1")

    for name in ("open files", "REST host", "CDN host", "clock", "credentials", "usage", "CDN"):
        assert verdicts(checks, name) == [PASS], name
    assert FAIL not in verdicts(checks, "disk1")
    assert user.everything() == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--job", "photos", "--style", "!s400"], "style was '' and is '!s400'"),
        (["--job", "new"], "objects of the job of upyun://photos"),
    ],
    ids=["journal", "volume"],
)
def test_what_is_another_jobs_fails_as_the_job_is_refused(user, service, more, told):
    user.knows(service).run("sync", "upyun://photos", "disk1", "--layout", "hashed")
    assert verdicts(user.json("doctor", "upyun://photos", "disk1"), "job") == []

    checks = user.json("doctor", "upyun://photos", "disk1", *more, expect=3)

    assert verdicts(checks, "job") == [FAIL]
    assert any(told in check["found"] for check in checks)
    assert told in user.run("sync", "upyun://photos", "disk1", "--layout", "hashed", *more, expect=2).stderr


def test_a_disk_of_the_job_that_is_not_mounted_fails_as_the_job_is_refused(user, service):
    user.knows(service).run("sync", "upyun://photos", "disk1")
    (user.folder / "disk1").rename(user.folder / "unmounted")
    (user.folder / "disk1").mkdir()

    checks = user.json("doctor", "upyun://photos", "disk1", expect=3)

    told = "of this job and is empty now"
    assert [told in check["found"] for check in checks if check["verdict"] == FAIL] == [True]
    assert told in user.run("sync", "upyun://photos", "disk1", expect=2).stderr


def test_objects_at_the_bottom_of_a_wide_tree_are_found(user, bucket):
    days = {
        f"{year}/{month:02}/{day:02}/img.jpg": 900
        for year in range(2015, 2025)
        for month in range(1, 13)
        for day in (1, 2)
    }
    simulator = bucket("flat:0")
    simulator.mutate(put=days)

    checks = {check["name"]: check for check in user.knows(simulator).json("doctor", "upyun://photos")}

    assert "objects" not in checks
    assert any("CDN" in name and check["verdict"] == "pass" for name, check in checks.items())


def test_each_of_several_urls_is_asked(user, service):
    user.knows(service)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        dead = f"http://127.0.0.1:{gone.getsockname()[1]}"
    for name in ("BUCKETPULL_API_URL", "BUCKETPULL_CDN_URL"):
        user.environment[name] = f"{dead} {user.environment[name]}"

    checks = user.json("doctor", "upyun://photos", expect=3)

    assert verdicts(checks, "credentials") == [PASS]
    assert verdicts(checks, "LIST") == [WARN, PASS]
    assert verdicts(checks, "CDN") == [FAIL, PASS]


def test_this_machine_is_checked_without_a_source(user):
    checks = user.json("doctor")

    assert verdicts(checks, "open files") == [PASS]
    assert PASS in verdicts(checks, "journal")


def test_everything_that_is_not_well_says_what_to_do(user, service):
    user.knows(service).environment["UPYUN_PASSWORD"] = "wrong"

    checks = user.json("doctor", "upyun://photos", "no/such/disk", expect=3)

    assert verdicts(checks, "credentials") == [FAIL]
    assert all(check["remedy"] for check in checks if check["verdict"] != PASS)


def test_a_cdn_that_changes_images_fails(user, bucket):
    simulator = bucket("flat:5,size=2000")
    simulator.inject("gzip:on=cdn")

    checks = user.knows(simulator).json("doctor", "upyun://photos", expect=3)

    assert verdicts(checks, "CDN") == [FAIL]


def test_a_cdn_that_changes_bytes_silently_fails(user, bucket):
    simulator = bucket("flat:5,size=2000")
    simulator.inject("corrupt:on=cdn")

    assert verdicts(user.knows(simulator).json("doctor", "upyun://photos", expect=3), "CDN") == [FAIL]


def test_a_cdn_that_refuses_fails(user, bucket):
    user.knows(bucket("flat:5,size=2000", token_secret="abc"))

    checks = user.json("doctor", "upyun://photos", expect=3)

    assert "UPYUN_TOKEN_SECRET" in next(check["remedy"] for check in checks if check["name"] == "CDN")


def test_a_cdn_that_asks_for_fewer_requests_is_a_warning(user, bucket):
    """It was a fault for which nothing was to be done, and `init` wrote nothing."""
    simulator = bucket("flat:5,size=2000")
    simulator.inject("403:on=cdn")

    assert verdicts(user.knows(simulator).json("doctor", "upyun://photos"), "CDN") == [WARN]


def test_objects_that_a_job_would_have_by_rest_are_not_asked_of_the_cdn(user, bucket, tmp_path):
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps({"objects": {"!a.jpg": 2000, "a.jpg!b/c.jpg": 2000, "z.jpg": 2000}}))
    user.knows(bucket(f"manifest:{manifest}"))

    checks = user.json("doctor", "upyun://photos")

    assert next(check["found"] for check in checks if check["name"] == "CDN").startswith("1 object ")


def test_where_a_job_would_have_all_objects_by_rest_one_is_fetched_so(user, bucket, tmp_path):
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps({"objects": {"!a.jpg": 2000}}))
    user.knows(bucket(f"manifest:{manifest}"))

    checks = user.json("doctor", "upyun://photos")

    assert verdicts(checks, "REST") == [PASS]
    assert "!a.jpg comes whole" in [check["found"] for check in checks]
    assert verdicts(checks, "objects") == verdicts(checks, "CDN") == []


def test_a_wrong_clock_is_a_warning_with_its_offset(user, bucket):
    user.knows(bucket("flat:5,size=2000", clock_offset=7230))

    checks = user.json("doctor", "upyun://photos")

    assert verdicts(checks, "clock") == [WARN]
    assert "2 h behind" in next(check["found"] for check in checks if check["name"] == "clock")
    assert verdicts(checks, "credentials") == [PASS]


def test_an_unknown_host_fails(user, service):
    user.knows(service).environment["BUCKETPULL_CDN_URL"] = "http://nowhere.invalid"

    assert verdicts(user.json("doctor", "upyun://photos", expect=3), "CDN host") == [FAIL]


def test_without_a_cdn_domain_there_is_a_warning(user, service):
    user.knows(service)
    del user.environment["BUCKETPULL_CDN_URL"]

    checks = user.json("doctor", "upyun://photos")

    assert verdicts(checks, "CDN") == [WARN]
    assert verdicts(checks, "REST") == [PASS]


def test_who_may_list_and_not_read_is_told_so(user, bucket):
    simulator = bucket("flat:5,size=2000")
    simulator.inject("403:code=40300099,on=rest.get")
    user.knows(simulator)
    del user.environment["BUCKETPULL_CDN_URL"]

    checks = user.json("doctor", "upyun://photos", expect=3)

    assert (verdicts(checks, "credentials"), verdicts(checks, "REST")) == ([PASS], [FAIL])


@pytest.mark.parametrize(("limit", "verdict", "code"), [(512, FAIL, 3), (2048, WARN, 0)])
def test_a_low_limit_of_open_files_is_seen(user, limit, verdict, code):
    done = subprocess.run(
        [COMMAND, "doctor"],
        env=user.environment,
        cwd=user.folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )

    assert done.stdout.startswith(verdict)
    assert "ulimit -Hn" in done.stdout
    assert done.returncode == code


@pytest.fixture
def small_disk(tmp_path_factory):
    """Mount a tmpfs with few inodes."""
    place = tmp_path_factory.mktemp("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=100", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_with_too_few_inodes_and_a_passing_file_system_are_warned_of(user, service, small_disk):
    checks = user.knows(service).json("doctor", "upyun://photos", small_disk)

    found = [check["found"] for check in checks if check["verdict"] == WARN]
    assert any("inodes" in text for text in found)
    assert any("tmpfs" in text for text in found)


def test_a_disk_is_known_by_any_name_of_its_mount_point(tmp_path):
    place = tmp_path / "磁盘 1"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        assert mount_of(str(place)).kind == "tmpfs"
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_read_only_disk_fails(user, service, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    checks = user.knows(service).json("doctor", "upyun://photos", small_disk, expect=3)

    assert FAIL in verdicts(checks, str(small_disk))


@pytest.mark.parametrize("option", ["emergency_ro", "shutdown"])
def test_a_disk_to_which_the_kernel_has_stopped_writing_fails(monkeypatch, tmp_path, option):
    mount = MountPoint(str(tmp_path), "ext4", "/dev/sdb", frozenset({"rw", "errors=remount-ro", option}))
    monkeypatch.setattr(machine, "mounts", lambda: [mount])

    checks = list(machine.check_volumes([str(tmp_path)], "0", None))

    assert [check.remedy for check in checks if check.verdict == FAIL] == [
        "see `dmesg`, check the file system, mount it read-write"
    ]


def test_who_else_may_write_to_a_volume_is_warned_of(user):
    disk = user.folder / "disk"
    disk.mkdir()
    assert verdicts(user.json("doctor", disk), str(disk)).count(WARN) <= 1  # where it lies may be passing
    disk.chmod(0o777)

    text = user.says("doctor", disk)

    assert f"{disk}" in text
    assert "everybody may write there (mode 777)" in text
    assert "chmod o-w" in text


def test_a_volume_of_somebody_else_is_warned_of_and_a_directory_of_ours_that_is_theirs_fails(user):
    disk = user.folder / "disk"
    (disk / ".bucketpull").mkdir(parents=True)
    os.chown(disk, 54_321, 54_321)
    assert "belongs to user 54321" in user.says("doctor", disk)
    os.chown(disk / ".bucketpull", 54_321, 54_321)
    assert ".bucketpull belongs to user 54321" in user.says("doctor", disk, expect=3)
    (disk / ".bucketpull").rmdir()
    (disk / ".bucketpull").symlink_to("/etc")
    assert ".bucketpull is a symbolic link" in user.says("doctor", disk, expect=3)


def test_a_link_of_somebody_else_and_their_folder_above_a_volume_are_warned_of(user):
    disk = user.folder / "theirs" / "disk"
    disk.mkdir(parents=True)
    os.chown(disk.parent, 54_321, 54_321)
    assert f"{disk.parent} belongs to user 54321" in user.says("doctor", disk)
    link = user.folder / "link"
    link.symlink_to(disk)
    os.lchown(link, 54_321, 54_321)
    assert f"{link} is a link of user 54321" in user.says("doctor", link, expect=3)


def test_a_configuration_that_others_can_read_is_warned_of(user):
    config = user.folder / "config.toml"
    config.write_text('job = "photos"\n')
    config.chmod(0o644)
    assert f"others can read {config} (mode 644)" in user.says("doctor", "--config", config)
    config.chmod(0o600)
    assert "others can read" not in user.says("doctor", "--config", config)


def test_a_broker_that_is_not_there_fails_without_its_password(user):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    done = user.run("doctor", "--broker", f"amqp://user:secret@127.0.0.1:{port}/", expect=3)

    assert f"amqp://127.0.0.1:{port}/" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_quiet_tells_only_what_is_not_well(user):
    assert user.says("doctor", "--quiet") == "" or os.getuid() != 0
