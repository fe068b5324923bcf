"""Sessions of tornado, as this package describes them."""

import asyncio

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler, websocket_connect

from sessions import LOST, Closed

COMPRESSION = {}  # the library's own


class ClientSession:
    def __init__(self, socket):
        self.socket = socket
        self.send = lambda message: socket.write_message(message, isinstance(message, bytes))

    async def receive(self):
        message = await self.socket.read_message()
        if message is None:
            raise closed(self.socket)
        return message

    async def close(self, code, reason):
        self.socket.close(code, reason)


class ServerSession(WebSocketHandler):
    def initialize(self, follow):
        self.follow = follow
        self.messages = asyncio.Queue()

    def get_compression_options(self):
        return COMPRESSION

    def open(self):
        self.following = asyncio.create_task(self.follow(Speech(self)))

    def on_message(self, message):
        self.messages.put_nowait(message)

    def on_close(self):
        self.messages.put_nowait(closed(self))


class Speech:
    """The session of a handler, whose own close is the library's."""

    def __init__(self, handler):
        self.handler = handler
        self.send = lambda message: handler.write_message(message, isinstance(message, bytes))

    async def receive(self):
        message = await self.handler.messages.get()
        if isinstance(message, Closed):
            raise message
        return message

    async def close(self, code, reason):
        self.handler.close(code, reason)


def closed(socket):
    return Closed(socket.close_code or LOST, socket.close_reason or "")


async def connect(url):
    return ClientSession(await websocket_connect(url, compression_options=COMPRESSION))


async def serve(host, follow):
    sockets = bind_sockets(0, host)
    HTTPServer(Application([("/.*", ServerSession, {"follow": follow})])).add_sockets(sockets)
    return sockets[0].getsockname()[1]
