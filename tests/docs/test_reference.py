"""What the documentation says of the code is made from it, or compared with it."""

import re
from pathlib import Path

import pytest
from scripts import reference

from bucketpull.cli.main import COMMANDS
from bucketpull.domain.errors import Reason
from bucketpull.sources.registry import options_by_name
from bucketpull.wiring.settings import Settings

ROOT = Path(__file__).parents[2]
# `options` holds those of the sources, which have names of their own.
SETTINGS = [name for name in Settings.__struct_fields__ if name != "options"] + list(options_by_name())


def test_the_reference_has_every_command():
    page = reference.commands_page()

    assert [name for name in COMMANDS if f"## {name}\n" not in page] == []


def test_the_reference_has_every_setting():
    page = reference.configuration_page()

    assert [name for name in SETTINGS if f"| `{name}` |" not in page] == []


def test_every_setting_has_a_meaning():
    assert [name for name in SETTINGS if not reference._meaning(name)] == []


def test_the_reference_has_every_reason():
    page = reference.reasons_page()

    assert [reason for reason in Reason if f"| `{reason}` |" not in page] == []


def test_the_man_page_has_every_command():
    page = reference.man_page()

    assert [name for name in COMMANDS if f".SH {name.upper()}\n" not in page] == []


def test_the_man_page_in_the_package_is_that_of_the_commands():
    shipped = (ROOT / "man/bucketpull.1").read_text()

    assert shipped == reference.man_page(), "run `make man`"


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "README.zh.md", ROOT / "ARCHITECTURE.md"], ids=lambda page: page.name
)
def test_what_a_page_links_to_is_there(page: Path):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [link for link in links if not (ROOT / link).exists()] == []
