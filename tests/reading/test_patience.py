"""Whoever asks nothing of `serve`, or takes nothing of the answer, keeps no place."""

import asyncio
import socket

from tests.volumes.filling import Filler

from bucketpull.reading.object_server import ObjectServer, Options
from bucketpull.reading.readable_volumes import OpenVolumes

SECONDS = 60
LARGE = bytes(20_000_000)


async def until(there):
    async with asyncio.timeout(SECONDS):
        while not there():  # noqa: ASYNC110 - it is another's state
            await asyncio.sleep(0.05)


def served(tmp_path, scenario, **options):
    """Run a scenario with a server of one large object and its port."""
    (tmp_path / "d1").mkdir()
    filler = Filler(tmp_path / "d1")
    filler.store({(b"", b"large"): LARGE})
    filler.close()

    async def run():
        server = ObjectServer(OpenVolumes([str(tmp_path / "d1")]), Options(connections=2, **options))
        port = await server.start("127.0.0.1", 0)
        try:
            await scenario(server, port)
        finally:
            await server.close()

    asyncio.run(run())


def test_connections_without_a_whole_request_are_cut_off_and_make_place(tmp_path):
    async def scenario(server, port):
        halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in halves:
            writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n")
        for reader, writer in halves:
            async with asyncio.timeout(SECONDS):
                assert await reader.read() == b""
            writer.close()
        await until(lambda: server.connections == 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HEAD /large HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            assert (await reader.readline()).split()[1] == b"200"
        writer.close()
        assert server.unasked == {}

    served(tmp_path, scenario, request_seconds=0.3)


def test_whoever_reads_nothing_of_an_answer_is_cut_off(tmp_path):
    async def scenario(server, port):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.to_thread(client.connect, ("127.0.0.1", port))
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: server.sent > 0)
            await until(lambda: server.connections == 0)

    served(tmp_path, scenario, stall_seconds=1.0)


def test_requests_that_are_none_are_refused_and_fill_no_log(tmp_path, capsys):
    async def scenario(server, port):
        bad = [
            b"nonsense",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1",
            b"GET / HTTP/1.1\r\nRange: " + b"0-1," * 5_000,
        ]
        for request in bad:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request + b"\r\n\r\n")
            async with asyncio.timeout(SECONDS):
                assert (await reader.readline()).split()[1] == b"400"
            writer.close()
            await until(lambda: server.connections == 0)

    served(tmp_path, scenario)
    assert capsys.readouterr().err == ""
