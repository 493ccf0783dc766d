"""Only the keys of a list are pulled from a bucket, and nothing is listed."""

from tests.s3.conftest import ceph, make_puller  # noqa: F401 - fixtures

from upyun_simulator import Simulator, content


def test_of_an_s3_bucket_only_listed_keys_come(ceph, make_puller, tmp_path):  # noqa: F811
    ceph.make_bucket("keyed")
    ceph.fill("keyed", [(b"a/%d" % number, b"%d" % number) for number in range(20)])
    keys = tmp_path / "keys"
    keys.write_bytes(b"a/3\0a/7\0a/absent\0a/3\0")
    puller = make_puller(ceph.url, "keyed", ceph.environment, "--keys0", str(keys))

    summary = puller.sync(expect=3)

    assert (summary["stored"], summary["failures"], summary["vanished"]) == (2, {"not-found": 1}, 0)
    assert puller.objects() == {b"a/3": b"3", b"a/7": b"7"}
    assert "a/absent" in puller.command("failures")


def test_of_a_upyun_bucket_only_listed_keys_come(make_puller, tmp_path):  # noqa: F811
    with Simulator("tree:dirs=5,files=5") as simulator:
        items = list(simulator.contents.walk())[:3]
        keys = tmp_path / "keys"
        keys.write_text(
            "".join(f"{item.key}\n" for item in items[:2]) + f"/{items[2].key}\n/{items[0].key}\n"
        )
        access = {"UPYUN_OPERATOR": simulator.operator, "UPYUN_PASSWORD": simulator.password}
        puller = make_puller("", "b", access, "--cdn-url", simulator.cdn_url, "--keys", str(keys))
        line = puller.arguments()
        line[line.index("s3://b")] = f"upyun://{simulator.bucket}"
        line[line.index("--api-url") + 1] = simulator.api_url
        puller.run(*line)
        expected = {item.key.encode(): content(item.key, item.size, item.version) for item in items}
    assert puller.objects() == expected
