// A STOMP client that subscribes to a topic and tells of what is said there. It is spoken to as peer.js is.
//
//   node stomp.js --connect ws://host:port/path

import { parseArgs } from "node:util";
import { Client } from "@stomp/stompjs";
import { WebSocket } from "ws";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({ options: { connect: { type: "string" } } });

const destination = "/topic/news";

const client = new Client({
  webSocketFactory: open,
  reconnectDelay: 50,
  heartbeatIncoming: 1000, // RabbitMQ counts whole seconds
  heartbeatOutgoing: 1000,
  connectHeaders: { login: "guest", passcode: "guest" },
  onConnect: () => {
    tell("open");
    client.watchForReceipt("subscribed", () => tell("subscribed"));
    client.subscribe(destination, ({ body }) => tell("message", { text: body }), { receipt: "subscribed" });
  },
  onHeartbeatLost: () => tell("error", { text: "the heartbeat is lost" }),
  onStompError: ({ headers }) => tell("error", { text: headers.message }),
  onWebSocketClose: ({ code, reason }) => tell("close", { code, reason }),
});
client.activate();

// open tells of the broker's heartbeats, which are messages of their own: to the library every line break is one.
function open() {
  const socket = new WebSocket(flags.connect, client.stompVersions.protocolVersions());
  socket.on("message", (data) => {
    if (data.toString() === "\n") tell("pong");
  });
  return socket;
}

obey({
  say: ({ text }) => client.publish({ destination, body: text }),
  close: () => client.deactivate(),
});
