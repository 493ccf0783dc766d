"""Locales that a machine need not have: made by localedef in a folder of the test's own."""

import subprocess
from pathlib import Path

MADE = {
    "zh_CN.GBK": ("zh_CN", "GBK"),
    "zh_CN.GB18030": ("zh_CN", "GB18030"),
    "zh_CN.UTF-8": ("zh_CN", "UTF-8"),
}


def make_locales(folder: Path, *names: str) -> dict[str, str]:
    """Make those that are named, or all; return the environment in which they are found."""
    for name in names or MADE:
        language, charmap = MADE[name]
        subprocess.run(
            ["localedef", "--no-archive", "-i", language, "-f", charmap, folder / name],
            check=True,
            capture_output=True,
        )
    return {"LOCPATH": str(folder)}
