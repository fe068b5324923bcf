// A client of OpenAI's realtime API on OpenAI's library, which has the browser's WebSocket here, or a stand-in for the API that sends
// back what it is told. Both are spoken to as peer.js is.
//
//   node openai.js --token key --connect https://host:port/path
//   node openai.js --listen host

import { parseArgs } from "node:util";
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { WebSocket, WebSocketServer } from "ws";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({
  options: { connect: { type: "string" }, listen: { type: "string" }, token: { type: "string" } },
});

function listen(host) {
  const server = new WebSocketServer({ host, port: 0 });
  server.on("listening", () => tell("listening", { port: server.address().port }));
  server.on("connection", (socket) => {
    tell("open", { text: socket.protocol });
    socket.send(JSON.stringify({ type: "session.created", session: { type: "realtime" } }));
    socket.on("message", (data) => {
      const { type, item } = JSON.parse(data);
      if (type === "conversation.item.create") socket.send(JSON.stringify({ type: "conversation.item.added", item }));
    });
    socket.on("close", (code, reason) => tell("close", { code, reason: reason.toString() }));
  });
}

// Socket believes every certificate.
class Socket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { rejectUnauthorized: false });
  }
}

function connect(baseURL) {
  globalThis.WebSocket = Socket;
  const client = new OpenAIRealtimeWebSocket({ model: "gpt-realtime" }, new OpenAI({ baseURL, apiKey: flags.token }));
  client.socket.addEventListener("open", () => tell("open"));
  client.socket.addEventListener("close", ({ code, reason }) => tell("close", { code, reason }));
  client.on("error", ({ message }) => tell("error", { text: message }));
  client.on("session.created", () => tell("subscribed"));
  client.on("conversation.item.added", ({ item }) => tell("message", { text: item.content[0].text }));
  const said = (text) => ({ type: "message", role: "user", content: [{ type: "input_text", text }] });
  obey({
    say: ({ text }) => client.send({ type: "conversation.item.create", item: said(text) }),
    close: ({ code, reason }) => client.close({ code, reason }),
  });
}

if (flags.connect) {
  connect(flags.connect);
} else {
  listen(flags.listen);
  obey({});
}
