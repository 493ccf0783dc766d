"""What the documentation says of the code is made from it, or compared with it."""

import re
from pathlib import Path

import pytest
from scripts import reference

from bucketpull.cli.commands import COMMANDS
from bucketpull.domain.errors import Reason
from bucketpull.sources.registry import options_by_name
from bucketpull.wiring.settings import Settings

ROOT = Path(__file__).parents[2]
# `options` holds those of the sources, which have names of their own.
SETTINGS = [name for name in Settings.__struct_fields__ if name != "options"] + list(options_by_name())
WRITTEN = reference.written()


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


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_a_page_that_is_made_from_the_code_is_committed_as_it_would_be_made_now(path: Path):
    assert path.read_text() == WRITTEN[path], "run `make reference`"


FILES = {path.name for folder in ("src", "examples") for path in (ROOT / folder).rglob("*.py")}
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path):
    links = re.findall(r"\]\((?![a-z]+:)([^)#\s]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
    if page.is_relative_to(ROOT / "docs"):  # the site has nothing else
        assert [
            link for link in links if not (page.parent / link).resolve().is_relative_to(ROOT / "docs")
        ] == []


def test_chinese_pages_lead_to_chinese_pages():
    pages = [page for page in PAGES if page.name.endswith(".zh.md")]
    links = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\((?![a-z]+:)([^)#\s]+)(?<!\.zh)\.md", page.read_text())
        if page.with_name(page.name.replace(".zh.", ".")) != (page.parent / f"{link}.md").resolve()
        and (page.parent / f"{link}.zh.md").exists()
    ]
    assert links == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_of_the_code_is_there(page: Path):
    named = re.findall(r"`([\w./-]+\.py)(?::\w+)?`", page.read_text())
    folders = [ROOT, ROOT / "src", ROOT / "src/bucketpull", ROOT / "tests"]

    assert [name for name in named if "/" not in name and name not in FILES] == []
    assert [
        name for name in named if "/" in name and not any((folder / name).exists() for folder in folders)
    ] == []
