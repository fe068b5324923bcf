// A client of y-websocket with a document, a list of texts that all its clients share. It is spoken to as peer.js is.
//
//   node yjs.js --connect ws://host:port/path/document

import { parseArgs } from "node:util";
import { WebSocket } from "ws";
import { WebsocketProvider } from "y-websocket";
import { Doc } from "yjs";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({ options: { connect: { type: "string" } } });

// Socket tells of the gateway's pings, too.
class Socket extends WebSocket {
  constructor(...of) {
    super(...of);
    this.on("ping", () => tell("ping"));
  }
}

const [, server, name] = flags.connect.match(/(.*)\/(.*)/);
const document = new Doc();
const texts = document.getArray("texts");
texts.observe(({ changes, transaction }) => {
  if (transaction.local) return;
  for (const text of changes.delta.flatMap(({ insert }) => insert ?? [])) tell("message", { text });
});

const provider = new WebsocketProvider(server, name, document, { WebSocketPolyfill: Socket, disableBc: true });
provider.on("status", ({ status }) => status === "connected" && tell("open"));
provider.on("sync", (synced) => synced && tell("subscribed"));
provider.on("connection-close", (end) => end && tell("close", { code: end.code, reason: end.reason }));
provider.on("connection-error", ({ message }) => tell("error", { text: message }));

obey({
  say: ({ text }) => texts.push([text]),
  close: () => provider.destroy(),
});
