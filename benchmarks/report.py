"""The table of a comparison, the goals beside it, and the machine it was measured on."""

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import goals
from benchmarks.compare import Result
from benchmarks.origin import nginx_version
from benchmarks.tools import version

HEADER = """\
| tool | CPU µs an object | × curl | user share | objects/s | MB/s | peak memory MB |
|---|---:|---:|---:|---:|---:|---:|"""


def render(results: Sequence[Result], findings: Mapping[str, float], arguments: Sequence[str]) -> str:
    """Write everything as Markdown."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(_title(result), []).append(result)
    tables = [f"## {title}\n\n{_table(group)}" for title, group in groups.items()]
    return "\n\n".join([_machine(results, arguments), goals.table(results, findings), *tables]) + "\n"


def keep(text: str, folder: Path) -> Path:
    """Store a result under today's date; a second one of the day gets a number."""
    folder.mkdir(exist_ok=True)
    day = dt.datetime.now(tz=dt.UTC).date().isoformat()
    number = 1 + len(list(folder.glob(f"{day}*.md")))
    path = folder / (f"{day}.md" if number == 1 else f"{day}-{number}.md")
    path.write_text(text)
    return path


def _title(result: Result) -> str:
    bucket, setting = result.bucket, result.setting
    scheme = "TLS" if setting.tls else "plain HTTP"
    system = file_system(setting.destination)
    crowd = f", {setting.connections} connections" if setting.connections != 64 else ""
    return f"{len(bucket.keys)} objects of {bucket.name}, {scheme}, onto {system}{crowd}"


def _table(group: Sequence[Result]) -> str:
    base = next(
        (each.cpu_microseconds() for each in group if each.tool.name.startswith("curl") and each.costs), 0
    )
    return "\n".join([HEADER, *(_row(result, base) for result in group)])


def _row(result: Result, base: float) -> str:
    if result.trouble:
        return f"| {result.tool.name} | {result.trouble.splitlines()[-1]} | | | | | |"
    cpu = result.cpu_microseconds()
    ratio = f"{cpu / base:.2f}" if base else ""
    return (
        f"| {result.tool.name} | {cpu:.0f} | {ratio} | {result.user_share():.0%} | {result.objects_per_second():.0f} "
        f"| {result.megabytes_per_second():.0f} | {result.memory_megabytes():.0f} |"
    )


def file_system(path: Path) -> str:
    """Return the type of the file system that holds a path."""
    done = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True)
    return done.stdout.strip().replace("ext2/ext3", "ext4")


def _machine(results: Sequence[Result], arguments: Sequence[str]) -> str:
    setting = results[0].setting
    tools = {result.tool.name: result.tool for result in results}
    versions = [
        f"* {name}: {version(tool)}" for name, tool in tools.items() if not name.startswith(("limit", "bare"))
    ]
    return "\n".join(
        [
            f"# Benchmark of {dt.datetime.now(tz=dt.UTC):%Y-%m-%d %H:%M} UTC",
            "",
            f"`python -m benchmarks {' '.join(arguments)}`".replace(" `", "`"),
            "",
            f"* machine: {_processor()}, {os.cpu_count()} cores, kernel {platform.release()}",
            f"* server on core {setting.server_core} ({nginx_version()}), tools on {list(setting.client_cores)}",
            f"* {setting.connections} connections, {setting.repetitions} rounds in turn ({setting.slow_repetitions} for slow tools), medians",
            f"* CPU is user and system time of all processes of a tool (by {_counted(results)})",
            "* memory is the peak of their summed proportional set sizes",
            *versions,
        ]
    )


def _counted(results: Sequence[Result]) -> str:
    return ", ".join({cost.counted for result in results for cost in result.costs})


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
