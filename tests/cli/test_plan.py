import pytest

PLAN = ("plan", "upyun://photos", "disk1")


def test_a_small_bucket_is_listed_whole_and_known_exactly(user, service):
    user.knows(service)
    before = user.everything()

    (plan,) = user.json(*PLAN)

    assert plan["whole"] is True
    assert plan["demand"]["objects"]["value"] == 100
    assert plan["demand"]["bytes"]["value"] == 30 * 900 + 70 * 1100 == plan["usage_bytes"]
    assert plan["demand"]["inodes"]["value"] == 103
    assert plan["demand"]["disk_bytes"]["value"] == 103 * 4096
    assert plan["fit"]["fits"] is True
    assert user.everything() == before


def test_a_sample_of_a_large_bucket_comes_near_and_says_how_near(user, bucket):
    user.knows(bucket("tree:dirs=2000,files=50,size=lognormal:20KiB:0.7"))

    (plan,) = user.json(*PLAN, "--sample", "60")

    objects = plan["demand"]["objects"]
    assert plan["whole"] is False
    assert plan["pages"] == 60
    assert objects["low"] <= 100_000 <= objects["high"]
    assert objects["value"] == pytest.approx(100_000, rel=0.15)
    assert plan["demand"]["directories"]["value"] == pytest.approx(2000, rel=0.5)
    assert "(" in next(
        line for line in user.says(*PLAN, "--sample", "60").splitlines() if "objects  " in line
    )


def test_what_does_not_fit_ends_with_5_and_what_to_do(user, service):
    told = user.knows(service).says(*PLAN, "--reserve", "100%", expect=5)

    assert "does not fit" in told
    assert "add volumes" in told


def test_time_follows_the_limits_given(user, service):
    user.knows(service)

    assert user.json(*PLAN, "--rate", "10")[0]["seconds"] == pytest.approx(10)
    assert user.json(*PLAN, "--bandwidth", "1K")[0]["seconds"] == pytest.approx(104_000 / 1024)


def test_two_folders_on_one_disk_count_once(user, service):
    done = user.knows(service).run(*PLAN, "disk2")

    assert "counts once" in done.stderr


def test_the_plan_fits_80_columns(user, service):
    told = user.knows(service).says(*PLAN)

    assert [line for line in told.splitlines() if len(line) > 80 and str(user.folder) not in line] == []


def test_a_refusal_ends_with_4(user, service):
    user.knows(service).environment["UPYUN_PASSWORD"] = "wrong"

    user.run(*PLAN, expect=4)


def test_an_empty_bucket_fits(user, bucket):
    user.knows(bucket("flat:0"))

    assert user.json(*PLAN)[0]["demand"]["objects"]["value"] == 0


def test_packs_need_few_inodes_and_the_plan_says_so(user, service):
    user.knows(service)

    (files,), (packs,) = user.json(*PLAN), user.json(*PLAN, "--pack")

    assert files["packed"]["inodes"]["value"] < files["demand"]["inodes"]["value"]
    assert packs["packs"] is True
    assert packs["fit"]["inodes"]["value"] != files["fit"]["inodes"]["value"]
    assert "in packs" in user.says(*PLAN)
    assert "better in packs" not in user.says(*PLAN), "a hundred files are no trouble"
