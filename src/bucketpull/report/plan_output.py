"""`plan` in words and as JSON."""

import math
from typing import Any

import msgspec

from bucketpull.domain.demand import WARN_SHARE, Demand, Fit, FreeSpace, Guess, Packed, is_better_packed
from bucketpull.report.figures import count, money, percent, short, size, speed
from bucketpull.report.printable import label, table
from bucketpull.report.times import duration
from bucketpull.report.words import Words


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
    by_origin: bool
    rooms: list[FreeSpace]
    fit: Fit
    packed: Packed
    packs: bool
    cost: Guess | None = None


def plan_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON; an unbounded `high` is null."""
    shown: dict[str, Any] = msgspec.to_builtins(plan)
    shown["fit"] |= {"share": plan.fit.share, "fits": plan.fit.share <= 1}
    return shown


def plan_lines(plan: Plan, words: Words) -> list[str]:
    """Return the plan for people."""
    needed, say = plan.demand, words
    how = say("plan.all") if plan.whole else say("plan.sample", count(plan.pages))
    usage = size(plan.usage_bytes) if plan.usage_bytes is not None else say("plan.untold")
    rows = [
        ("bucket", usage),
        ("listed", say("plan.counted", how, count(plan.sampled_objects))),
        ("objects", banded(needed.objects, count, say)),
        ("directories", banded(needed.directories, count, say)),
        ("bytes", banded(needed.bytes, size, say)),
        ("on_disk", say("plan.blocks", banded(needed.disk_bytes, size, say))),
        ("inodes", banded(needed.inodes, count, say)),
        ("in_packs", _in_packs(plan.packed, say)),
        ("requests", say("plan.both", count(needed.objects.value), count(needed.listing_requests.value))),
        ("traffic", _traffic(plan, say)),
        ("time", _time(plan, say)),
    ]
    if plan.cost is not None:
        rows.append(("cost", say("plan.priced", banded(plan.cost, money, say))))
    lines = [say("plan", plan.source), *(f"  {label(say(f'plan.{name}'))}{text}" for name, text in rows)]
    return [*lines, "", *_rooms(plan.rooms, say), "", *_verdict(plan, say), *_advice(plan, say)]


def banded(guess: Guess, form: Any, say: Words) -> str:  # noqa: ANN401 - a function of a number
    """Write a number with its band, where that is wider than a hundredth."""
    if math.isinf(guess.high):
        return say("plan.least", form(guess.low))
    if guess.high - guess.low <= 0.01 * guess.value:
        return str(form(guess.value))
    return say("plan.band", form(guess.value), form(guess.low), form(guess.high))


def _traffic(plan: Plan, say: Words) -> str:
    title = say.message(plan.by)
    by = title if plan.by_origin else say("plan.billed", title)
    return say("plan.by", size(plan.demand.bytes.value), by)


def _time(plan: Plan, say: Words) -> str:
    if plan.seconds is None:
        return say("plan.unmeasured")
    text = duration(plan.seconds, say.language)
    if math.isinf(plan.demand.objects.high):
        text = say("plan.least", text)
    caps = [f"--rate {plan.rate:g}"] if plan.rate else []
    caps += [f"--bandwidth '{plan.bandwidth}'"] if plan.bandwidth else []
    if caps:
        text = say("plan.capped", text, " ".join(caps))
    measured = plan.measured
    if measured:
        rates = speed(measured.objects_per_second), f"{size(measured.bytes_per_second)}/s"
        text = say("plan.measured", text, *rates, measured.in_flight)
    return text


def _in_packs(needed: Packed, say: Words) -> str:
    """Say what `--pack` would make of it."""
    return say("plan.packed", banded(needed.disk_bytes, size, say), count(needed.inodes.value))


def _advice(plan: Plan, say: Words) -> list[str]:
    """Recommend packs where they are the better choice, with the reckoning."""
    if plan.packs or not is_better_packed(plan.demand, plan.fit):
        return []
    saved = size(max(0.0, plan.demand.disk_bytes.value - plan.packed.disk_bytes.value))
    packs, files = plan.packed.read_seconds, plan.packed.read_seconds_as_files
    return [
        say("plan.better", saved, count(plan.demand.inodes.value)),
        say("plan.read", duration(packs, say.language), duration(files, say.language)),
    ]


def _rooms(rooms: list[FreeSpace], say: Words) -> list[str]:
    rows = [(say("free"), say("inodes"), say("plan.held"), say("plan.volume"))]
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


def _verdict(plan: Plan, say: Words) -> list[str]:
    share, highest = plan.fit.share, plan.fit.highest
    scarce = say("inodes" if plan.fit.inodes.value > plan.fit.bytes.value else "plan.room")
    if share > 1:
        if math.isinf(share):
            return [say("plan.none", scarce)]
        return [say("plan.short", f"{share * 100:.0f}", scarce)]
    used = percent(share), scarce
    if math.isinf(highest):
        return [say("plan.fits.so_far", *used)]
    if highest > 1:
        return [say("plan.fits.probably", *used, f"{highest * 100:.0f}")]
    if share > WARN_SHARE or highest > WARN_SHARE:
        return [say("plan.fits.tightly", *used)]
    return [say("plan.fits", *used)]
