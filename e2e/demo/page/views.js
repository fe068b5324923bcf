// The page: which of its views is shown, by the address's fragment.
import {$, copyable, make, routes} from "./parts.js";
import * as limit from "./limit.js";
import * as live from "./live.js";
import * as restart from "./restart.js";
import * as scenarios from "./scenarios.js";

function show() {
  const id = location.hash.slice(1), isScenario = scenarios.visitScenario(id), inScenarios = isScenario || id === "scenarios";
  $("view-live").hidden = inScenarios;
  $("view-scenarios").hidden = !inScenarios;
  if (!inScenarios) live.visit();
  for (const tab of $("tabs").children) tab.toggleAttribute("aria-current", (tab.hash === "#scenarios") === inScenarios);
}
// takeAway fills the sections with what a visitor can take along.
function takeAway(about) {
  const address = "ws://" + location.host + "/ws/echo";
  $("live-yaml").textContent = about.live.yaml;
  $("live-route").append(...routes(about.live));
  for (const line of ["websocat " + address, "wscat -c " + address]) $("own").append(copyable(line));
  $("own").append(make("p", "Type a line and it comes back. Ctrl-C closes.", "soft hint"));
}
async function ask(path) { return (await fetch(path)).json(); }

try {
  const [about, acts] = await Promise.all([ask("scenarios"), ask("acts")]);
  $("gateway").textContent = "hosted by " + about.gateway;
  scenarios.start(about);
  for (const part of [live, limit, restart]) part.start(acts);
  takeAway(acts);
  addEventListener("hashchange", show);
  show();
} catch (err) {
  $("gateway").textContent = "The demo's host does not answer: " + err.message;
}
