"""Every command in the documentation runs, against a simulated bucket in the place of the reader's."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.docs.console import commands, script
from tests.servers.broker import Broker, free_ports

from upyun_simulator import Simulator

ROOT = Path(__file__).parents[2]
PORTS = ("8080", "8081", "8378")
LIMIT_SECONDS = 90
BROKER = "amqp://bucketpull:SECRET@broker/"
CHINESE = [ROOT / "README.zh.md", *sorted((ROOT / "docs").rglob("*.zh.md"))]
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page not in CHINESE and any(commands(page))
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(
        "2023=flat:300;2024=flat:900", bucket="photos", operators=["operator:password"]
    ) as running:
        yield running


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    with Broker(tmp_path / "rabbitmq") as broker:
        yield broker.url


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_as_written(
    page: Path, simulator: Simulator, tmp_path: Path, request: pytest.FixtureRequest
):
    places = {
        "/mnt/": f"{tmp_path}/mnt/",
        "https://img.example.com": simulator.cdn_url,
        **dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)),
    }
    written = script(page, PORTS)
    if BROKER in written:
        places[BROKER] = request.getfixturevalue("broker_url")
    for name, place in places.items():
        written = written.replace(name, place)
    for number in (1, 2, 3):
        (tmp_path / f"mnt/disk{number}").mkdir(parents=True)

    code, said = run(written, tmp_path, environment(tmp_path, simulator))

    assert code == 0, said[-4000:]


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_chinese_page_has_the_code_of_the_english_one(page: Path):
    english = page.with_name(page.name.replace(".zh.md", ".md"))

    assert code_of(page) == code_of(english)


def test_what_leads_a_customer_is_there_in_chinese():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/howto").glob("*.md")]

    assert [
        page.name for page in pages if not page.with_suffix(".zh.md").exists() and page not in CHINESE
    ] == []


def code_of(page: Path) -> list[tuple[str, str]]:
    """Return the lines of a page's blocks of code with their language, without comments and what stands for a name.

    Blocks of no language and of `text` are what a command writes or a drawing, which is translated.
    """
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    found = [
        ("sh" if language == "console" else language, re.sub(r"(^|\s+)#.*", "", line).removeprefix("$ "))
        for language, block in blocks
        if language != "text"
        for line in block.splitlines()
    ]
    return [(language, re.sub(r"<[^<> ][^<>]*>", "<>", line)) for language, line in found if line.strip()]


def run(written: str, folder: Path, env: dict[str, str]) -> tuple[int | None, str]:
    """Run a script; what it leaves running in the background ends with it. No code: it took too long."""
    with (folder / "output").open("w+") as output:
        shell = subprocess.Popen(
            ["bash", "-c", written],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        output.seek(0)
        return code, output.read()


def test_the_chinese_readme_has_the_same_commands():
    english, chinese = (
        [command.text for command in commands(ROOT / name)] for name in ("README.md", "README.zh.md")
    )

    assert chinese == english


def environment(home: Path, simulator: Simulator) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BUCKETPULL_API_URL": simulator.api_url,
        "BUCKETPULL_RESERVE": "1M",
    }
