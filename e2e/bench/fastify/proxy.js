// A proxy for WebSocket sessions on @fastify/http-proxy, which pings the upstream of each. Its host:port goes to standard
// output.
//
//   node proxy.js --upstream host:port --interval milliseconds

import { parseArgs } from "node:util";
import proxy from "@fastify/http-proxy";
import Fastify from "fastify";

const { values: flags } = parseArgs({
  options: { upstream: { type: "string" }, interval: { type: "string" } },
});

// By itself it passes on no header but cookies, and the upstream has to know what it is to do.
function rewriteRequestHeaders(headers, request) {
  const role = request.headers["bench-role"];
  return role ? { ...headers, "bench-role": role } : headers;
}

const server = Fastify();
await server.register(proxy, {
  upstream: `http://${flags.upstream}`,
  websocket: true,
  wsClientOptions: { rewriteRequestHeaders },
  wsReconnect: { pingInterval: Number(flags.interval) },
});
const address = await server.listen({ host: "127.0.0.1", port: 0 });
process.stdout.write(new URL(address).host + "\n");
