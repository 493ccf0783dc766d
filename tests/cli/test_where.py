import pytest

SYNC = ("sync", "upyun://photos", "disk1", "--quiet")


def test_an_object_is_found_with_its_volume_and_path(user, service):
    user.knows(service).run(*SYNC)

    (found,) = user.json("where", "2024/img-07.jpg")

    assert found["path"] == str(user.folder / "disk1/2024/img-07.jpg")
    assert found["volume"] == user.volume_id("disk1")
    assert found["size"] == 1100
    assert found["present"] is True
    assert found["path"] in user.says("where", "2024/img-07.jpg")


def test_a_key_that_nobody_has_ends_with_3(user, service):
    user.knows(service).run(*SYNC)

    assert "2024/img-99.jpg" in user.run("where", "2024/img-99.jpg", expect=3).stderr


def test_an_object_that_was_removed_behind_our_back_is_told_and_ends_with_3(user, service):
    user.knows(service).run(*SYNC)
    (user.folder / "disk1/2024/img-07.jpg").unlink()

    assert "verify" in user.run("where", "2024/img-07.jpg", expect=3).stderr


def test_of_an_absent_volume_only_the_probable_place_is_told(user, service):
    user.knows(service).run(*SYNC)
    (user.folder / "disk1").rename(user.folder / "shelf")

    done = user.run("where", "2024/img-07.jpg")

    assert "if anywhere" in done.stdout
    assert "mount the volume" in done.stderr


@pytest.mark.parametrize(
    "key", ["a//b.jpg", "../../etc/passwd", "中" * 86, "twice", "what?x=1", ".bucketpull"]
)
def test_odd_keys_are_found_where_they_really_lie(user, bucket, key):
    user.knows(bucket("odd")).run(*SYNC)

    (found,) = user.json("where", key)

    assert found["present"] is True
    assert found["path"].startswith(str(user.folder / "disk1/"))
    assert found["key"] == key
