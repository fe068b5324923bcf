"""Sessions of an ASGI application under uvicorn, as this package describes them. ASGI tells of no reasons."""

import asyncio
import socket

import uvicorn

from sessions import LOST, Closed


class Session:
    def __init__(self, receive, send):
        self.take, self.give = receive, send

    async def receive(self):
        event = await self.take()
        if event["type"] == "websocket.disconnect":
            raise Closed(event.get("code") or LOST, "")
        text = event.get("text")
        return event["bytes"] if text is None else text

    async def send(self, message):
        await self.give({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

    async def close(self, code, reason):
        await self.give({"type": "websocket.close", "code": code, "reason": reason})


async def serve(host, follow, over):
    """Has uvicorn speak WebSocket over one of the libraries that it can."""

    async def application(scope, receive, send):
        assert scope["type"] == "websocket", scope
        await receive()  # which tells that somebody connects
        await send({"type": "websocket.accept"})
        await follow(Session(receive, send))

    listener = socket.create_server((host, 0))
    config = uvicorn.Config(application, ws=over, lifespan="off", log_level="warning")
    asyncio.create_task(uvicorn.Server(config).serve([listener]))
    return listener.getsockname()[1]
