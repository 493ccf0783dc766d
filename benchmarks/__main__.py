"""`python -m benchmarks`: the full comparison; `--quick`: bucketpull against curl --parallel, two minutes."""

import argparse
import compileall
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import bucketpull
from benchmarks import goals, report, s3, scenarios
from benchmarks.bucket import Bucket, mixed, uniform
from benchmarks.compare import Result, Setting, compare
from benchmarks.origin import serving
from benchmarks.tools import BUCKETPULL, CURL, LIMIT_FETCH, LIMIT_WRITE, PACKS, TOOLS, Tool

MEMORY = Path("/dev/shm")
RESULTS = Path(__file__).parent / "results"
QUICK = [BUCKETPULL, PACKS, CURL, LIMIT_FETCH, LIMIT_WRITE]


def main() -> None:
    """Measure, print the table, and keep it as a dated file."""
    options = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers and files go
    chosen = QUICK if options.quick else TOOLS
    if options.tools:
        chosen = [tool for tool in TOOLS if tool.name.split()[0] in options.tools]
    _compile()
    findings: dict[str, float] = {}
    results = _measure(options, chosen, findings)
    text = report.render(results, findings, sys.argv[1:])
    print(text)
    if options.keep or not (options.quick or options.tools):
        print(f"kept as {report.keep(text, RESULTS)}", file=sys.stderr)


def _compile() -> None:
    """Have bucketpull's bytecode written, as an installer does; else some environments compile it at every start."""
    compileall.compile_dir(str(Path(bucketpull.__file__).parent), quiet=1)


def _measure(options: argparse.Namespace, tools: list[Tool], findings: dict[str, float]) -> list[Result]:
    setting = Setting(
        MEMORY,
        options.connections,
        options.repetitions,
        options.slow_repetitions,
        options.server_core,
        tuple(options.client_cores),
    )
    results = []
    for bucket in _buckets(options):
        with tempfile.TemporaryDirectory(prefix="bench-origin-", dir=MEMORY) as folder:
            Path(folder).chmod(0o755)
            with serving(bucket, Path(folder) / "origin", options.server_core) as origin:
                for chosen, changed in _comparisons(bucket, tools, setting, options):
                    results += compare(origin, chosen, changed)
                if bucket.name == goals.MANY and not options.tools and not options.s3:
                    findings |= scenarios.with_origin(origin, setting)
    if options.s3 or not (options.quick or options.tools or options.upyun):
        findings |= s3.listings(setting, options.s3_keys)
    if not (options.quick or options.tools or options.s3):
        findings |= scenarios.simulated(setting, options.listed)
    return results


def _comparisons(
    bucket: Bucket, tools: list[Tool], setting: Setting, options: argparse.Namespace
) -> list[tuple[list[Tool], Setting]]:
    if bucket.name in {s3.NAME, s3.MANY}:
        return [(s3.TOOLS, setting)]
    quick_tools = [tool for tool in tools if tool in QUICK]
    elsewhere = [tool for tool in tools if not (options.brief and tool.slow)]
    if options.quick:
        return [(tools, setting)]
    if bucket.name == goals.MANY:
        return [(quick_tools, setting), (quick_tools, replace(setting, tls=True))]
    if bucket.name != goals.JUDGED:
        return [(elsewhere, setting)]
    crowded = [tool for tool in tools if tool in (BUCKETPULL, CURL)]
    return [
        (tools, setting),
        (elsewhere, replace(setting, tls=True)),
        (elsewhere, replace(setting, destination=options.disk)),
        (crowded, replace(setting, connections=1_000, repetitions=1)),
    ]


def _buckets(options: argparse.Namespace) -> list[Bucket]:
    judged = uniform(goals.JUDGED, 20 << 10, options.objects)
    if options.quick:
        return [judged]
    from_s3 = [uniform(s3.NAME, 20 << 10, options.objects), uniform(s3.MANY, 20 << 10, 5 * options.objects)]
    if options.s3:
        return from_s3[: 1 if options.brief else 2]
    return [
        *([] if options.tools or options.upyun else from_s3),
        judged,
        uniform(goals.MANY, 20 << 10, 5 * options.objects),
        uniform("2 KiB", 2 << 10, options.objects),
        uniform("200 KiB", 200 << 10, options.objects // 5),
        mixed(options.objects // 2),
    ]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="20 KiB objects on tmpfs; bucketpull, curl and the limit"
    )
    parser.add_argument("--brief", action="store_true", help="the slow tools only where the goals are judged")
    parser.add_argument("--s3", action="store_true", help="only what is pulled from S3, by each tool")
    parser.add_argument("--upyun", action="store_true", help="all but what is pulled from S3")
    parser.add_argument("--tools", nargs="*", default=[], help="only these (first word of the name)")
    parser.add_argument("--objects", type=int, default=20_000, help="objects of 20 KiB (default 20000)")
    parser.add_argument("--repetitions", type=int, default=3, help="rounds (default 3)")
    parser.add_argument(
        "--slow-repetitions", type=int, default=3, help="rounds in which the slow tools take part (default 3)"
    )
    parser.add_argument("--connections", type=int, default=64, help="for every tool (default 64)")
    parser.add_argument("--server-core", type=int, default=1, help="the origin's core (default 1)")
    parser.add_argument(
        "--client-cores", type=int, nargs="+", default=[0], help="the tools' cores (default 0)"
    )
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="a folder on ext4")
    parser.add_argument(
        "--listed", type=int, nargs="+", default=[1_000_000, 10_000_000], help="entries of the listed buckets"
    )
    parser.add_argument(
        "--s3-keys", type=int, default=1_000_000, help="keys that each tool lists from S3 (default 1000000)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the result of a partial run too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
