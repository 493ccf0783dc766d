"""Locales that a machine need not have: made by localedef in a folder of the test's own."""

import subprocess
from pathlib import Path

MADE = {
    "zh_CN.GBK": ("zh_CN", "GBK"),
    "zh_CN.GB18030": ("zh_CN", "GB18030"),
    "zh_CN.UTF-8": ("zh_CN", "UTF-8"),
}


def make_locales(folder: Path) -> dict[str, str]:
    """Make them; return the environment in which they are found."""
    for name, (language, charmap) in MADE.items():
        subprocess.run(
            ["localedef", "--no-archive", "-i", language, "-f", charmap, folder / name],
            check=True,
            capture_output=True,
        )
    return {"LOCPATH": str(folder)}
