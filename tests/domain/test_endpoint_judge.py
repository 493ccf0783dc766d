"""A machine's judgement of endpoints: on the evidence of all its processes, of objects that differ, and for as long as it lasts."""

import itertools

import msgspec
import pytest

from bucketpull.domain.endpoint_judge import TRIAL_SECONDS, UNPROVEN_SECONDS, EndpointJudge
from bucketpull.domain.endpoints import EndpointSpec, Purpose, State, Symptoms
from bucketpull.domain.errors import Reason

LIST = EndpointSpec(name="list", purpose=Purpose.LIST, title="the API")
EDGE = EndpointSpec(name="cdn", purpose=Purpose.FETCH, title="the CDN", is_origin=False, hint="--cdn-url")
ORIGIN = EndpointSpec(name="rest", purpose=Purpose.FETCH, title="the origin")
BOTH = (LIST, EDGE, ORIGIN)


def ill(failing=10, seconds=2.0, reason=Reason.CONNECT, good=0, **others):
    return Symptoms(good, failing, seconds, reason, "words", has_work=True, in_flight=1, **others)


def well(good=1):
    return Symptoms(good, in_flight=1, has_work=True)


def board_of(*specs, processes=2):
    return EndpointJudge(specs or BOTH, processes)


def state(board, name="cdn"):
    return board.standings()[name].state


def told_of(told):
    return [judged for _, judged in told]


@pytest.mark.parametrize(
    ("reason", "found"),
    [
        (Reason.CONNECT, State.DOWN),
        (Reason.TLS, State.DOWN),
        (Reason.RESET, State.DOWN),
        (Reason.SERVER_ERROR, State.DOWN),
        (Reason.FORBIDDEN, State.REFUSING),
        (Reason.REDIRECTED, State.REFUSING),
    ],
)
def test_what_fails_for_many_objects_is_down_or_refuses(reason, found):
    board = board_of()

    assert board.look(0, {"cdn": ill(20, reason=reason)}, 2.0)
    assert state(board) is found
    assert not board.look(0, {}, 2.5)


def test_a_success_anywhere_acquits_for_everybody():
    board = board_of()
    board.look(1, {"cdn": well()}, 1.9)
    board.look(0, {"cdn": ill()}, 2.0)
    assert state(board) is State.UP

    board.look(1, {"cdn": ill(good=1)}, 5.0)
    board.look(0, {"cdn": ill(seconds=5.0)}, 5.0)
    assert state(board) is State.DOWN

    assert board.look(1, {"cdn": well(2)}, 7.0)
    assert state(board) is State.UP


def test_few_objects_or_a_moment_convict_nobody():
    board = board_of()
    board.look(0, {"cdn": ill(2, seconds=900.0)}, 900.0)
    assert state(board) is State.UP
    board.look(0, {"cdn": ill(50, seconds=0.4)}, 901.0)
    assert state(board) is State.UP
    board.look(0, {"cdn": ill(19, seconds=60.0, reason=Reason.FORBIDDEN)}, 902.0)
    assert state(board) is State.UP


def test_refusals_of_too_few_objects_for_each_process_to_ask_a_witness_convict_nobody():
    board = board_of()
    for process in (0, 1):
        board.look(process, {"rest": ill(15, seconds=60.0, reason=Reason.FORBIDDEN)}, 60.0)
    assert state(board, "rest") is State.UP


def test_silence_is_slow_first_and_then_down_if_there_is_another_way():
    board = board_of()
    for seconds, found in ((2.0, State.UP), (3.5, State.SLOW), (6.5, State.DOWN)):
        board.look(0, {"cdn": Symptoms(0, silent_seconds=seconds, unanswered=8, in_flight=8)}, seconds)
        assert state(board) is found

    alone = board_of(LIST, ORIGIN)
    alone.look(0, {"rest": Symptoms(0, silent_seconds=14.0, unanswered=8, in_flight=8)}, 14.0)
    assert state(alone, "rest") is State.SLOW
    alone.look(0, {"rest": Symptoms(5, in_flight=8)}, 15.0)
    assert state(alone, "rest") is State.UP


def test_one_process_that_hears_something_speaks_against_silence():
    board = board_of()
    board.look(1, {"cdn": Symptoms(5, silent_seconds=0.0, unanswered=0, in_flight=8)}, 9.0)
    board.look(0, {"cdn": Symptoms(5, silent_seconds=9.0, unanswered=8, in_flight=8)}, 9.0)

    assert state(board) is State.UP


def test_an_endpoint_that_is_down_is_tried_by_one_process_and_at_most_once_a_minute_in_the_long_run():
    board = board_of(processes=4)
    tries = []
    for second in range(3_600):
        for process in range(4):
            seen = {"cdn": ill(seconds=second), "rest": well(second + 1)}
            told = board.look(process, seen, float(second))
            tries += [(second, each, name) for each, judged in told for name in judged.tries]

    assert {name for *_, name in tries} == {"cdn"}
    assert len(tries) <= 3600 / TRIAL_SECONDS + 3
    assert {process for _, process, _ in tries} == {0, 1, 2, 3}
    between = [later[0] - earlier[0] for earlier, later in itertools.pairwise(tries)]
    assert min(between[1:]) >= TRIAL_SECONDS  # the first look comes soon: most trouble is short


def test_an_endpoint_that_something_waits_for_is_tried_often():
    board = board_of()
    tries = 0
    for second in range(100):
        seen = {"cdn": ill(seconds=second, is_missed=True), "rest": well(second + 1)}
        tries += sum(len(judged.tries) for judged in told_of(board.look(0, seen, float(second))))

    assert 30 <= tries <= 55


def test_it_is_told_how_long_objects_wait_for_what_gave_nothing():
    board = board_of(msgspec.structs.replace(LIST, sites=("http://api",)), ORIGIN)

    def most(now, listing=None, **seen):
        board.look(0, {"rest": ill(seconds=now, is_missed=True), **seen}, now)
        board.look(1, {"list": listing} if listing else {}, now)
        return board.standings()["rest"].most_seconds

    assert most(10.0) == 0.0
    assert most(20.0, ill(seconds=10.0)) == 0.0
    assert most(30.0, well()) == UNPROVEN_SECONDS
    assert most(40.0, rest=well()) == 0.0


def test_nobody_tries_while_the_source_asks_to_be_left_alone():
    board = board_of(LIST, ORIGIN)
    for second in range(2, 60):
        told = board.look(0, {"rest": ill(seconds=second, rest_seconds=60.0 - second)}, float(second))
        assert not any(judged.tries for judged in told_of(told))


def test_refused_credentials_end_the_job_if_nothing_ever_came_and_soon_if_they_are_withdrawn():
    board = board_of(LIST, ORIGIN)
    board.look(0, {"rest": ill(3, 1.2, Reason.CREDENTIALS)}, 1.2)
    assert board.refusal[0] is Reason.CREDENTIALS

    board = board_of(LIST, ORIGIN)
    board.look(0, {"rest": well(100)}, 1.0)
    board.look(0, {"rest": ill(30, 2.0, Reason.CREDENTIALS, good=100)}, 3.0)
    assert board.refusal is None
    board.look(0, {}, 6.0)
    assert board.refusal is None
    board.look(0, {"rest": ill(30, 6.0, Reason.CREDENTIALS, good=100)}, 7.0)
    assert board.refusal[0] is Reason.CREDENTIALS


def test_an_edge_that_refuses_everything_ends_no_job_while_the_origin_gives_something_or_may_yet():
    board = board_of()
    board.look(0, {"cdn": ill(30, 5.0, Reason.FORBIDDEN), "rest": well()}, 5.0)
    assert board.refusal is None

    board = board_of()
    board.look(0, {"cdn": ill(30, 5.0, Reason.FORBIDDEN), "rest": Symptoms(in_flight=4)}, 5.0)
    assert board.refusal is None
    board.look(0, {"rest": ill(30, 5.0, Reason.CONNECT)}, 5.0)
    assert board.refusal is None  # an outage passes

    board.look(0, {"rest": ill(30, 5.0, Reason.PERMISSION)}, 5.0)
    reason, words = board.refusal
    assert reason is Reason.FORBIDDEN
    assert "the CDN" in words
    assert "--cdn-url" in words
    assert "the origin" in words


def test_after_a_standstill_of_the_machine_what_waited_meanwhile_is_heard_before_the_job_ends():
    board = board_of(ORIGIN)
    board.look(0, {"rest": ill(30, 0.5, Reason.FORBIDDEN)}, 0.5)
    board.look(0, {"rest": ill(30, 6.5, Reason.FORBIDDEN)}, 6.5)
    assert board.refusal is None

    board.look(1, {"rest": well()}, 6.6)
    board.look(0, {"rest": ill(30, 8.0, Reason.FORBIDDEN)}, 8.0)
    assert board.refusal is None


def test_a_refusal_that_lasts_after_a_standstill_ends_the_job():
    board = board_of(ORIGIN)
    for at in (0.5, 6.5, 7.0, 7.5):
        board.look(0, {"rest": ill(30, at, Reason.FORBIDDEN)}, at)

    assert board.refusal[0] is Reason.FORBIDDEN


def test_a_listing_that_was_refused_from_its_first_page_ends_the_job():
    board = board_of()
    board.look(0, {"list": ill(1, 1.1, Reason.CREDENTIALS)}, 1.1)

    assert board.refusal[0] is Reason.CREDENTIALS


def test_all_processes_are_told_the_same_once_and_one_is_told_to_try():
    judge = EndpointJudge(BOTH, 3)
    told = []
    for tenth in range(60):
        now = tenth / 10
        told += judge.look(tenth % 3, {"cdn": ill(seconds=now)}, now)

    news = [(process, judged) for process, judged in told if not judged.tries]
    assert [process for process, _ in news] in ([0, 1, 2], [0, 1, 2])
    assert {str(judged.states) for _, judged in told} == {str({"cdn": State.DOWN})}
    assert [judged.tries for _, judged in told if judged.tries] == [["cdn"]]


def test_the_wait_that_one_process_was_asked_for_is_kept_by_all():
    judge = EndpointJudge(BOTH, 2)
    told = judge.look(0, {"rest": ill(3, 0.1, Reason.SERVER_ERROR, rest_seconds=7.0)}, 1.0)

    assert [(process, judged.rests) for process, judged in told] == [(0, {"rest": 7.0}), (1, {"rest": 7.0})]
    assert judge.look(1, {"rest": ill(3, 0.6, Reason.SERVER_ERROR, rest_seconds=6.5)}, 1.5) == []


def test_a_process_that_begins_is_told_what_the_others_know():
    judge = EndpointJudge(BOTH, 2)
    judge.look(0, {"cdn": ill()}, 2.0)

    assert judge.process_started(0, 3.0).states == {"cdn": State.DOWN}


def test_what_fails_for_one_process_while_another_succeeds_again_and_again_is_the_objects_fault():
    """The process that has only such objects has none to prove them by: they were waited for, for ever."""
    judge = EndpointJudge(BOTH, 2)
    judge.look(0, {"rest": well()}, 0.0)
    told = []
    for second in range(1, 120):
        judge.look(1, {"rest": ill(3, seconds=5.0)}, float(second))
        if judge.standings()["rest"].state is State.DOWN:
            told += judge.look(0, {"rest": well(second + 1)}, float(second) + 0.5)
    assert any("rest" in judged.cleared for process, judged in told if process == 1)


def test_one_return_after_an_outage_says_nothing_against_the_objects():
    judge = EndpointJudge(BOTH, 2)
    judge.look(0, {"rest": well()}, 0.0)
    for second in range(1, 100):
        judge.look(1, {"rest": ill(30, seconds=float(second))}, float(second))
    told = judge.look(0, {"rest": well(2)}, 100.0)
    assert [judged.cleared for _, judged in told] == [[], []]


def test_what_is_down_for_all_other_machines_is_begun_with_one_request_and_used_when_that_is_answered():
    judge = EndpointJudge(BOTH, 2)
    assert [judged.states for judged in told_of(judge.hear(["cdn"], 10.0))] == [{"cdn": State.DOWN}] * 2
    assert judge.hear(["cdn"], 10.5) == []

    told = judge.look(0, {"cdn": Symptoms(has_work=True)}, 11.0)
    assert [process for process, judged in told if judged.tries == ["cdn"]] == [0]
    assert judge.look(0, {"cdn": Symptoms(has_work=True, in_flight=1)}, 11.5) == []
    told = judge.look(0, {"cdn": well()}, 12.0)
    assert [judged.states for judged in told_of(told)] == [{}, {}]


def test_what_a_machine_sees_itself_outweighs_what_others_say():
    judge = EndpointJudge(BOTH, 2)
    judge.look(0, {"cdn": well()}, 10.0)
    assert judge.hear(["cdn"], 12.0) == []

    busy = EndpointJudge(BOTH, 2)
    busy.look(0, {"cdn": Symptoms(in_flight=3)}, 10.0)
    assert busy.hear(["cdn"], 10.0) == []
    assert busy.hear(["of another source"], 10.5) == []


def test_what_is_well_again_for_another_machine_is_used_or_where_it_failed_here_too_tried_at_once():
    judge = EndpointJudge(BOTH, 1)
    judge.hear(["cdn"], 10.0)
    assert told_of(judge.hear([], 11.0))[0].states == {}

    judge.hear(["cdn"], 12.0)
    failed = {"cdn": Symptoms(0, 1, 0.1, Reason.CONNECT, "words", has_work=True)}
    for now in (13.0, 21.5, 82.0):
        assert told_of(judge.look(0, failed, now))[0].tries == ["cdn"]
    assert judge.look(0, failed, 90.0) == []
    assert judge.hear([], 91.0) == []
    assert told_of(judge.look(0, failed, 91.5))[0].tries == ["cdn"]
