"""What is proof that an answer is the object, what is doubt, and what is done in doubt."""

from hashlib import md5

import pytest

from bucketpull.domain.errors import Reason
from bucketpull.domain.evidence import Body, weigh

BYTES = md5(b"the object").digest()
OTHER = md5(b"something else").digest()
FORM = [Reason.TRANSFORMED, Reason.WRONG_CONTENT, Reason.GARBAGE]


def body(as_listed=True, origin=False, found=BYTES):
    return Body(10, found, as_listed, origin)


def weighed(what, doubt=None, stated=b"", other_size=False, earlier=None):
    return weigh(what, doubt, stated, other_size, earlier)


@pytest.mark.parametrize("origin", [False, True])
def test_the_listed_length_without_a_doubt_is_proof(origin):
    assert weighed(body(origin=origin)) == (True, None)


@pytest.mark.parametrize("doubt", FORM)
@pytest.mark.parametrize("origin", [False, True])
def test_the_stated_md5_with_the_listed_length_is_proof_whatever_the_answer_looks_like(doubt, origin):
    assert weighed(body(origin=origin), doubt, BYTES) == (True, None)


def test_an_md5_does_not_prove_that_a_copy_is_of_the_listed_version():
    assert weighed(body(), Reason.STALE, BYTES) == (False, Reason.STALE)


@pytest.mark.parametrize("doubt", FORM)
def test_an_origin_is_believed_an_odd_form_with_the_listed_length_and_an_edge_is_not(doubt):
    assert weighed(body(origin=True), doubt) == (True, doubt)
    assert weighed(body(origin=True, as_listed=False), doubt) == (False, doubt)
    assert weighed(body(), doubt) == (False, doubt)


def test_of_another_length_an_origin_is_believed_if_its_md5_or_its_date_says_so():
    assert weighed(body(as_listed=False, origin=True)) == (False, Reason.SIZE)
    assert weighed(body(as_listed=False, origin=True), stated=BYTES) == (True, None)
    assert weighed(body(as_listed=False, origin=True), other_size=True) == (True, None)
    assert weighed(body(as_listed=False, origin=True), stated=OTHER, other_size=True)[0] is False


@pytest.mark.parametrize("doubt", [*FORM, Reason.CHECKSUM])
def test_two_answers_alike_of_the_listed_length_are_the_object_if_one_is_the_origin_s(doubt):
    stated = OTHER if doubt is Reason.CHECKSUM else b""
    given = None if doubt is Reason.CHECKSUM else doubt

    def again(origin, earlier):
        return weighed(body(origin=origin), given, stated, earlier=earlier)

    assert again(True, body()) == (True, doubt)
    assert again(True, body(origin=True)) == (True, doubt)
    assert again(False, body(origin=True)) == (True, doubt)
    assert again(False, body()) == (False, doubt)
    assert again(False, body(origin=True, found=OTHER)) == (False, doubt)


def test_two_answers_alike_of_another_length_are_the_object_unless_they_contradict_themselves():
    def again(stated):
        return weighed(body(False, True), stated=stated, earlier=body(as_listed=False))

    assert again(b"") == (True, Reason.SIZE)
    assert again(OTHER) == (False, Reason.CHECKSUM)


def test_a_request_to_slow_down_is_alike_each_time_and_never_the_object():
    assert weighed(body(origin=True), Reason.THROTTLED, earlier=body())[0] is False
