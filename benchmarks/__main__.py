"""`python -m benchmarks`: the full comparison; `--quick`: bucketpull against curl --parallel, two minutes."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.bucket import Bucket, mixed, uniform
from benchmarks.compare import Result, Setting, compare
from benchmarks.origin import serving
from benchmarks.tools import BUCKETPULL, CURL, LIMIT_FETCH, LIMIT_WRITE, TOOLS, Tool

MEMORY = Path("/dev/shm")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print the table, and keep it as a dated file."""
    options = _parse()
    chosen = [BUCKETPULL, CURL, LIMIT_FETCH, LIMIT_WRITE] if options.quick else TOOLS
    if options.tools:
        chosen = [tool for tool in TOOLS if tool.name.split()[0] in options.tools]
    results = _measure(options, chosen)
    text = report.render(results, sys.argv[1:])
    print(text)
    if options.keep or not (options.quick or options.tools):
        print(f"kept as {report.keep(text, RESULTS)}", file=sys.stderr)


def _measure(options: argparse.Namespace, tools: list[Tool]) -> list[Result]:
    repetitions = options.repetitions
    setting = Setting(
        MEMORY, options.connections, repetitions, options.server_core, tuple(options.client_cores)
    )
    results = []
    for bucket in _buckets(options):
        with tempfile.TemporaryDirectory(prefix="bench-origin-", dir=MEMORY) as folder:
            Path(folder).chmod(0o755)
            with serving(bucket, Path(folder) / "origin", options.server_core) as origin:
                results += compare(origin, tools, setting)
                if bucket.name != "20 KiB" or options.quick:
                    continue
                results += compare(origin, tools, _changed(setting, tls=True))
                results += compare(origin, tools, _changed(setting, destination=options.disk))
    return results


def _changed(setting: Setting, **changes: object) -> Setting:
    return Setting(**{**vars(setting), **changes})


def _buckets(options: argparse.Namespace) -> list[Bucket]:
    judged = uniform("20 KiB", 20 << 10, options.objects)
    if options.quick:
        return [judged]
    small, large = (
        uniform("2 KiB", 2 << 10, options.objects),
        uniform("200 KiB", 200 << 10, options.objects // 5),
    )
    return [judged, small, large, mixed(options.objects // 2)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="20 KiB objects on tmpfs; bucketpull, curl and the limit"
    )
    parser.add_argument("--tools", nargs="*", default=[], help="only these (first word of the name)")
    parser.add_argument("--objects", type=int, default=20_000, help="objects of 20 KiB (default 20000)")
    parser.add_argument("--repetitions", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--connections", type=int, default=64, help="for every tool (default 64)")
    parser.add_argument("--server-core", type=int, default=1, help="the origin's core (default 1)")
    parser.add_argument(
        "--client-cores", type=int, nargs="+", default=[0], help="the tools' cores (default 0)"
    )
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="a folder on ext4")
    parser.add_argument("--keep", action="store_true", help="keep the result of a partial run too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
