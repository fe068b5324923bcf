// A server of Phoenix's channels that passes on to all who have joined a topic what one of them says, or Phoenix's own client
// of it. Both are spoken to as peer.js is.
//
//   node phoenix.js [--token token] --connect ws://host:port/path
//   node phoenix.js --listen host
//
// The server speaks version 2 of the serializer, by Phoenix's guide on writing a client of channels.

import { parseArgs } from "node:util";
import { Socket } from "phoenix";
import { WebSocket, WebSocketServer } from "ws";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({
  options: {
    connect: { type: "string" },
    listen: { type: "string" },
    token: { type: "string" }, // that the client logs in with
  },
});

const topic = "room:lobby";

// Of binary messages.
const PUSH = 0;
const BROADCAST = 2;

// binaryPush takes a binary message of a client's apart.
function binaryPush(data) {
  const [kind, ...sizes] = data.subarray(0, 5);
  if (kind !== PUSH) throw new Error(`a client sends a message of kind ${kind}`);
  let at = 5;
  const [joinRef, ref, topic, event] = sizes.map((size) => data.subarray(at, (at += size)).toString());
  return [joinRef, ref, topic, event, data.subarray(at)];
}

// broadcast is a message to all of a topic.
function broadcast(topic, event, payload) {
  if (!Buffer.isBuffer(payload)) return JSON.stringify([null, null, topic, event, payload]);
  const names = [topic, event].map((name) => Buffer.from(name));
  return Buffer.concat([Buffer.from([BROADCAST, ...names.map(({ length }) => length)]), ...names, payload]);
}

function listen(host) {
  const server = new WebSocketServer({ host, port: 0 });
  server.on("listening", () => tell("listening", { port: server.address().port }));
  const joined = new Map(); // sockets, and their topics
  server.on("connection", (socket) => {
    tell("open");
    joined.set(socket, new Set());
    socket.on("message", (data, binary) => {
      const [joinRef, ref, topic, event, payload] = binary ? binaryPush(data) : JSON.parse(data);
      const topics = joined.get(socket);
      if (event === "phx_join") topics.add(topic);
      else if (event === "phx_leave") topics.delete(topic);
      else if (event === "said" && topics.has(topic)) {
        for (const [other, topics] of joined) if (topics.has(topic)) other.send(broadcast(topic, event, payload));
      }
      socket.send(JSON.stringify([joinRef, ref, topic, "phx_reply", { status: "ok", response: {} }]));
    });
    socket.on("close", (code, reason) => {
      joined.delete(socket);
      tell("close", { code, reason: reason.toString() });
    });
  });
}

function connect(url) {
  const socket = new Socket(url, {
    transport: WebSocket,
    authToken: flags.token,
    heartbeatIntervalMs: 1000, // for the answer to one, too
    reconnectAfterMs: () => 50,
    rejoinAfterMs: () => 50,
  });
  socket.onOpen(() => tell("open"));
  socket.onClose(({ code, reason }) => tell("close", { code, reason }));
  socket.onError((error) => tell("error", { text: `${error.message}` }));
  socket.onMessage(({ topic, event }) => topic === "phoenix" && event === "phx_reply" && tell("pong"));
  socket.connect();

  const channel = socket.channel(topic);
  channel.on("said", (what) =>
    tell("message", what instanceof ArrayBuffer ? { payload: Buffer.from(what).toString("hex") } : what),
  );
  channel.join().receive("ok", () => tell("subscribed"));
  obey({
    say: ({ text }) => channel.push("said", { text }),
    sayBinary: ({ payload }) => channel.push("said", Uint8Array.from(Buffer.from(payload, "hex")).buffer),
    close: ({ code, reason }) => socket.disconnect(undefined, code, reason),
  });
}

if (flags.connect) {
  connect(flags.connect);
} else {
  listen(flags.listen);
  obey({});
}
