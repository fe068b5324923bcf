// A socket.io server that passes on to everybody what one client says, or a client of it. Both are spoken to as peer.js
// is.
//
//   node socketio.js --connect http://host:port
//   node socketio.js --listen host

import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Server } from "socket.io";
import { io } from "socket.io-client";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({ options: { connect: { type: "string" }, listen: { type: "string" } } });

function listen(host) {
  const http = createServer();
  const server = new Server(http, { pingInterval: 100 });
  server.on("connection", (socket) => {
    tell("open", { text: socket.conn.transport.name });
    socket.on("say", (what) => server.emit("said", what));
    socket.on("disconnect", (reason) => tell("close", { reason }));
  });
  http.listen(0, host, () => tell("listening", { port: http.address().port }));
}

function connect(url) {
  const socket = io(url, { reconnectionDelay: 50, reconnectionDelayMax: 200 });
  socket.io.on("open", () => {
    tell("open", { text: socket.io.engine.transport.name });
    socket.io.engine.on("upgrade", (transport) => tell("upgrade", { text: transport.name }));
  });
  socket.io.on("ping", () => tell("ping"));
  socket.on("said", (what) => tell("message", Buffer.isBuffer(what) ? { payload: what.toString("hex") } : { text: what }));
  socket.on("disconnect", (reason) => tell("close", { reason }));
  obey({
    say: ({ text }) => socket.emit("say", text),
    sayBinary: ({ payload }) => socket.emit("say", Buffer.from(payload, "hex")),
    close: () => socket.disconnect(),
  });
}

if (flags.connect) {
  connect(flags.connect);
} else {
  listen(flags.listen);
  obey({});
}
