"""An endpoint that changes its state is told once, with where the objects come from meanwhile, and once when it is back."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import re

import msgspec
import pytest

from bucketpull.domain.endpoints import EndpointSpec, Purpose, State
from bucketpull.domain.status import EndpointStatus
from bucketpull.report.events import EndpointEvents
from bucketpull.report.words import translated

LIST = EndpointSpec(name="list", purpose=Purpose.LIST, title="the API v0.api.example")
EDGE = EndpointSpec(name="cdn", purpose=Purpose.FETCH, title="the CDN img.example.com", is_origin=False)
ORIGIN = EndpointSpec(name="rest", purpose=Purpose.FETCH, title="the API v0.api.example")


@pytest.fixture
def machines(running):
    """Make pulses of machines: each is given by the states of its endpoints, with seconds."""

    def make(*states):
        return [
            msgspec.structs.replace(
                running.machines[0],
                machine=f"m{number}",
                endpoints={
                    name: EndpointStatus(
                        0, 1.0, 1, 0, 0.0, state=state, state_seconds=seconds, detail="connect: no"
                    )
                    for name, (state, seconds) in each.items()
                },
            )
            for number, each in enumerate(states, 1)
        ]

    return make


def test_it_is_told_once_when_it_begins_and_once_when_it_ends(machines):
    changes = EndpointEvents((LIST, EDGE, ORIGIN))
    down, up = machines({"cdn": (State.DOWN, 1.0)}), machines({"cdn": (State.UP, 0.0)})

    assert list(changes.look(up, 1000.0)) == []
    ((level, event, _, text),) = changes.look(down, 1001.0)
    assert (level, event) == ("warning", "endpoint.down")
    assert re.fullmatch(
        r"nothing usable has come from the CDN img\.example\.com since \d\d:\d\d: objects come from the API v0\.api\.example \(connect: no\)",
        text,
    )
    assert re.fullmatch(
        r"CDN img\.example\.com 自 \d\d:\d\d 起没有可用的应答：对象改由 API v0\.api\.example 获取（connect: no）",
        translated(text, "zh"),
    )
    assert list(changes.look(down, 1002.0)) == []
    ((level, event, _, text),) = changes.look(up, 1301.0)
    assert (level, event) == ("info", "endpoint.up")
    assert text == "requests go to the CDN img.example.com again, after 5 min 1 s"
    assert list(changes.look(up, 1302.0)) == []


@pytest.mark.parametrize("state", [State.SLOW, State.REFUSING, State.DOWN])
def test_what_is_told_is_right_of_many_servers_as_of_one(machines, state):
    listed = EndpointSpec(name="cdn", purpose=Purpose.FETCH, title="the servers of the list")
    changes = EndpointEvents((listed,))
    told = [
        *changes.look(machines({"cdn": (state, 11.0)}), 11.0),
        *changes.look(machines({"cdn": (State.UP, 0.0)}), 30.0),
    ]

    assert len(told) == 2
    for *_, text in told:
        assert re.search(r"(from|to) the servers of the list (since|again)", text)
        assert translated(text, "zh").startswith("列表中的服务器 ")


def test_one_that_answers_with_errors_is_not_said_to_be_silent(machines):
    broken = machines({"cdn": (State.DOWN, 1.0)})
    broken[0].endpoints["cdn"].detail = "garbage: text/html in place of an image"

    ((*_, text),) = EndpointEvents((LIST, EDGE, ORIGIN)).look(broken, 1.0)

    assert text.startswith("nothing but errors has come from the CDN img.example.com since ")
    assert translated(text, "zh").startswith("CDN img.example.com 自 ")


def test_several_machines_that_see_the_same_make_one_event_and_another_when_it_has_spread_to_all(machines):
    changes = EndpointEvents((LIST, EDGE, ORIGIN))
    up, down = {"cdn": (State.UP, 0.0)}, {"cdn": (State.DOWN, 1.0)}

    ((*_, text),) = changes.look(machines(down, up, down, up), 1.0)
    assert text.startswith(
        "2 of 4 machines (m1, m3): nothing usable has come from the CDN img.example.com since "
    )
    assert translated(text, "zh").startswith("4 台机器中的 2 台（m1, m3）：CDN img.example.com 自 ")
    assert list(changes.look(machines(up, down, down, up), 2.0)) == []
    ((*_, text),) = changes.look(machines(down, down, down, down), 3.0)
    assert text.startswith("all 4 machines: nothing usable has come from the CDN img.example.com since ")
    assert translated(text, "zh").startswith("全部 4 台机器：CDN img.example.com 自 ")
    assert list(changes.look(machines(up, up, down, up), 4.0)) == []
    assert list(changes.look(machines(down, down, down, down), 5.0)) == []
    ((_, event, *_),) = changes.look(machines(up, up, up, up), 6.0)
    assert event == "endpoint.up"
    ((*_, text),) = changes.look(machines(down, up, up, up), 7.0)
    assert text.startswith("1 of 4 machines (m1): ")


def test_a_machine_that_never_asked_an_endpoint_is_not_counted(machines):
    lister, worker = machines({"cdn": (State.UP, 0.0)}, {"cdn": (State.DOWN, 1.0)})
    lister.endpoints["cdn"].requests = 0

    ((*_, text),) = EndpointEvents((LIST, EDGE, ORIGIN)).look([lister, worker], 1.0)
    assert text.startswith("nothing usable has come from the CDN img.example.com since ")


def test_what_is_slow_for_a_moment_is_not_told(machines):
    changes = EndpointEvents((LIST, EDGE, ORIGIN))
    assert list(changes.look(machines({"cdn": (State.SLOW, 3.0)}), 3.0)) == []
    assert [event for _, event, _, _ in changes.look(machines({"cdn": (State.SLOW, 11.0)}), 11.0)] == [
        "endpoint.slow"
    ]


def test_where_nothing_else_has_them_objects_wait_and_so_does_a_listing(machines):
    changes = EndpointEvents((LIST, EDGE, ORIGIN))
    told = list(changes.look(machines(dict.fromkeys(("list", "cdn", "rest"), (State.DOWN, 1.0))), 9.0))

    assert [event for _, event, _, _ in told] == ["endpoint.down"] * 3
    assert "the listing waits" in told[0][3]
    assert "none fails" in told[1][3]


def test_an_address_that_is_left_alone_is_told_once_whoever_sees_it(running):
    def seen(*away):
        endpoints = [
            {
                name: EndpointStatus(0, 1.0, 1, 0, 0.0, away=dict.fromkeys(labels, "connect: no"))
                for name in ("list", "rest")
            }
            for labels in away
        ]
        return [msgspec.structs.replace(running.machines[0], endpoints=each) for each in endpoints]

    changes = EndpointEvents((LIST, EDGE, ORIGIN))
    ((level, event, about, text),) = changes.look(seen(["v0.api.example"], []), 1000.0)
    assert (level, event, about) == ("warning", "address.away", "endpoint v0.api.example")
    assert text == "v0.api.example is left alone: connect: no; the others are used"
    assert translated(text, "zh").startswith("v0.api.example 暂停使用")
    assert list(changes.look(seen(["v0.api.example"], ["v0.api.example"]), 1001.0)) == []
    ((level, event, about, text),) = changes.look(seen([], []), 1060.0)
    assert (level, event, about, text) == (
        "info",
        "address.back",
        "endpoint v0.api.example",
        "v0.api.example is used again, after 1 min",
    )


def test_where_nothing_comes_from_any_address_none_is_said_to_be_used(running):
    def seen(state, *away):
        endpoint = EndpointStatus(0, 1.0, 1, 0, 0.0, state=state, away=dict.fromkeys(away, "connect: no"))
        return [msgspec.structs.replace(running.machines[0], endpoints={"rest": endpoint})]

    changes = EndpointEvents((LIST, EDGE, ORIGIN))

    def events(*machines):
        return [event for _, event, *_ in changes.look(seen(*machines), 1000.0)]

    assert events(State.DOWN, "a.example", "b.example") == ["endpoint.down"]
    assert events(State.UP, "b.example") == ["endpoint.up", "address.away"]
    assert events(State.DOWN, "a.example", "b.example") == ["endpoint.down"]
    assert events(State.DOWN, "a.example") == ["address.back"]


def test_a_long_rest_is_told_once_whether_the_endpoint_asks_for_it_or_refuses_everything(running):
    def seen(seconds):
        endpoints = {"rest": EndpointStatus(0, 1.0, 1, 0, 0.0, rest_seconds=seconds)}
        return [msgspec.structs.replace(running.machines[0], endpoints=endpoints)]

    changes = EndpointEvents((LIST, EDGE, ORIGIN))
    assert list(changes.look(seen(2.0), 1000.0)) == []
    ((_, event, about, text),) = changes.look(seen(300.0), 1000.0)
    assert (event, about) == ("endpoint.rest", "endpoint rest rest")
    words = r"no requests go to the API v0\.api\.example until \d\d:\d\d:\d\d: this was asked for, or all requests are refused"
    assert re.fullmatch(words, text)
    assert list(changes.look(seen(290.0), 1010.0)) == []
    ((level, event, about, text),) = changes.look(seen(0.0), 1301.0)
    assert (level, event, about) == ("info", "endpoint.rested", "endpoint rest rest")
    assert text == "requests go to the API v0.api.example again"
