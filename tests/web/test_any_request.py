"""Whatever is asked of the API, it answers, and with nothing but what it knows: 500 would be an error of ours."""

import asyncio
import json

from hypothesis import example, given
from hypothesis import strategies as st
from tests.web.conftest import ScriptedPanel

from bucketpull.web.api import Api, request_of
from bucketpull.web.history import History

PATHS = ["/api/job", "/api/snapshot", "/api/points", "/api/failures", "/api/failed", "/api/directories", "/api/pause",
         "/api/resume", "/api/limits", "/api/retry", "/api/volumes/add", "/api/volumes/drain", "/api/volumes/lost", "/api/none"]  # fmt: skip
NAMES = ["since", "coarse", "limit", "reason", "match", "prefix", "language"]
ABSURD = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["nan", "-inf", "1e400", "9" * 5000, "-1", "٣", "%00", "*a" * 500, "[", "[!", "zz", "61" * 900, "+", "&", "%"]),
)  # fmt: skip
FIELDS = [
    "concurrency",
    "requests_per_second",
    "bytes_per_second",
    "bandwidth",
    "reason",
    "match",
    "volume",
    "other",
]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20), st.lists(st.none(), max_size=2), st.sampled_from(["08:00,1M", "off", "9" * 30 + "T", "\0", "/" * 5000]),
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3).map(
        lambda found: json.dumps(found).encode()
    ),
    st.sampled_from(
        [b"[" * 9000, b'{"a":' * 1500, b'{"bytes_per_second":' + b"9" * 9000 + b"}", b'"\\ud800"', b""]
    ),
)
PANEL = ScriptedPanel()
API = Api(PANEL, History(), PANEL)


@given(st.sampled_from(["GET", "HEAD", "POST", "PUT", "X"]), st.sampled_from(PATHS), st.lists(st.tuples(st.sampled_from(NAMES), ABSURD), max_size=3), BODIES)  # fmt: skip
@example("POST", "/api/limits", [], b'{"requests_per_second": 1e-320}')
def test_any_request_is_answered_by_a_value_or_a_sentence(method, path, query, body):
    target = path + "?" + "&".join(f"{name}={value}" for name, value in query)

    answer = asyncio.run(API.answer(request_of(method, target, body, "somebody")))

    assert answer.status in {200, 400, 404, 405, 409}
    value = json.loads(answer.body)
    assert answer.status == 200 or value["error"]
