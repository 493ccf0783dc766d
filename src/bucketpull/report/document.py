"""A snapshot as plain dictionaries: the shape of `--json`, `--summary`, `status --json` and the dashboard.

Names are those of `domain.progress`, `domain.model` and `domain.messages`. Sizes in bytes, times in Unix seconds, durations in seconds.
"""

from typing import Any

import msgspec

from bucketpull.domain.endpoints import Purpose, State
from bucketpull.domain.errors import ExitCode
from bucketpull.domain.messages import Pulse
from bucketpull.domain.progress import RUNNING, JobState, Snapshot
from bucketpull.domain.status import EndpointStatus, VolumeStatus

_EXITS = {
    JobState.COMPLETE: ExitCode.COMPLETE,
    JobState.REFUSED: ExitCode.REFUSED,
    JobState.NO_ROOM: ExitCode.NO_ROOM,
    JobState.BUDGET_SPENT: ExitCode.BUDGET_SPENT,
    JobState.INTERRUPTED: ExitCode.INTERRUPTED,
}


def exit_code_of(snapshot: Snapshot) -> ExitCode:
    """Say how the process ends when the job stays as it is."""
    return _EXITS.get(snapshot.state, ExitCode.INCOMPLETE)


def exit_words_of(snapshot: Snapshot) -> str:
    """Return by which name `words` tells the exit code: what failed is tried again in another way than what is missing."""
    if snapshot.state is JobState.COMPLETE and snapshot.counters.vanished:
        return "exit.0.vanished"
    if snapshot.state is JobState.INCOMPLETE and snapshot.outstanding.is_some:
        return "exit.3.cut"
    if snapshot.state is JobState.INCOMPLETE and snapshot.counters.has_only_vanished:
        return "exit.3.vanished"
    is_missing = snapshot.state is JobState.INCOMPLETE and not any(snapshot.failures.values())
    return f"exit.{int(exit_code_of(snapshot))}" + ".again" * is_missing


def summary_dict(snapshot: Snapshot) -> dict[str, Any]:  # JSON
    """Return the final reconciliation: the content of `--summary FILE`."""
    books = snapshot.counters
    mean = snapshot.rates.objects_mean or (books.stored / snapshot.seconds if snapshot.seconds else 0.0)
    return {
        "complete": snapshot.state == JobState.COMPLETE,
        "listed": books.listed,
        "stored": books.stored,
        "skipped": books.skipped,
        "excluded": books.excluded,
        "failed": books.failed,
        "vanished": books.vanished,
        "directories": books.directories,
        "bytes": books.bytes,
        "seconds": round(snapshot.seconds, 3),
        "objects_per_second": round(mean, 2),
        **({"spent": spent_dict(snapshot)} if snapshot.spent.requests else {}),
        **({"duplicates": books.duplicates} if books.duplicates else {}),
        "retries": dict(snapshot.retries),
        **({"doubts": dict(books.doubts)} if books.doubts else {}),
        "failures": dict(snapshot.failures),
        "volumes": [volume_dict(volume) for volume in snapshot.volumes],
    }


def snapshot_dict(snapshot: Snapshot) -> dict[str, Any]:  # JSON
    """Return everything that a snapshot says; of the work that machines hold only the number."""
    shown = msgspec.structs.asdict(snapshot)
    for name in ("counters", "outstanding", "rates", "estimate", "limits"):
        shown[name] = msgspec.structs.asdict(shown[name])
    shown["spent"], shown["prices"] = spent_dict(snapshot), msgspec.structs.asdict(snapshot.prices)
    shown["machines"] = [machine_dict(machine) for machine in snapshot.machines]
    shown["volumes"] = [volume_dict(volume) for volume in snapshot.volumes]
    shown["stages"] = {name: msgspec.structs.asdict(stage) for name, stage in snapshot.stages.items()}
    shown["waits_for_endpoints"] = {
        name: round(status.state_seconds, 1) for name, status in endpoints_waited_for(snapshot).items()
    }
    shown["notes"] = [msgspec.structs.asdict(note) for note in snapshot.notes]
    return shown


def spent_dict(snapshot: Snapshot) -> dict[str, Any]:  # JSON
    """Return what all runs of the job used, and in money where it has a price."""
    cost = snapshot.cost
    priced = {} if cost is None else {"cost": round(cost, 4)}
    spent = msgspec.structs.asdict(snapshot.spent)
    del spent["machines"]  # how it is counted, not what it is
    return spent | priced


def lists_only(pulse: Pulse) -> bool:
    """Whether a machine is the coordinator's own lister: it fetches nothing and has no volumes."""
    return not pulse.volumes and not pulse.window


def machine_dict(pulse: Pulse) -> dict[str, Any]:  # JSON
    """Return a machine's pulse; its volumes are in the job's list."""
    return {
        "machine": pulse.machine,
        "version": pulse.version,
        "processes": pulse.processes,
        "objects": pulse.objects,
        "bytes": pulse.bytes,
        "placed": pulse.placed,
        "written": pulse.written,
        "settled": pulse.settled,
        "holds": len(pulse.holds),
        "limited_by": pulse.limited_by,
        "waiting_for": pulse.waiting_for,
        "still_seconds": round(pulse.still_seconds, 1),
        "lists_only": lists_only(pulse),
        "lanes": {endpoint: msgspec.structs.asdict(status) for endpoint, status in pulse.endpoints.items()},
    }


def volume_dict(volume: VolumeStatus) -> dict[str, Any]:  # JSON
    """Return a volume's state."""
    told = msgspec.structs.asdict(volume) | {"state": str(volume.state)}
    del told["ledger_end"]  # between machines alone
    return told


def waited_for(snapshot: Snapshot) -> tuple[str, float, float]:
    """Return the key of the object that was waited for longest, and for how many seconds no object has ended; "" if some do.

    The third is for how many seconds its endpoint is waited for at most, 0 where that is not bounded.
    """
    longest = max(snapshot.machines, key=lambda pulse: pulse.still_seconds, default=None)
    if longest is None or snapshot.state not in RUNNING:
        return "", 0.0, 0.0
    most = max((endpoint.most_seconds for endpoint in longest.endpoints.values()), default=0.0)
    return longest.waiting_for, longest.still_seconds, most


def endpoints_waited_for(snapshot: Snapshot) -> dict[str, EndpointStatus]:
    """Return the endpoints that are not up, where nothing is in flight at those that are, and no other stands in for them."""
    seen = [each for machine in snapshot.machines for each in machine.endpoints.items()]
    well = {name for name, status in seen if status.state is State.UP}
    if snapshot.state not in RUNNING or any(
        status.in_flight and status.state is State.UP for _, status in seen
    ):
        return {}
    has_objects = any(name != Purpose.LIST for name in well)
    return {
        name: status
        for name, status in endpoints_of(snapshot).items()
        if name not in well and not (snapshot.listing_done if name == Purpose.LIST else has_objects)
    }


def endpoints_of(snapshot: Snapshot) -> dict[str, EndpointStatus]:
    """Add up the endpoints of all machines; the state is that of the machine for which an endpoint does worst."""
    order = list(State)
    endpoints: dict[str, EndpointStatus] = {}
    for machine in snapshot.machines:
        for name, status in machine.endpoints.items():
            total = endpoints.setdefault(name, EndpointStatus(0, 0.0, 0, 0, 0.0, status.is_origin))
            total.add(status)
            if order.index(status.state) > order.index(total.state):
                total.state, total.state_seconds = status.state, status.state_seconds
                total.detail = status.detail
    return endpoints
