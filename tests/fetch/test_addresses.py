"""A request may name the address to connect to; the addresses of a name are found without waiting for the name server."""

import socket
import threading

import msgspec
from tests.fetch.origin import always, origin


def test_a_request_goes_to_its_address_and_names_its_host(fetching):
    fetch = fetching()
    with origin(always(b"here"), host="127.0.0.2") as site:
        url = site.url("/a", host="images.invalid")
        request = msgspec.structs.replace(fetch.request(url), address="127.0.0.2")
        answers = []
        for number in range(4):
            fetch.loop.submit(request, answers.append)
            fetch.until(lambda wanted=number + 1: len(answers) == wanted)
        port = url.rpartition(":")[2].partition("/")[0]

        assert [answer.body for answer in answers] == [b"here"] * 4
        assert all(f"Host: images.invalid:{port}".encode() in head for head in site.requests)


def test_one_name_at_two_addresses_is_two_servers(fetching):
    fetch = fetching()
    with origin(always(b"one"), host="127.0.0.2") as site:
        url = site.url("/a", host="images.invalid")
        here = msgspec.structs.replace(fetch.request(url), address="127.0.0.2")
        elsewhere = msgspec.structs.replace(here, address="127.0.0.3")
        answers = []
        for request in (here, elsewhere, here, elsewhere):
            before = len(answers)
            fetch.loop.submit(request, answers.append)
            fetch.until(lambda before=before: len(answers) > before)

        assert [answer.body for answer in answers] == [b"one", b"", b"one", b""]


def test_what_waits_for_one_address_is_given_up_alone(fetching):
    fetch = fetching()
    with origin(lambda peer: peer.request() and peer.hold(), host="127.0.0.2") as site:
        url, answers = site.url("/a", host="images.invalid"), []
        for address in ("127.0.0.2", "127.0.0.2", "127.0.0.3"):
            request = msgspec.structs.replace(fetch.request(url), address=address)
            fetch.loop.submit(request, answers.append)
        fetch.until(lambda: len(answers) == 1)  # nobody listens at the third
        where = url.rpartition("/")[0]
        fetch.until(lambda: fetch.loop.waits(where, "127.0.0.2")[1] == 2)
        assert fetch.loop.waits(where, "127.0.0.3") == (0.0, 0)

        fetch.loop.abandon(where, "timeout", "enough", "127.0.0.2")
        fetch.until(lambda: len(answers) == 3)
        site.over.set()


def test_the_addresses_of_a_name_come_each_once_and_none_where_there_is_no_name(fetching, monkeypatch):
    fetch, found = fetching(), []

    def addresses(host, port, **_):
        if host == "none.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1", "fd00::1")]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    fetch.loop.resolve("https://images.example:8443", found.append)
    fetch.until(lambda: len(found) == 1)
    fetch.loop.resolve("https://none.invalid", found.append)
    fetch.until(lambda: len(found) == 2)
    fetch.loop.resolve("https://10.0.0.9", found.append)
    fetch.loop.resolve("https://[fd00::9]:8443", found.append)
    for _ in range(3):
        fetch.loop.run_once(0.01)

    assert found == [["10.0.0.1", "10.0.0.2", "fd00::1"], []]


def test_where_no_thread_may_be_started_a_name_is_not_looked_up_and_all_else_goes_on(fetching, monkeypatch):
    """Other processes of the same user, or the limit of a container, leave none for a while."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    fetch, found = fetching(), []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    fetch.loop.resolve("https://images.example:8443", found.append)
    fetch.until(lambda: found)

    assert found == [[]]
