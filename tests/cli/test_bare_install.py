"""An install without extras: every command works, or says which extra it needs, before anything is made."""

import sys

import pytest

from bucketpull import extras

MODULES = ("aiormq", "aiohttp", "prometheus_client", "pyarrow", "httptools")
BROKER = ("--broker", "amqp://u:p@127.0.0.1:1/", "--job", "photos")
NEEDS = {
    ("coordinate", "upyun://photos", *BROKER): ("aiormq", "rabbitmq"),
    ("work", "disk1", *BROKER): ("aiormq", "rabbitmq"),
    ("status", *BROKER): ("aiormq", "rabbitmq"),
    ("failures", *BROKER): ("aiormq", "rabbitmq"),
    ("list", "upyun://photos", "--format", "parquet", "--output", "keys"): ("pyarrow", "parquet"),
    ("export", "--format", "parquet", "--output", "x.parquet"): ("pyarrow", "parquet"),
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
    ("export", "--format", "csv"),
    ("export", "--format", "jsonl"),
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

    adding = f"{sys.executable} -m pip install 'bucketpull[{extra}]'"
    assert (
        told
        == f"bucketpull: this needs {module}, which is not installed; add the extra {extra} by `{adding}`\n"
    )
    assert bare.everything() == before


def test_all_else_works_without_extras(bare):
    bare.run("sync", "upyun://photos", "disk1")

    for command in WORKS:
        bare.run(*command)


def test_what_a_check_lacks_is_told(bare):
    (check,) = [check for check in bare.json("doctor", *BROKER[:2], expect=3) if check["name"] == "broker"]
    assert "bucketpull[rabbitmq]" in check["remedy"]


def test_what_pipx_has_installed_is_added_to_by_pipx(tmp_path, monkeypatch):
    (tmp_path / "pipx_metadata.json").write_text("{}")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    assert extras.adding("parquet") == "pipx inject bucketpull 'pyarrow>=15'"
