"""`python -m benchmarks.readme RESULT`: put a result's tables between the marks of both READMEs."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MARKS = "<!-- benchmark: {} -->"
S3_MARKS = "<!-- benchmark of S3: {} -->"
ENGLISH = "One run, {link}, on {machine}, which did nothing else. CPU is user and system time of all processes. Machines differ and hosts are shared, so read the ratios."
CHINESE = "一次运行的结果：{link}（{machine}）。CPU 为所有进程的用户态与内核态时间；机器当时没有其他任务；不同机器的绝对值不同，请看比值。"  # noqa: RUF001


def main() -> None:
    """Fill both."""
    result = Path(sys.argv[1])
    marks = S3_MARKS if "benchmarks --s3" in result.read_text() else MARKS
    begin, end = marks.format("begin"), marks.format("end")
    for name, words in (("README.md", ENGLISH), ("README.zh.md", CHINESE)):
        readme = ROOT / name
        text = readme.read_text()
        before, after = text[: text.index(begin) + len(begin)], text[text.index(end) :]
        readme.write_text(f"{before}\n{tables(result, words)}\n{after}")


def tables(result: Path, words: str) -> str:
    """Return what is told of a result: where it is from, the goals that it measured, and the tables of 20 KiB onto tmpfs."""
    head, *sections = result.read_text().split("\n## ")
    link = f"[{result.stem}](benchmarks/results/{result.name})"
    machine = re.search(r"\* machine: (.*)", head)
    goals = [line for line in head.splitlines() if line.startswith("|") and "| not measured |" not in line]
    chosen = [
        each.strip() for each in sections if "of 20 KiB" in each[:40] and "tmpfs" in each.splitlines()[0]
    ]
    said = words.format(link=link, machine=machine[1] if machine else "an unknown machine")
    return "\n\n".join(
        [said, *(f"{each.replace(chr(10), ':' + chr(10), 1)}" for each in chosen), "\n".join(goals)]
    )


if __name__ == "__main__":
    main()
