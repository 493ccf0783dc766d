"""The bars that bucketpull is held to, and whether a run met them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.compare import Result

JUDGED = "20 KiB"


@dataclass(frozen=True)
class Goal:
    """A figure that must not exceed its bar; None where the run has not measured it."""

    name: str
    bar: float
    unit: str
    figure: Callable[["Figures"], float | None]


class Figures:
    """The CPU µs an object of each tool, where the goals are judged: 20 KiB objects onto tmpfs."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._cpu = {
            (result.tool.name, result.setting.tls): result.cpu_microseconds()
            for result in results
            if result.bucket.name == JUDGED and result.costs and str(result.setting.destination) == "/dev/shm"
        }
        self._memory = [
            each.memory_megabytes() for each in results if each.tool.name == "bucketpull" and each.costs
        ]

    def cpu(self, tool: str, *, tls: bool = False) -> float | None:
        """Return a tool's CPU µs an object."""
        return self._cpu.get((tool, tls))

    def ratio(self, other: str, *, tls: bool = False) -> float | None:
        """Return bucketpull's CPU as a multiple of another tool's."""
        mine, theirs = self.cpu("bucketpull", tls=tls), self.cpu(other, tls=tls)
        return mine / theirs if mine and theirs else None

    def limit(self) -> float | None:
        """Return what fetching and writing cost at the least."""
        fetch, write = self.cpu("limit: fetch"), self.cpu("limit: write")
        return fetch + write if fetch and write else None

    def beyond_limit(self) -> tuple[float | None, float | None]:
        """Return bucketpull's CPU as a multiple of the limit, and its µs an object above it."""
        mine, limit = self.cpu("bucketpull"), self.limit()
        return (mine / limit, mine - limit) if mine and limit else (None, None)

    def memory(self) -> float | None:
        """Return the highest peak of all bucketpull's runs, in MB."""
        return max(self._memory, default=None)


GOALS = [
    Goal("CPU, × `curl --parallel`", 0.75, "×", lambda figures: figures.ratio("curl --parallel")),
    Goal(
        "CPU with TLS, × `curl --parallel` with TLS", 0.8, "×", lambda f: f.ratio("curl --parallel", tls=True)
    ),
    Goal("CPU, × rclone", 0.3, "×", lambda figures: figures.ratio("rclone")),
    Goal("CPU, × s5cmd", 0.15, "×", lambda figures: figures.ratio("s5cmd")),
    Goal("CPU, × aria2c", 0.15, "×", lambda figures: figures.ratio("aria2c")),
    Goal("CPU, × the limit (fetch + write)", 1.25, "×", lambda figures: figures.beyond_limit()[0]),
    Goal("CPU above the limit, an object", 10, "µs", lambda figures: figures.beyond_limit()[1]),
    Goal("peak memory of all processes", 250, "MB", lambda figures: figures.memory()),
]


def table(results: Sequence[Result]) -> str:
    """Write each goal beside its bar."""
    figures = Figures(results)
    rows = [_row(goal, goal.figure(figures)) for goal in GOALS]
    return "\n".join(
        ["| goal (20 KiB objects onto tmpfs) | measured | bar | |", "|---|---:|---:|---|", *rows]
    )


def _row(goal: Goal, figure: float | None) -> str:
    if figure is None:
        return f"| {goal.name} | | {goal.bar:g} {goal.unit} | not measured |"
    digits = 2 if goal.unit == "×" else 1
    verdict = "met" if figure <= goal.bar else "**not met**"
    return f"| {goal.name} | {figure:.{digits}f} {goal.unit} | {goal.bar:g} {goal.unit} | {verdict} |"
