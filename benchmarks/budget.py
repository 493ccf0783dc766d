"""`python -m benchmarks.budget`: whether each stage stays within its CPU budget (budget.toml), and an object within its calls; and how often a name is coded.

Exit 1 if one does not.

Times are of CPU, medians, and as multiples of a fixed piece of work measured in between, so that the same budget
holds on a slow machine and on a busy one. The margin is wide: noise does not reach it, an added call an object does
not hide below it for long.
"""

import statistics
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from benchmarks import calls, names
from benchmarks.stages import STAGES, prepared

BUDGET = Path(__file__).with_name("budget.toml")
ROUNDS = 7
ROUND_SECONDS = 0.04


def main() -> None:
    """Print each stage beside its budget."""
    budget = tomllib.loads(BUDGET.read_text())
    margin, reference = budget["margin"], budget["reference_microseconds"]
    exceeded = 0
    print(f"{'stage':<10}{'µs an object':>14}{'usual':>8}{'at most':>9}")
    for name in STAGES:
        usual = budget["stages"][name]
        found = microseconds(name) * reference
        exceeded += found > usual * margin
        verdict = "  EXCEEDED" if found > usual * margin else ""
        print(f"{name:<10}{found:>14.2f}{usual:>8.2f}{usual * margin:>9.2f}{verdict}")
    # The least of three: when the machine stutters, a writer leaves objects to its thread, which costs calls of its own (15 more).
    modules = min((calls.an_object() for _ in range(3)), key=lambda found: sum(found.values()))
    most = budget["calls"]
    is_over = sum(modules.values()) > most["calls"] or len(modules) > most["modules"]
    print(
        f"\nan ordinary object: {sum(modules.values()):.1f} Python calls in {len(modules)} modules "
        f"(at most {most['calls']} in {most['modules']}){'  EXCEEDED' if is_over else ''}"
    )
    coding = names.counted()
    decoded, encoded = (
        sum(coding[f"{what} {form}"] for form in ("json", "msgpack")) for what in ("decode", "encode")
    )
    is_coded_often = max(decoded, encoded) > most["codings"]
    print(
        f"its name, from the page to the ledger and the journal: decoded {decoded} times, encoded {encoded} times "
        f"(at most {most['codings']} each){'  EXCEEDED' if is_coded_often else ''}"
    )
    sys.exit(1 if exceeded or is_over or is_coded_often else 0)


def microseconds(name: str) -> float:
    """Return a stage's CPU time an object, as a multiple of the reference work's."""
    with prepared(name) as (run, objects):
        run()
        return statistics.median(_round(run) / objects / _round(_reference) for _ in range(ROUNDS))


def _round(run: Callable[[], object]) -> float:
    """Return the mean CPU seconds of a run, over some hundredths of a second."""
    runs, started = 0, time.process_time()
    while True:
        run()
        runs += 1
        spent = time.process_time() - started
        if spent > ROUND_SECONDS:
            return spent / runs


def _reference() -> int:
    """Do what Python code usually does: calls, dictionaries, bytes, integers."""
    table: dict[bytes, int] = {}
    for number in range(2_000):
        key = b"img-%07d.jpg" % (number % 100)
        table[key] = table.get(key, 0) + len(key)
    return sum(table.values())


if __name__ == "__main__":
    if sys.argv[1:] == ["--reference"]:
        print(f"{statistics.median(_round(_reference) for _ in range(ROUNDS)) * 1e6:.0f} µs")
    else:
        main()
