"""aiohttp: a session, a connection a worker, POST and read, again."""

import asyncio
import sys

import aiohttp
import uvloop

BODY = bytes(64)


async def worker(session, url):
    while True:
        async with session.post(url, data=BODY) as reply:
            await reply.read()


async def main() -> None:
    port, connections = map(int, sys.argv[1:])
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        url = f"http://127.0.0.1:{port}/"
        await asyncio.gather(*[worker(session, url) for _ in range(connections)])


if __name__ == "__main__":
    uvloop.run(main())
