"""Sessions of a client of wsproto, as this package describes them. The library has the protocol only: the connection is ours."""

import asyncio
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Pong, RejectConnection, Request
from wsproto.extensions import PerMessageDeflate

from sessions import LOST, Closed

CHUNK = 1 << 16  # bytes


class Session:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.parts = []  # of a message that has not come completely

    async def say(self, event):
        self.writer.write(self.protocol.send(event))
        await self.writer.drain()

    async def events(self):
        """Yields what has come, until the connection ends."""
        while data := await self.reader.read(CHUNK):
            self.protocol.receive_data(data)
            for event in self.protocol.events():
                yield event

    async def shake_hands(self, host, target):
        await self.say(Request(host=host, target=target, extensions=[PerMessageDeflate()]))
        self.coming = self.events()
        async for event in self.coming:
            if isinstance(event, AcceptConnection):
                return
            if isinstance(event, RejectConnection):
                break
        raise ConnectionError("the handshake has failed")

    async def receive(self):
        async for event in self.coming:
            if isinstance(event, Message):
                self.parts.append(event.data)
                if event.message_finished:
                    return self.message()
            elif isinstance(event, Ping):
                await self.say(event.response())
            elif isinstance(event, CloseConnection):
                await self.part(event)
                raise Closed(event.code, event.reason or "")
            else:
                assert isinstance(event, Pong), event
        raise Closed(LOST, "")

    def message(self):
        """Takes the parts of a message together."""
        whole = "" if isinstance(self.parts[0], str) else b""
        whole = whole.join(self.parts)
        self.parts.clear()
        return whole

    async def part(self, event):
        """Answers a close frame that is no answer, and waits for the server to close the connection, RFC 6455 section 7.1.1."""
        if self.protocol.state == ConnectionState.REMOTE_CLOSING:
            await self.say(event.response())
        await self.reader.read()
        self.writer.close()

    async def send(self, message):
        await self.say(Message(data=message))

    async def close(self, code, reason):
        await self.say(CloseConnection(code=code, reason=reason))


async def connect(url):
    parts = urlsplit(url)
    session = Session(*await asyncio.open_connection(parts.hostname, parts.port))
    await session.shake_hands(parts.netloc, parts.path)
    return session
