"""What makes a body of another size than listed believable; sums and sizes of whole objects are in `test_drain`."""

import pytest

from bucketpull.domain.exchange import Response
from bucketpull.downloader.integrity import changed_since


@pytest.mark.parametrize(
    ("stated", "changed"),
    [
        ("Sun, 13 Sep 2020 12:26:40 GMT", False),
        ("Sun, 13 Sep 2020 12:26:41 GMT", True),
        ("", False),
        ("yesterday", False),
    ],
)
def test_only_the_origin_s_own_date_says_that_an_object_changed(stated, changed):
    response = Response(200, [f"Last-Modified: {stated}\r\n".encode()], [], 0, 0, 0.0)

    assert changed_since(response, 1_600_000_000) is changed
