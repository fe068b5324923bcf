// A WebSocket peer on the library ws, for one session at a time: a client of a gateway, or its upstream.
//
//   node peer.js [--mute] [--echo] [--protocol name]... --connect ws://host:port/path
//   node peer.js [--mute] [--echo] --listen host
//
// A client of https://host:port/path comes by an extended CONNECT of HTTP/2 (RFC 8441), and believes every certificate.
//
// What happens goes to standard output, one JSON object a line. Commands come by standard input in the same form, and
// its end ends the peer:
//
//   {"do":"say","text":"…"}
//   {"do":"sayBinary","payload":"<hex>"}
//   {"do":"ping","payload":"<hex>"}
//   {"do":"close","code":1000,"reason":"…"}

import { connect as connectHTTP2 } from "node:http2";
import { parseArgs } from "node:util";
import { WebSocket, WebSocketServer } from "ws";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({
  options: {
    connect: { type: "string" },
    listen: { type: "string" },
    mute: { type: "boolean", default: false }, // answers no pings
    echo: { type: "boolean", default: false }, // sends every message back
    protocol: { type: "string", multiple: true }, // subprotocols that a client offers
  },
});

let session; // the latest one

// follow tells all that happens in a session. ws tells of a close only when the connection has ended, too.
function follow(socket) {
  session = socket;
  socket.on("message", (data, binary) => {
    tell("message", binary ? { payload: data.toString("hex") } : { text: data.toString() });
    if (flags.echo) socket.send(data, { binary });
  });
  socket.on("ping", (data) => tell("ping", { payload: data.toString("hex") }));
  socket.on("pong", (data) => tell("pong", { payload: data.toString("hex") }));
  socket.on("error", (error) => tell("error", { text: error.message }));
  socket.on("close", (code, reason) => {
    tell("close", { code, reason: reason.toString() });
    tell("end");
  });
}

function listen(host) {
  const server = new WebSocketServer({ host, port: 0, autoPong: !flags.mute });
  server.on("listening", () => tell("listening", { port: server.address().port }));
  server.on("error", (error) => tell("error", { text: error.message }));
  server.on("connection", (socket) => {
    follow(socket);
    tell("open");
  });
}

function connect(url) {
  const socket = new WebSocket(url, flags.protocol, { autoPong: !flags.mute });
  socket.on("open", () => tell("open"));
  follow(socket);
}

// stream opens a session on a stream of HTTP/2. ws takes a connection over whose handshake others have done: as a server does,
// unless it is told.
function stream(url) {
  const carrier = connectHTTP2(url.origin, { rejectUnauthorized: false });
  const fail = (error) => tell("error", { text: error.message });
  carrier.on("error", fail);
  carrier.on("remoteSettings", ({ enableConnectProtocol }) => {
    if (!enableConnectProtocol) return fail(new Error("no extended CONNECT is offered"));
    const request = carrier.request({
      ":method": "CONNECT", ":protocol": "websocket", ":scheme": "https", ":path": url.pathname, ":authority": url.host,
      "sec-websocket-version": "13",
    });
    request.on("error", fail);
    request.on("response", (headers) => {
      if (headers[":status"] !== 200) return fail(new Error(`the answer is ${headers[":status"]}`));
      const socket = new WebSocket(null, undefined, { autoPong: !flags.mute, closeTimeout: 30_000 });
      socket._isServer = false;
      request.setNoDelay = () => {};
      socket.setSocket(request, Buffer.alloc(0), { maxPayload: 0 });
      follow(socket);
      socket.on("close", () => carrier.close());
      tell("open");
    });
  });
}

obey({
  say: ({ text }) => session.send(text),
  sayBinary: ({ payload }) => session.send(Buffer.from(payload, "hex")),
  ping: ({ payload }) => session.ping(Buffer.from(payload, "hex")),
  close: ({ code, reason }) => session.close(code, reason),
});

if (flags.connect?.startsWith("https:")) {
  stream(new URL(flags.connect));
} else if (flags.connect) {
  connect(flags.connect);
} else {
  listen(flags.listen);
}
