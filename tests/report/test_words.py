import re
import string

import pytest

from bucketpull.domain.errors import ExitCode, Reason
from bucketpull.domain.status import VolumeState
from bucketpull.report.reasons import explain, remedy_while_running
from bucketpull.report.words import TEXTS, Words, catalogue, language_of

STATES = (
    "starting listing transferring finishing paused no-room waiting complete incomplete interrupted refused"
)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_reason_is_explained_with_a_remedy_in_both_languages(language):
    for reason in Reason:
        assert all(explain(reason, language))


def test_every_state_volume_state_and_exit_code_has_a_text():
    ended = [code for code in ExitCode if code not in {ExitCode.BUG, ExitCode.USAGE}]

    wanted = [f"state.{state}" for state in STATES.split()]
    wanted += [f"volume.{state}" for state in VolumeState] + [f"exit.{int(code)}" for code in ended]

    assert [key for key in wanted if key not in TEXTS] == []


def test_both_languages_of_a_text_take_the_same_values():
    def places(text):
        return sum(field is not None for _, field, _, _ in string.Formatter().parse(text))

    chinese = {key: catalogue("zh").pgettext(key, text) for key, text in TEXTS.items()}

    assert {key for key, text in TEXTS.items() if places(text) != places(chinese[key])} == set()


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_TW"}, "zh"),
        ({"LANG": "", "LC_ALL": "zh_CN"}, "zh"),
    ],
)
def test_the_locale_chooses_the_language_in_the_order_of_posix(environ, language):
    assert language_of(environ) == language


def test_an_unknown_state_is_shown_by_its_own_name():
    assert Words("zh")("state.dozing") == "dozing"


def test_one_thing_is_said_otherwise_than_several():
    words = Words()

    assert [words("directories", number) for number in ("0", "1", "2")] == [
        "0 directories",
        "1 directory",
        "2 directories",
    ]
    assert words("pages", "1") == "1 page"
    assert words("packs", "1", "4.00 GB", "1") == "1 pack, 4.00 GB; 1 of them open"
    assert Words("zh")("directories", "1") == "1 个目录"


def test_what_to_do_about_a_running_job_is_not_to_have_it_tried_again():
    remedies = {reason: remedy_while_running(reason) for reason in Reason}

    assert not [
        remedy for remedy in remedies.values() if remedy.endswith("retry") or remedy.startswith("retry")
    ]
    assert (
        remedies[Reason.RESET] == "it is tried again; if that lasts, check the source and the network between"
    )
    assert remedies[Reason.CONNECT] == "check the network, the firewall, and the proxy if there is one"
    assert remedies[Reason.TIMEOUT] == "lower --concurrency if there are many"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 object listed", "已列举 1 个对象"),
        ("2,000 objects listed", "已列举 2,000 个对象"),
        ("1 page is listed again, because entries of ledgers about their objects are damaged", None),
    ],
)
def test_what_is_said_of_one_thing_is_found_in_the_catalogue(text, said):
    found = Words("zh").message(text)

    assert not re.search(r"\b(is|page|object)\b", found)
    assert said is None or found == said


def test_a_text_agrees_with_the_counts_that_are_filled_in():
    words = Words()

    assert words("spent", "1 kB", "1") == "1 kB received, 1 request, in all runs"
    assert words("packs", "1", "1", "2") == "1 pack, 1; 2 of them open"
    assert words("plan.counted", "x", "1") == "x: 1 object"
    assert words("directories", "2") == "2 directories"


def test_a_refusal_is_told_in_words_that_every_source_knows():
    assert "operator" not in TEXTS["exit.4"]
    assert "--anonymous" in explain("permission")[1]
