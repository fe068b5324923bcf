"""Sessions of aiohttp, as this package describes them."""

import asyncio
from functools import cache

import aiohttp
from aiohttp import WSMsgType, web

from sessions import LOST, Closed

COMPRESSION = 15  # the window's size as a power of two
UNHEARD = 0  # the library does not read the answer to a close frame where it was reading already


class Session:
    def __init__(self, socket):
        self.socket = socket
        self.parted = asyncio.Event()  # close has come back

    async def receive(self):
        message = await self.socket.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            return message.data
        if message.type == WSMsgType.CLOSE:
            raise Closed(message.data, message.extra)
        if message.type == WSMsgType.CLOSING:
            await self.parted.wait()
            raise Closed(self.socket.close_code or UNHEARD, "")
        raise Closed(LOST, "")

    async def send(self, message):
        if isinstance(message, str):
            await self.socket.send_str(message)
        else:
            await self.socket.send_bytes(message)

    async def close(self, code, reason):
        await self.socket.close(code=code, message=reason.encode())
        self.parted.set()


@cache
def client():
    """Makes what all clients of the process share. It needs a loop that runs."""
    return aiohttp.ClientSession()


async def connect(url):
    return Session(await client().ws_connect(url, compress=COMPRESSION))


async def serve(host, follow):
    async def upgrade(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await follow(Session(socket))
        return socket

    runner = web.ServerRunner(web.Server(upgrade))
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    return runner.addresses[0][1]
