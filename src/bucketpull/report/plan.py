"""`plan` in words and as JSON."""

import math
from typing import Any

import msgspec

from bucketpull.domain.planning import WARN_SHARE, Demand, Fit, Guess, Packed, Room, is_better_packed
from bucketpull.report.figures import count, duration, money, percent, size, speed
from bucketpull.report.summary import label
from bucketpull.report.tables import short, table


class Speed(msgspec.Struct):
    """A short measurement: per second, the received share of the listed bytes, transfers in flight, seconds, failed requests."""

    objects_per_second: float
    bytes_per_second: float
    share: float
    in_flight: int
    seconds: float
    failed: int


class Plan(msgspec.Struct):
    """What a job would take. `seconds` is None where no speed is known; `usage_bytes` None where the source says none."""

    source: str
    usage_bytes: int | None
    whole: bool
    pages: int
    sampled_objects: int
    demand: Demand
    seconds: float | None
    measured: Speed | None
    rate: float | None
    bandwidth: str | None
    by: str
    rooms: list[Room]
    fit: Fit
    packed: Packed
    packs: bool
    cost: Guess | None = None


def plan_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON; an unbounded `high` is null."""
    shown: dict[str, Any] = msgspec.to_builtins(plan)
    shown["fit"] |= {"share": plan.fit.share, "fits": plan.fit.share <= 1}
    return shown


def plan_lines(plan: Plan) -> list[str]:
    """Return the plan for people."""
    needed = plan.demand
    how = "all of it" if plan.whole else f"a sample of {count(plan.pages)} pages"
    rows = [
        ("bucket", size(plan.usage_bytes) if plan.usage_bytes is not None else "does not say its size"),
        ("listed", f"{how}: {count(plan.sampled_objects)} objects"),
        ("objects", banded(needed.objects, count)),
        ("directories", banded(needed.directories, count)),
        ("bytes", banded(needed.bytes, size)),
        ("on disk", f"{banded(needed.disk_bytes, size)}, whole blocks and directories"),
        ("inodes", banded(needed.inodes, count)),
        ("in packs", _in_packs(plan.packed)),
        (
            "requests",
            f"{count(needed.objects.value)} + {count(needed.listing_requests.value)} for the listing",
        ),
        ("traffic", f"{size(needed.bytes.value)} by {plan.by}"),
        ("time", _time(plan)),
    ]
    if plan.cost is not None:
        rows.append(("cost", f"{banded(plan.cost, money)}, as priced; what is retried is not in it"))
    lines = [f"plan for {plan.source}", *(f"  {label(name)}{text}" for name, text in rows)]
    return [*lines, "", *_rooms(plan.rooms), "", *_verdict(plan), *_advice(plan)]


def banded(guess: Guess, form: Any) -> str:  # noqa: ANN401 - a function of a number
    """Write a number with its band, where that is wider than a hundredth."""
    if math.isinf(guess.high):
        return f"at least {form(guess.low)}"
    if guess.high - guess.low <= 0.01 * guess.value:
        return str(form(guess.value))
    return f"{form(guess.value)}  ({form(guess.low)} to {form(guess.high)})"


def _time(plan: Plan) -> str:
    if plan.seconds is None:
        return "not known: nothing could be measured; say --rate or --bandwidth"
    least = "at least " if math.isinf(plan.demand.objects.high) else ""
    caps = [f"--rate {plan.rate:g}"] if plan.rate else []
    caps += [f"--bandwidth '{plan.bandwidth}'"] if plan.bandwidth else []
    how = f" with {' and '.join(caps)}" if caps else ""
    measured = plan.measured
    if measured:
        how += f"; measured {speed(measured.objects_per_second)}, {size(measured.bytes_per_second)}/s"
        how += f" with {measured.in_flight} in flight"
    return f"{least}{duration(plan.seconds)}{how}"


def _in_packs(needed: Packed) -> str:
    """Say what `--pack` would make of it."""
    return f"{banded(needed.disk_bytes, size)}, {count(needed.inodes.value)} inodes (--pack)"


def _advice(plan: Plan) -> list[str]:
    """Recommend packs where they are the better choice, with the reckoning."""
    if plan.packs or not is_better_packed(plan.demand, plan.fit):
        return []
    saved = size(max(0.0, plan.demand.disk_bytes.value - plan.packed.disk_bytes.value))
    packs, files = duration(plan.packed.read_seconds), duration(plan.packed.read_seconds_as_files)
    return [
        f"better in packs: --pack saves {saved} and {count(plan.demand.inodes.value)} inodes",
        f"read back from one hard disk: packs in {packs}, files in {files} (6 ms a seek)",
    ]


def _rooms(rooms: list[Room]) -> list[str]:
    rows = [("free", "inodes", "held", "volume (above its reserve)")]
    rows += [
        (
            size(room.bytes),
            "-" if room.inodes is None else short(room.inodes),
            size(room.held_bytes),
            room.path,
        )
        for room in rooms
    ]
    return table(rows, numbers={0, 1, 2})


def _verdict(plan: Plan) -> list[str]:
    share, highest = plan.fit.share, plan.fit.highest
    scarce = "inodes" if plan.fit.inodes.value > plan.fit.bytes.value else "room"
    if share > 1:
        much = (
            f"there is no {scarce}" if math.isinf(share) else f"it needs {share * 100:.0f} % of the {scarce}"
        )
        return [f"does not fit: {much} above the reserve; add volumes, or lower --reserve"]
    used = f"{percent(share)} of the {scarce} will be used"
    if math.isinf(highest):
        return [f"fits so far: at least {used}; list more with --sample to know"]
    if highest > 1:
        return [
            f"probably fits: {used}, but it may need {highest * 100:.0f} %; list more with --sample to know"
        ]
    if share > WARN_SHARE or highest > WARN_SHARE:
        return [f"fits, but tightly: {used}; have a volume ready to add"]
    return [f"fits: {used}"]
