"""The vendor's own Python package works against the simulator."""

import io
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import upyun

from upyun_simulator import content

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def hosted(host_for_module):
    return host_for_module(spec="demo")


@pytest.fixture
def bucket(hosted):
    client = upyun.UpYun("demo-bucket", "operator", "password", endpoint=f"127.0.0.1:{hosted.api}")
    yield client
    client.hp.session.close()


def test_getlist(bucket):
    assert [(row["name"], row["type"]) for row in bucket.getlist("/")] == [
        ("README.txt", "N"), ("empty.txt", "N"), ("index.html", "N"),
        ("avatars", "F"), ("images", "F"), ("videos", "F"), ("用户相册", "F"), ("空文件夹", "F"),
    ]  # fmt: skip
    assert bucket.getlist("/空文件夹/") == []
    assert bucket.getlist("/", order="desc", limit=1)[0]["name"] == "空文件夹"


def test_paging_through_a_folder(bucket, hosted):
    found, cursor = [], None
    while cursor != "g2gCZAAEbmV4dGQAA2VvZg":
        page = bucket.get_list_with_iter("/images/2023/03月", limit=70, begin=cursor)
        found += [row["name"] for row in page["files"]]
        cursor = page["iter"]

    assert found == [f"商品-{n:05d}.jpg" for n in range(1500, 2000)]


def test_iterlist(bucket):
    rows = list(bucket.iterlist("/avatars/0a", limit=1000))

    assert rows[0] == {"name": "00010.png", "type": "N", "size": rows[0]["size"], "time": rows[0]["time"]}
    assert len(rows) == 10


def test_get(bucket, hosted):
    key = "images/2023/03月/商品-01500.jpg"
    file = io.BytesIO()

    bucket.get("/" + key, file)

    assert file.getvalue() == content(key, hosted.world.contents.item(key).size)


def test_usage(bucket, hosted):
    assert bucket.usage() == str(hosted.world.contents.usage())


def test_getinfo(bucket, hosted):
    item = hosted.world.contents.item("README.txt")

    info = bucket.getinfo("/README.txt")

    assert (info["file-type"], info["file-size"], info["file-date"]) == ("file", "812", str(item.mtime))
    assert bucket.getinfo("/images/")["file-type"] == "folder"


@pytest.mark.parametrize(("operator", "password", "key", "status", "code"), [("operator", "wrong", "/", 401, "40100005"), ("nobody", "x", "/", 401, "40100006"), ("operator", "password", "/missing/", 404, "40400001")])  # fmt: skip
def test_errors(hosted, operator, password, key, status, code):
    client = upyun.UpYun("demo-bucket", operator, password, endpoint=f"127.0.0.1:{hosted.api}")

    with pytest.raises(upyun.UpYunServiceException) as caught:
        client.getlist(key)
    client.hp.session.close()

    assert caught.value.status == status
    assert code in caught.value.err
