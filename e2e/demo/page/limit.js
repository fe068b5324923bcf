// The limit: upgrades from two addresses, as many with wsfw as without, and how each was answered.
import {$, busy, isBusy, make, meaning} from "./parts.js";

function cell(told) {
  const td = make("td");
  const cls = told.status === 101 ? "" : told.status === 429 || told.status === 503 ? "good" : "bad";
  td.append(make("b", told.status || "–", cls), " " + (told.status === 101 ? "let in" : meaning(told.status)));
  if (told.retryAfter) td.append(make("span", "Retry-After: " + told.retryAfter, "soft"));
  if (told.text) td.append(make("span", told.text, "soft"));
  return td;
}
async function reach() {
  if (isBusy($("limit"))) return;
  busy($("limit"), true);
  $("limit-state").textContent = "Connecting, one after the other …";
  try {
    const resp = await fetch("limit", {method: "POST"});
    if (!resp.ok) throw new Error(await resp.text());
    const answers = await resp.json();
    $("answers").hidden = false;
    $("answers").tBodies[0].replaceChildren(...answers.wsfw.map((told, i) => {
      const tr = make("tr"), from = make("th", told.from);
      from.scope = "row";
      tr.append(from, cell(told), cell(answers.native[i]));
      return tr;
    }));
    const open = list => list.filter(told => told.status === 101).length;
    $("limit-state").textContent = "With wsfw " + open(answers.wsfw) + " of " + answers.wsfw.length + " were let in, without " +
      open(answers.native) + ". All have been closed again.";
  } catch (err) {
    $("limit-state").textContent = err.message;
  }
  busy($("limit"), false);
}

// start fills the section from what the demo's host tells.
export function start(about) {
  $("limit-native").textContent = about.native.title;
  $("limit-options").textContent = about.limit.yaml.split("\n").filter(line => line.startsWith("maxConnections")).join(", ") + ".";
  $("limit").textContent = "Open " + about.callers.length + " sessions from " + new Set(about.callers).size + " addresses";
  $("limit").onclick = reach;
}
