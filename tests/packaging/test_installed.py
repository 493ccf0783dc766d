"""What `pip install` brings: run on the installed package, editable or from the wheel."""

import subprocess
import sys
from importlib.metadata import files, requires, version
from importlib.resources import files as resources
from pathlib import Path

COMMAND = Path(sys.executable).with_name("bucketpull")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=60)


def test_the_command_is_installed_and_helps():
    result = run("--help")

    assert result.returncode == 0, result.stderr
    assert "sync" in result.stdout


def test_the_command_knows_its_version():
    assert version("bucketpull") in run("--version").stdout


def test_the_modules_can_be_type_checked_by_users():
    assert resources("bucketpull").joinpath("py.typed").is_file()


def test_the_schema_of_the_journal_is_part_of_the_package():
    statements = [
        entry.name for entry in resources("bucketpull.journal").iterdir() if entry.name.endswith(".sql")
    ]

    assert statements


def test_the_dashboard_is_part_of_the_package():
    assert resources("bucketpull.web").joinpath("static").is_dir()


def test_the_licence_is_part_of_the_distribution():
    assert any(path.name == "LICENSE" for path in files("bucketpull") or [])


def test_the_default_install_brings_neither_broker_client_nor_web_server():
    base = [line for line in requires("bucketpull") or [] if "extra ==" not in line]

    assert not any(line.startswith(("aiormq", "aiohttp", "prometheus")) for line in base)
