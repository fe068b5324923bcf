// An MQTT client that subscribes to a topic and tells of what is said there. It is spoken to as peer.js is.
//
//   node mqtt.js --connect ws://host:port/path

import { parseArgs } from "node:util";
import mqtt from "mqtt";
import { obey, tell } from "./console.js";

const { values: flags } = parseArgs({ options: { connect: { type: "string" } } });

const topic = "news";
const qos = 1;

const client = mqtt.connect(flags.connect, {
  clientId: "peer",
  clean: false, // the broker remembers what it has subscribed to
  resubscribe: false,
  keepalive: 2, // seconds: Mosquitto takes half a one for a large message
  reconnectPeriod: 50,
});

client.on("connect", ({ sessionPresent }) => {
  tell("open");
  if (sessionPresent) tell("subscribed");
  else client.subscribe(topic, { qos }, () => tell("subscribed"));
});
client.on("message", (_, message) => tell("message", { text: message.toString() }));
client.on("packetreceive", ({ cmd }) => {
  if (cmd === "pingresp") tell("pong");
});
client.on("error", (error) => tell("error", { text: error.message }));
client.on("close", () => tell("close"));

obey({
  say: ({ text }) => client.publish(topic, text, { qos }),
  close: () => client.end(),
});
