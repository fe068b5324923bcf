// A GraphQL server on graphql-ws that passes on to its subscribers what one client says, or a client of it that
// subscribes. Both are spoken to as peer.js is.
//
//   node graphql.js --connect ws://host:port/path
//   node graphql.js --listen host

import { EventEmitter, on } from "node:events";
import { parseArgs } from "node:util";
import { buildSchema } from "graphql";
import { createClient } from "graphql-ws";
import { useServer } from "graphql-ws/use/ws";
import { WebSocket, WebSocketServer } from "ws";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({ options: { connect: { type: "string" }, listen: { type: "string" } } });

const schema = buildSchema(`
  type Query { subscribers: Int! }
  type Mutation { say(text: String!): Boolean }
  type Subscription { said: String! }
`);

const hall = new EventEmitter();

// said is no generator, for the end of one waits for its next value.
function said() {
  const words = on(hall, "said");
  tell("subscribed");
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      const { done, value } = await words.next();
      return { done, value: done ? undefined : { said: value[0] } };
    },
    return: () => words.return(),
  };
}

const roots = {
  query: { subscribers: () => hall.listenerCount("said") },
  mutation: { say: ({ text }) => hall.emit("said", text) },
  subscription: { said },
};

function listen(host) {
  const server = new WebSocketServer({ host, port: 0 });
  server.on("listening", () => tell("listening", { port: server.address().port }));
  const onClose = (context, code, reason) => tell("close", { code, reason });
  useServer({ schema, roots, onClose }, server);
}

function connect(url) {
  const client = createClient({
    url,
    webSocketImpl: WebSocket,
    keepAlive: 100,
    retryWait: () => new Promise((done) => setTimeout(done, 50)),
    on: {
      connected: () => tell("open"),
      pong: (received) => received && tell("pong"),
      closed: ({ code, reason }) => tell("close", { code, reason: reason.toString() }),
    },
  });
  const run = (query, variables, next) =>
    client.subscribe({ query, variables }, { next, error: (error) => tell("error", { text: `${error}` }), complete() {} });
  run("subscription { said }", {}, ({ data }) => tell("message", { text: data.said }));
  obey({
    say: ({ text }) => run("mutation Say($text: String!) { say(text: $text) }", { text }, () => {}),
    close: () => client.dispose(),
  });
}

if (flags.connect) {
  connect(flags.connect);
} else {
  listen(flags.listen);
  obey({});
}
