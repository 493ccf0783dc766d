import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.web.guard import Guard, is_loopback

TOKEN = {"Authorization": "Bearer secret"}
LOCAL = {"Host": "127.0.0.1:8377"}
LAN = {"Host": "10.0.0.7:8377"}


def status(guard, headers, change=False, public=False):
    lower = {name.lower(): value for name, value in headers.items()}
    objection = guard.objection(lower, change=change, public=public)
    return objection[0] if objection else 200


@pytest.mark.parametrize(
    ("headers", "change", "expected"),
    [
        (LOCAL, False, 200),
        ({"Host": "localhost:9999"}, False, 200),
        ({"Host": "[::1]:8377"}, False, 200),
        ({"Host": "rebound.example:8377"}, False, 403),
        ({}, False, 403),
        (LOCAL, True, 401),
        (LOCAL | {"Authorization": "Bearer guess"}, True, 401),
        (LOCAL | {"Authorization": "Basic secret"}, True, 401),
        (LOCAL | {"Authorization": "Bearer sécret"}, True, 401),
        (LOCAL | TOKEN, True, 200),
        (LOCAL | TOKEN | {"Origin": "http://127.0.0.1:8377"}, True, 200),
        (LOCAL | TOKEN | {"Origin": "http://evil.example"}, True, 403),
        (LOCAL | TOKEN | {"Origin": "null"}, True, 403),
        (LOCAL | TOKEN | {"Origin": "http://127.0.0.1:1"}, True, 403),
        (LOCAL | TOKEN | {"Origin": "http://[::1"}, True, 403),
        ({"Host": "[::1"}, False, 403),
        ({"Host": "[::1]evil.example"}, False, 403),
        ({"Host": "127.0.0.1@evil.example"}, False, 403),
        (LOCAL | TOKEN | {"Sec-Fetch-Site": "cross-site"}, True, 403),
        (LOCAL | TOKEN | {"Sec-Fetch-Site": "same-site"}, True, 403),
        (LOCAL | TOKEN | {"Sec-Fetch-Site": "same-origin"}, True, 200),
        (LOCAL | {"Sec-Fetch-Site": "cross-site"}, False, 403),
        (LOCAL | {"Sec-Fetch-Site": "same-site"}, False, 403),
        (LOCAL | {"Origin": "http://evil.example"}, False, 403),
        (LOCAL | {"Sec-Fetch-Site": "none"}, False, 200),
    ],
)
def test_on_this_machine_all_may_look_and_only_the_token_changes(headers, change, expected):
    assert status(Guard("secret", local=True), headers, change) == expected


@pytest.mark.parametrize(
    ("headers", "change", "expected"),
    [
        (LAN, False, 401),
        (LAN | TOKEN, False, 200),
        (LAN | TOKEN, True, 200),
        (LAN, True, 401),
        (LOCAL, False, 401),
    ],
)
def test_elsewhere_looking_needs_the_token_too(headers, change, expected):
    assert status(Guard("secret", local=False), headers, change) == expected


def test_the_page_itself_holds_no_figures_and_is_open():
    assert status(Guard("secret", local=False), LAN, public=True) == 200
    assert status(Guard("secret", local=True), LOCAL | {"Sec-Fetch-Site": "cross-site"}, public=True) == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_names_of_this_machine_are_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.7", "localhost.example", "127.0.0.1.example"])
def test_other_names_are_not(host):
    assert not is_loopback(host)


@given(st.text(max_size=40), st.text(max_size=40), st.booleans(), st.booleans())
def test_no_header_is_too_odd_to_be_judged(host, origin, local, change):
    guard = Guard("secret", local=local)

    assert status(guard, {"Host": host, "Origin": origin} | TOKEN, change) in {200, 401, 403}
