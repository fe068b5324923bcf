// A client of a Jupyter kernel on JupyterLab's library, from a page of the server that it connects to. What it says is run, and
// the result comes back. It is spoken to as peer.js is.
//
//   node jupyter.js --connect http://host:port --kernel id

import { parseArgs } from "node:util";
import services from "@jupyterlab/services";
import { WebSocket } from "ws";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({ options: { connect: { type: "string" }, kernel: { type: "string" } } });

// The library says to the console what it does.
console.log = console.debug = console.warn = () => {};

// Socket has an origin, as in a browser, and tells of what JupyterLab keeps to itself.
class Socket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { origin: flags.connect });
    this.on("ping", () => tell("ping"));
    this.on("error", ({ message }) => tell("error", { text: message }));
    this.on("close", (code, reason) => tell("close", { code, reason: reason.toString() }));
  }
}

const serverSettings = services.ServerConnection.makeSettings({
  baseUrl: flags.connect,
  wsUrl: flags.connect.replace("http", "ws"),
  WebSocket: Socket,
});
const kernel = new services.KernelConnection({ serverSettings, model: { id: flags.kernel, name: "python3" } });
kernel.connectionStatusChanged.connect((_, status) => status === "connected" && tell("open"));

function run(code) {
  kernel.requestExecute({ code }).onIOPub = ({ header, content }) => {
    if (header.msg_type === "execute_result") tell("message", { text: content.data["text/plain"] });
    else if (header.msg_type === "error") tell("error", { text: content.evalue });
  };
}

obey({
  say: ({ text }) => run(text),
  close: () => kernel.dispose(),
});
