// A client of SignalR, which comes to its hub by plain requests and then a session. It is spoken to as peer.js is.
//
//   node signalr.js --connect http://host:port/hub

import { parseArgs } from "node:util";
import { HttpTransportType, HubConnectionBuilder, LogLevel } from "@microsoft/signalr";
import { WebSocket } from "ws";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({ options: { connect: { type: "string" } } });

// Socket tells of what SignalR keeps to itself.
class Socket extends WebSocket {
  constructor(...of) {
    super(...of);
    this.on("ping", () => tell("ping"));
    this.on("close", (code, reason) => tell("close", { code, reason: reason.toString() }));
  }
}

const connection = new HubConnectionBuilder()
  .withUrl(flags.connect, { transport: HttpTransportType.WebSockets, WebSocket: Socket })
  .withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => 50 })
  .withKeepAliveInterval(100)
  .configureLogging(LogLevel.None)
  .build();

connection.on("said", (text) => tell("message", { text }));
connection.onreconnected(() => tell("open"));
connection.start().then(
  () => tell("open"),
  (error) => tell("error", { text: `${error}` }),
);

obey({
  say: ({ text }) => connection.send("say", text),
  close: () => connection.stop(),
});
