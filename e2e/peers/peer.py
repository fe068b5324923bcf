"""A WebSocket peer on a Python library, for one session at a time. It is spoken to as peer.js is.

    python3 peer.py [--library NAME] [--echo] [--again] --connect ws://host:port/path
    python3 peer.py [--library NAME] [--echo] --listen host
"""

import argparse
import asyncio
import importlib
import json
import sys

from sessions import Closed

COMMAND_LIMIT = 1 << 24  # bytes of a line
PAUSE = 0.05  # seconds before a client comes back


def tell(event, **details):
    print(json.dumps({"event": event, **details}), flush=True)


class Peer:
    def __init__(self, flags):
        self.flags = flags
        name, *self.over = flags.library.split("/")
        self.library = importlib.import_module("sessions." + name)
        self.session = None  # the latest one

    async def follow(self, session):
        """Tells all that happens in a session, until its connection has ended."""
        self.session = session
        tell("open")
        try:
            while True:
                message = await session.receive()
                if isinstance(message, str):
                    tell("message", text=message)
                else:
                    tell("message", payload=message.hex())
                if self.flags.echo:
                    await session.send(message)
        except Closed as end:
            tell("close", code=end.code, reason=end.reason)
        except Exception as fault:
            tell("error", text=str(fault))
        tell("end")

    async def listen(self):
        tell("listening", port=await self.library.serve(self.flags.listen, self.follow, *self.over))
        await self.obey()

    async def connect(self):
        sessions = asyncio.create_task(self.visit())
        await self.obey()
        sessions.cancel()

    async def visit(self):
        """Has one session, or one after the other."""
        while True:
            try:
                session = await self.library.connect(self.flags.connect)
            except Exception as fault:
                tell("error", text=str(fault))
            else:
                await self.follow(session)
            if not self.flags.again:
                return
            await asyncio.sleep(PAUSE)

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
    parser.add_argument("--library", default="websockets", help="one of those in sessions: NAME, or NAME/OVER where it is spoken over another one")
    parser.add_argument("--connect")
    parser.add_argument("--listen")
    parser.add_argument("--echo", action="store_true", help="send every message back")
    parser.add_argument("--again", action="store_true", help="come back when the session has ended")
    peer = Peer(parser.parse_args())
    asyncio.run(peer.connect() if peer.flags.connect else peer.listen())


main()
