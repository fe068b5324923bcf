"""Sessions of websockets, as this package describes them."""

import websockets

from sessions import LOST, Closed


class Session:
    def __init__(self, socket):
        self.socket = socket
        self.send = socket.send
        self.close = socket.close

    async def receive(self):
        try:
            return await self.socket.recv()
        except websockets.ConnectionClosed as end:
            if end.rcvd:
                raise Closed(end.rcvd.code, end.rcvd.reason) from end
            if end.sent:
                raise RuntimeError(end.sent.reason) from end
            raise Closed(LOST, "") from end


async def connect(url):
    return Session(await websockets.connect(url, max_size=None))


async def serve(host, follow):
    server = await websockets.serve(lambda socket: follow(Session(socket)), host, 0, max_size=None)
    return server.sockets[0].getsockname()[1]
