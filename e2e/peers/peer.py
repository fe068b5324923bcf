"""A WebSocket peer on Python's websockets, for one session at a time. It is spoken to as peer.js is.

    python3 peer.py [--echo] [--again] --connect ws://host:port/path
    python3 peer.py [--echo] --listen host
"""

import argparse
import asyncio
import json
import sys

import websockets

COMMAND_LIMIT = 1 << 24  # bytes of a line


def tell(event, **details):
    print(json.dumps({"event": event, **details}), flush=True)


class Peer:
    def __init__(self, flags):
        self.flags = flags
        self.session = None  # the latest one

    async def follow(self, socket, _path=None):
        """Tells all that happens in a session, until its connection has ended."""
        self.session = socket
        tell("open")
        try:
            while True:
                message = await socket.recv()
                if isinstance(message, str):
                    tell("message", text=message)
                else:
                    tell("message", payload=message.hex())
                if self.flags.echo:
                    await socket.send(message)
        except websockets.ConnectionClosed as end:
            if end.rcvd:
                tell("close", code=end.rcvd.code, reason=end.rcvd.reason)
            elif end.sent:
                tell("error", text=end.sent.reason)
            else:
                tell("close", code=1006, reason="")
        tell("end")

    async def listen(self):
        async with websockets.serve(self.follow, self.flags.listen, 0, max_size=None) as server:
            tell("listening", port=server.sockets[0].getsockname()[1])
            await self.obey()

    async def connect(self):
        sessions = asyncio.create_task(self.visit())
        await self.obey()
        sessions.cancel()

    async def visit(self):
        """Has one session, or one after the other."""
        async for socket in websockets.connect(self.flags.connect, max_size=None):
            await self.follow(socket)
            if not self.flags.again:
                return

    async def obey(self):
        """Follows commands until there are no more."""
        commands = asyncio.StreamReader(COMMAND_LIMIT)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        async for line in commands:
            command = json.loads(line)
            match command["do"]:
                case "say":
                    await self.session.send(command["text"])
                case "sayBinary":
                    await self.session.send(bytes.fromhex(command["payload"]))
                case "close":
                    await self.session.close(command["code"], command["reason"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--connect")
    parser.add_argument("--listen")
    parser.add_argument("--echo", action="store_true", help="send every message back")
    parser.add_argument("--again", action="store_true", help="come back when the session has ended")
    peer = Peer(parser.parse_args())
    asyncio.run(peer.connect() if peer.flags.connect else peer.listen())


main()
