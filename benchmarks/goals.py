"""The bars that bucketpull is held to, and whether a run met them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import s3, scenarios
from benchmarks.compare import Result

JUDGED = "20 KiB"
MANY = "20 KiB (many)"
"""As `JUDGED`, but five times as many, so that a program's start weighs little."""
CROWD = 1_000


@dataclass(frozen=True)
class Goal:
    """A figure that must not exceed its bar, or with `at_least` not fall below it; None where the run has not measured it."""

    name: str
    bar: float
    unit: str
    figure: Callable[["Figures"], float | None]
    at_least: bool = False


class Figures:
    """The CPU µs an object of each tool where the goals are judged: objects of 20 KiB onto tmpfs."""

    def __init__(self, results: Sequence[Result], findings: Mapping[str, float]) -> None:
        self.findings = findings
        mine = [each for each in results if each.costs and str(each.setting.destination) == "/dev/shm"]
        self._cpu = {
            (each.tool.name, each.bucket.name, each.setting.tls): each.cpu_microseconds()
            for each in mine
            if each.setting.connections < CROWD
        }
        self._memory = [
            each.memory_megabytes()
            for each in mine
            if each.tool.name == "bucketpull" and each.setting.connections >= CROWD
        ]

    def ratio(self, other: str, bucket: str, *, tls: bool = False, mine: str = "bucketpull") -> float | None:
        """Return bucketpull's CPU as a multiple of another tool's."""
        ours, theirs = self._cpu.get((mine, bucket, tls)), self._cpu.get((other, bucket, tls))
        return ours / theirs if ours and theirs else None

    def beyond_limit(self) -> tuple[float | None, float | None]:
        """Return bucketpull's CPU as a multiple of the limit, and its µs an object above it."""
        mine = self._cpu.get(("bucketpull", MANY, False))
        parts = [self._cpu.get((name, MANY, False)) for name in ("limit: fetch", "limit: write")]
        limit = sum(part for part in parts if part)
        return (mine / limit, mine - limit) if mine and all(parts) else (None, None)

    def memory(self) -> float | None:
        """Return bucketpull's peak at a thousand connections, in MB."""
        return max(self._memory, default=None)


GOALS = [
    Goal("CPU, × `curl --parallel`", 0.75, "×", lambda f: f.ratio("curl --parallel", MANY)),
    Goal(
        "… of a fifth as many objects, the start included",
        1.0,
        "×",
        lambda f: f.ratio("curl --parallel", JUDGED),
    ),
    Goal(
        "CPU into packs, × `curl --parallel` writing files",
        0.6,
        "×",
        lambda f: f.ratio("curl --parallel", MANY, mine="bucketpull --pack"),
    ),
    Goal(
        "CPU into packs, × files", 0.65, "×", lambda f: f.ratio("bucketpull", MANY, mine="bucketpull --pack")
    ),
    Goal("CPU with TLS, × `curl --parallel`", 0.8, "×", lambda f: f.ratio("curl --parallel", MANY, tls=True)),
    Goal("CPU, × rclone", 0.3, "×", lambda f: f.ratio("rclone", JUDGED)),
    Goal("CPU, × s5cmd", 0.15, "×", lambda f: f.ratio("s5cmd", JUDGED)),
    Goal("CPU, × aria2c", 0.15, "×", lambda f: f.ratio("aria2c", JUDGED)),
    Goal("CPU from S3, every MD5 compared, × s5cmd", 0.15, "×", lambda f: f.ratio("s5cmd", s3.NAME)),
    Goal("CPU from S3, every MD5 compared, × rclone", 0.15, "×", lambda f: f.ratio("rclone", s3.NAME)),
    Goal("CPU from S3, every MD5 compared, × aws-cli", 0.1, "×", lambda f: f.ratio("aws-cli", s3.NAME)),
    *(
        Goal(
            f"… without MD5s, as {peer} does it",
            bar,
            "×",
            lambda f, peer=peer: f.ratio(peer, s3.NAME, mine=s3.UNHASHED),  # type: ignore[misc]
        )
        for peer, bar in (("s5cmd", 0.15), ("rclone", 0.15), ("aws-cli", 0.1))
    ),
    Goal(
        "time to list 1,000,000 keys of S3, × the fastest peer",
        1.0,
        "×",
        lambda f: f.findings.get(s3.LISTED_KEYS),
    ),
    Goal("CPU, × the limit (fetch + write)", 1.25, "×", lambda f: f.beyond_limit()[0]),
    Goal("CPU above the limit, an object", 10, "µs", lambda f: f.beyond_limit()[1]),
    Goal("peak memory of all processes, 1,000 connections", 250, "MB", lambda f: f.memory()),
    Goal(
        "CPU with dashboard and metrics, × without", 1.02, "×", lambda f: f.findings.get(scenarios.DASHBOARD)
    ),
    Goal(
        "objects/s of two client cores, × one (a third core serves)",
        1.8,
        "×",
        lambda f: f.findings.get(scenarios.CORES),
        at_least=True,
    ),
    Goal(
        "listing alone, into the journal",
        100_000,
        "entries/s and core",
        lambda f: f.findings.get(scenarios.LISTED),
        at_least=True,
    ),
    Goal(
        "peak memory of the largest bucket listed, × the smallest",
        1.1,
        "×",
        lambda f: f.findings.get("memory growth"),
    ),
    Goal(
        "a finished job again",
        50_000,
        "objects/s and core",
        lambda f: f.findings.get(scenarios.RESUMED),
        at_least=True,
    ),
    Goal(
        "50 ms a response: `--concurrency auto` after 20 s, × the best fixed",
        0.9,
        "×",
        lambda f: f.findings.get(scenarios.AUTO),
        at_least=True,
    ),
    Goal(
        "one stalled object in 1,000: time added to the job, × the stall window",
        2.0,
        "×",
        lambda f: f.findings.get(scenarios.TAIL),
    ),
]


def table(results: Sequence[Result], findings: Mapping[str, float]) -> str:
    """Write each goal beside its bar."""
    figures = Figures(results, findings)
    rows = [_row(goal, goal.figure(figures)) for goal in GOALS]
    return "\n".join(
        ["| goal (20 KiB objects onto tmpfs) | measured | bar | |", "|---|---:|---:|---|", *rows]
    )


def _row(goal: Goal, figure: float | None) -> str:
    sense = "≥" if goal.at_least else "≤"
    bar = f"{sense} {goal.bar:,.6g} {goal.unit}"
    if figure is None:
        return f"| {goal.name} | | {bar} | not measured |"
    digits = 2 if goal.unit == "×" else 0 if figure > 1_000 else 1
    is_met = figure >= goal.bar if goal.at_least else figure <= goal.bar
    return (
        f"| {goal.name} | {figure:,.{digits}f} {goal.unit} | {bar} | {'met' if is_met else '**not met**'} |"
    )
