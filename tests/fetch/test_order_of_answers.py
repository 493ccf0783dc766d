"""Whatever a server does with its connections, no request gets the answer of another.

All bodies are of one length and name their path, so that nothing but the order of answers tells them apart.
"""

import random
from itertools import count, pairwise

import pytest
from tests.fetch.origin import origin

from bucketpull.domain.errors import Reason

LENGTH = 600
REQUESTS = 250
AT_ONCE = 24


def body_of(path):
    return (path + b" ") * (LENGTH // (len(path) + 1)) + b"." * (LENGTH % (len(path) + 1))


def chunked(body, draws):
    at, pieces = 0, []
    while at < len(body):
        size = draws.randint(1, 300)
        pieces.append(b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]))
        at += size
    return b"".join(pieces) + draws.choice([b"0\r\n\r\n", b"0\r\nX-Sum: 1\r\n\r\n"])


def answer_to(path, draws):
    """Return an answer's bytes, and whether it says that the connection ends."""
    body, lines = body_of(path), [b"HTTP/1.1 200 OK"]
    before, ends = b"", draws.random() < 0.05
    if ends:
        lines.append(b"Connection: close")
    if draws.random() < 0.05:
        before = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n"
    if draws.random() < 0.05:
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(body, draws)
    else:
        lines.append(b"Content-Length: %d" % LENGTH)
    if draws.random() < 0.03:
        lines, body = [b"HTTP/1.1 304 Not Modified", b"Content-Length: %d" % LENGTH], b""
    elif draws.random() < 0.03:
        lines, body = [b"HTTP/1.1 503 Busy", b"Content-Length: 4"], b"busy"
    return before + b"\r\n".join((*lines, b"", body)), ends


def fickle(seed):
    """Answer each request once and truly, or not at all, in any pieces; end or reset a connection at any place."""
    numbers = count()

    def script(peer):
        draws = random.Random(f"{seed}-{next(numbers)}")
        while draws.random() > 0.02 and (head := peer.request()):
            answer, ends = answer_to(head.split(b" ")[1], draws)
            fate = draws.random()
            cut = draws.randrange(len(answer)) if fate < 0.06 else len(answer)
            places = sorted({0, cut, *(draws.randrange(cut + 1) for _ in range(draws.choice([0, 0, 1, 4])))})
            for start, end in pairwise(places):
                peer.send(answer[start:end])
            if fate < 0.03:
                peer.reset()
            if cut < len(answer) or ends or fate > 0.96:
                return

    return script


@pytest.mark.parametrize("seed", range(6))
def test_each_answer_is_that_of_its_request(fetching, seed):
    draws, fetch = random.Random(seed), fetching(stall_seconds=20.0)
    answered, numbers = [], iter(range(REQUESTS))

    with origin(fickle(seed)) as site, origin(fickle(-seed)) as other:

        def ask_next():
            number = next(numbers, None)
            if number is None:
                return
            path = b"/%06d" % number
            url = draws.choice([site, other]).url(path.decode())
            if number % 8 == 7:
                url = "unheard-of://host/"  # ends between two turns
            fetch.submit(url, lambda response: done(path, response))

        def done(path, response):
            answered.append(path)
            if response.failure is None and response.status == 200:
                assert response.body == body_of(path), f"seed {seed}"
            elif response.failure is not Reason.REJECTED:
                assert body_of(path).startswith(response.body) or response.status == 503, f"seed {seed}"
            if draws.random() < 0.02:
                fetch.loop.limit_bandwidth(draws.choice([None, 10e6]))
            ask_next()

        for _ in range(AT_ONCE):
            ask_next()
        fetch.until(lambda: len(answered) >= REQUESTS)
    assert sorted(answered) == [b"/%06d" % number for number in range(REQUESTS)]
