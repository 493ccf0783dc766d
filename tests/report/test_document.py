import json

import msgspec
import pytest

from bucketpull.domain.endpoints import State
from bucketpull.domain.status import EndpointStatus
from bucketpull.report.document import endpoints_of, exit_code_of, snapshot_dict, summary_dict
from bucketpull.report.events import state_of
from bucketpull.report.summary import status_lines
from bucketpull.report.words import Words


def test_the_summary_has_exactly_the_fields_of_the_contract(ended):
    summary = summary_dict(ended)

    assert list(summary) == [
        "complete", "listed", "stored", "skipped", "excluded", "failed", "vanished", "directories", "bytes", "seconds",
        "objects_per_second", "retries", "failures", "volumes",
    ]  # fmt: skip
    assert summary["listed"] == sum(summary[name] for name in ("stored", "skipped", "failed", "vanished"))
    assert (summary["complete"], summary["seconds"], summary["objects_per_second"]) == (False, 12.25, 734.69)
    assert json.loads(json.dumps(summary)) == summary


def test_objects_that_were_not_wanted_are_part_of_the_sum(ended):
    ended.counters.listed += 7
    ended.counters.excluded = 7

    summary = summary_dict(ended)

    names = ("stored", "skipped", "excluded", "failed", "vanished")
    assert summary["listed"] == sum(summary[name] for name in names)


def test_a_job_too_short_for_a_measured_speed_has_one_by_division(ended):
    ended.rates.objects_mean = 0.0

    assert summary_dict(ended)["objects_per_second"] == 734.69


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("complete", 0),
        ("incomplete", 3),
        ("refused", 4),
        ("no-room", 5),
        ("interrupted", 130),
        ("listing", 3),
    ],
)
def test_each_end_has_the_exit_code_of_the_contract(running, state, code):
    running.state = state

    assert exit_code_of(running) == code


def test_a_snapshot_as_a_document_keeps_names_and_is_json(running):
    document = msgspec.json.decode(msgspec.json.encode(snapshot_dict(running)))

    assert document["counters"]["stored"] == 180_345_678
    assert document["machines"][0]["lanes"]["cdn"]["in_flight"] == 212
    assert document["machines"][0]["holds"] == 3
    assert document["volumes"][3]["state"] == "sick"
    assert document["limits"]["requests_per_second"] == 8000.0
    assert document["waits_for_endpoints"] == {}


def test_a_document_names_the_endpoints_that_the_job_waits_for(running):
    for machine in running.machines:
        machine.endpoints = {
            "list": EndpointStatus(0, 4.0, 15, 0, 1.0, state=State.DOWN, state_seconds=2400.0)
        }

    assert snapshot_dict(running)["waits_for_endpoints"] == {"list": 2400.0}


def test_an_endpoint_is_shown_as_the_machine_sees_it_for_which_it_does_worst(running):
    running.machines[1].endpoints["cdn"] = msgspec.structs.replace(
        running.machines[1].endpoints["cdn"], state=State.DOWN, state_seconds=90.0
    )

    endpoint = endpoints_of(running)["cdn"]
    second = running.machines[1].machine
    told = state_of("cdn", endpoint, running.machines, Words("en"))
    assert told == f" (down 1 min 30 s; 1 of 2 machines ({second}))"
    told = state_of("cdn", endpoint, running.machines, Words("zh"))
    assert told.startswith(" (无应答 1 分 30 秒; 2 台机器中的 1 台")
    assert state_of("cdn", endpoint, running.machines[1:], Words("en")) == " (down 1 min 30 s)"
    assert any("cdn 424 (down" in line for line in status_lines(running, Words("en"), running=True))


def test_lanes_are_added_up_over_machines(running):
    assert endpoints_of(running)["cdn"].in_flight == 424
    assert running.machines[0].endpoints["cdn"].in_flight == 212
