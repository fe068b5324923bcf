// The restart: two crowds of clients, with wsfw and without, and when each of them is sent away and comes back.
import {$, busy, Countdown, isBusy, make} from "./parts.js";

const crowds = {};
let source = null;

function crowd(via, title, size) {
  const box = $("crowd-" + via);
  box.querySelector("h4").textContent = title;
  const list = Array.from({length: size}, (_, i) => {
    const li = make("li");
    li.append(make("i"), make("span", ""));
    show(li, "", "", i);
    return li;
  });
  box.querySelector("ol").append(...list);
  return {list, words: box.querySelector("p"), countdown: new Countdown(box.querySelector(".waiting"))};
}
// show puts a client's state in colour and in words.
function show(li, state, code, number) {
  li.dataset.state = state;
  if (code !== undefined) li.lastChild.textContent = code;
  li.setAttribute("aria-label", "client " + (number + 1) + ": " + (state || "not connected") + " " + li.lastChild.textContent);
}
function happened(e) {
  const one = crowds[e.via], li = one?.list[e.client];
  switch (e.kind) {
  case "starting":
    $("restart-state").textContent = "Two instances of the gateway are starting …";
    break;
  case "open":
    show(li, "open", "", e.client);
    $("restart-state").textContent = "Clients connect to the old instance …";
    break;
  case "begun":
    $("restart-state").textContent = "The old instance has been told to end.";
    for (const c of Object.values(crowds)) c.countdown.begin(c.wait);
    break;
  case "closed":
    show(li, "closed", e.code || "cut", e.client);
    li.classList.toggle("bad", !e.code);
    if (one.list.every(other => other.lastChild.textContent)) one.countdown.clear();
    break;
  case "back":
    show(li, "back", undefined, e.client);
    break;
  case "summary":
    one.words.textContent = e.text + ".";
    break;
  case "done":
    over("All clients are back, with the new instance.");
    break;
  case "failed":
    over("It failed: " + e.text);
  }
}
function over(text) {
  source.close();
  for (const c of Object.values(crowds)) c.countdown.clear();
  $("restart-state").textContent = text;
  busy($("restart"), false);
}
function begin() {
  if (isBusy($("restart"))) return;
  busy($("restart"), true);
  for (const c of Object.values(crowds)) {
    c.words.textContent = "";
    c.list.forEach((li, i) => { li.classList.remove("bad"); show(li, "", "", i); });
  }
  source = new EventSource("restart");
  source.onmessage = message => happened(JSON.parse(message.data));
  source.onerror = () => over("The demo's host has ended the restart.");
}

// start fills the section from what the demo's host tells.
export function start(about) {
  for (const [via, title] of [["wsfw", "With wsfw"], ["native", about.native.title]]) {
    crowds[via] = crowd(via, title, about.crowd);
    crowds[via].wait = about.waits[via];
  }
  $("restart").textContent = "Restart it under " + about.crowd + " clients each";
  $("ending").textContent = about.native.ending;
  $("restart").onclick = begin;
}
