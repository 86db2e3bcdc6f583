"""Molotov: its one scenario posts 64 bytes and reads 64."""

import os

from molotov import scenario

URL = f"http://127.0.0.1:{os.environ['PORT']}/"


@scenario(weight=100)
async def post(session):
    async with session.post(URL, data=bytes(64)) as reply:
        await reply.read()
