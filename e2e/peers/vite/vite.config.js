// The server sends back what the page says.

const echo = {
  name: "echo",
  configureServer: ({ ws }) => ws.on("say", (data, client) => client.send("said", data)),
};

export default { clearScreen: false, plugins: [echo] };
