// The page: which of its views is shown, by the address's fragment.
import {$} from "./parts.js";
import * as live from "./live.js";
import * as scenarios from "./scenarios.js";

function show() {
  const id = location.hash.slice(1), isScenario = scenarios.visitScenario(id), inScenarios = isScenario || id === "scenarios";
  $("view-live").hidden = inScenarios;
  $("view-scenarios").hidden = !inScenarios;
  for (const tab of $("tabs").children) tab.toggleAttribute("aria-current", (tab.hash === "#scenarios") === inScenarios);
}
async function ask(path) { return (await fetch(path)).json(); }

try {
  const [about, acts] = await Promise.all([ask("scenarios"), ask("acts")]);
  $("gateway").textContent = "hosted by " + about.gateway;
  scenarios.start(about);
  live.start(acts);
  addEventListener("hashchange", show);
  show();
} catch (err) {
  $("gateway").textContent = "The demo's host does not answer: " + err.message;
}
