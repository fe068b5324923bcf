"""Sessions on the libraries that peer.py knows, a module of this package each. It has as much of the following as its library
can do:

    async def connect(url): returns the session of a client
    async def serve(host, follow): returns the port on which a server has follow(session) look after each session

A session has send(message), close(code, reason) and receive(). That raises Closed at the end, and what its library does where
anything else happens. Messages are str or bytes.
"""


class Closed(Exception):
    """A session's end, by this close frame of the other end."""

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


# The end of a connection without a close frame, RFC 6455 section 7.1.5.
LOST = 1006
