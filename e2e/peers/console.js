// The standard output and input of a peer: what happens goes out and commands come in, one JSON object a line.

import { createInterface } from "node:readline";

export function tell(event, details) {
  process.stdout.write(JSON.stringify({ event, ...details }) + "\n");
}

// obey calls the command that a line names in do. The end of the input ends the process.
export function obey(commands) {
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const command = JSON.parse(line);
      commands[command.do](command);
    })
    .on("close", () => process.exit());
}
