"""An install without extras: every command works, or says which extra it needs, before anything is made."""

import pytest

MODULES = ("aiormq", "aiohttp", "prometheus_client", "pyarrow", "httptools")
BROKER = ("--broker", "amqp://u:p@127.0.0.1:1/", "--job", "photos")
NEEDS = {
    ("coordinate", "upyun://photos", *BROKER): ("aiormq", "rabbitmq"),
    ("work", "disk1", *BROKER): ("aiormq", "rabbitmq"),
    ("status", *BROKER): ("aiormq", "rabbitmq"),
    ("failures", *BROKER): ("aiormq", "rabbitmq"),
    ("demo",): ("httptools", "simulator"),
    ("simulate",): ("httptools", "simulator"),
}
WORKS = [
    ("status",),
    ("status", "--directories"),
    ("failures",),
    ("retry",),
    ("volumes",),
    ("verify", "disk1"),
    ("export", "--csv"),
    ("export", "--jsonl"),
    ("plan", "upyun://photos", "disk1"),
    ("doctor", "upyun://photos", "disk1"),
    ("sync", "upyun://photos", "disk1", "--json"),
    ("sync", "upyun://photos", "disk1", "--dashboard", "127.0.0.1:0"),
    ("completion", "bash"),
    ("help",),
]


@pytest.fixture
def bare(user, service):
    """A user whose interpreter does not find what extras bring."""
    stubs = user.folder / "home/absent"
    stubs.mkdir()
    for name in MODULES:
        (stubs / f"{name}.py").write_text(
            f'raise ModuleNotFoundError("No module named {name!r}", name="{name}")\n'
        )
    user.knows(service).environment |= {"PYTHONPATH": str(stubs), "PYTHONDONTWRITEBYTECODE": "1"}
    return user


@pytest.mark.parametrize("command", NEEDS, ids=lambda command: command[0])
def test_a_command_says_which_extra_it_needs(bare, command):
    before = bare.everything()
    module, extra = NEEDS[command]

    told = bare.run(*command, expect=2).stderr

    assert (
        told
        == f"bucketpull: this needs {module}, which is not installed: pip install 'bucketpull[{extra}]'\n"
    )
    assert bare.everything() == before


def test_all_else_works_without_extras(bare):
    bare.run("sync", "upyun://photos", "disk1")

    for command in WORKS:
        bare.run(*command)


def test_what_lacks_in_a_check_or_an_export_is_told(bare):
    bare.run("sync", "upyun://photos", "disk1")

    told = bare.run("export", "--parquet", "x.parquet", expect=2).stderr
    assert "pip install 'bucketpull[parquet]'" in told
    (check,) = [check for check in bare.json("doctor", *BROKER[:2], expect=3) if check["name"] == "broker"]
    assert "bucketpull[rabbitmq]" in check["remedy"]
