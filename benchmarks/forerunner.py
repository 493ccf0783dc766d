"""The script that everybody writes first: aiohttp, aiofiles, a task an object, a semaphore."""

import asyncio
import ssl
import sys
from pathlib import Path

import aiofiles
import aiohttp


async def fetch(session: aiohttp.ClientSession, gate: asyncio.Semaphore, url: str, path: Path) -> None:
    async with gate, session.get(url) as response:
        response.raise_for_status()
        body = await response.read()
        async with aiofiles.open(path, "wb") as file:
            await file.write(body)


async def main(keys: list[str], base: str, destination: Path, connections: int) -> None:
    gate = asyncio.Semaphore(connections)
    context = ssl.create_default_context() if base.startswith("https") else True
    connector = aiohttp.TCPConnector(limit=connections, ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for key in keys:
            group.create_task(fetch(session, gate, f"{base}/{key}", destination / key))


listed = [line.partition(" ")[2] for line in Path(sys.argv[1]).read_text().splitlines()]
asyncio.run(main(listed, sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
