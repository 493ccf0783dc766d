"""Long buckets and long lists cost no more memory than short ones; every key is there once."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.servers.s3_pages import BUCKET, Numbered, PageServer

_KEYS = 1_000_000
_LINES = 10_000_000
_GROWTH = 1.2


# By a small process between: what is measured of one counts the memory of that which forked it.
_MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10)
sys.exit(code)
"""


def _listed(source: str, output: Path, *options: str) -> tuple[str, int]:
    """List a source; return what was said, and the peak of the process's memory in bytes."""
    command = [sys.executable, "-m", "bucketpull", "list", source, "--output", str(output), *options]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command], capture_output=True, text=True, check=True, timeout=900
    )
    return done.stderr, int(done.stdout)


def _flat(peaks: Callable[[int], int], short: int, long: int) -> None:
    few, many = peaks(short), peaks(long)
    assert many < few * _GROWTH, f"{many >> 20} MiB of {long}, {few >> 20} MiB of {short}"


@pytest.mark.soak
def test_a_million_keys_of_s3_are_listed_once_each_in_flat_memory(tmp_path):
    def peak(keys: int) -> int:
        with PageServer(Numbered(keys)) as server:
            output = tmp_path / "keys"
            said, used = _listed(f"s3://{BUCKET}", output, "--api-url", server.url, "--anonymous")
        lines = sorted(output.read_bytes().splitlines())
        assert lines == [Numbered(keys)[number] for number in range(keys)]
        assert f"{keys:,} objects listed" in said
        return used

    _flat(peak, _KEYS // 2, _KEYS)


@pytest.mark.soak
def test_ten_million_lines_of_a_list_are_read_in_flat_memory(tmp_path):
    def peak(lines: int) -> int:
        path = tmp_path / "urls"
        with path.open("w") as file:
            file.writelines(
                f"https://img.example.com/{number // 1000}/{number}.jpg\n" for number in range(lines)
            )
        said, used = _listed(f"urls:{path}", tmp_path / "keys")
        assert f"{lines:,} objects listed" in said
        return used

    _flat(peak, _LINES // 10, _LINES)
