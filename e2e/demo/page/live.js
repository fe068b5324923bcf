// The live session: the demo's host plays both ends, and this shows what it tells of them.
import {$, bytes, card, make, meaning, ms, Rows} from "./parts.js";

const sides = ["client", "upstream"];
const dots = 12; // on one way at a time
let source = null;  // of the events of the session on show
let session = null; // {id, rtt, pings, pongs}
let acts = [];      // that its ends know
const rows = new Rows($("wireLog"));

function connect() {
  if (source) source.close();
  session = {id: "", rtt: [], pings: {client: 0, upstream: 0}, pongs: {client: 0, upstream: 0}};
  $("wireLog").replaceChildren();
  $("record").replaceChildren(make("p", "The record is written when the session has ended.", "soft"));
  for (const side of sides) {
    $("node-" + side).className = "";
    got(side, "…", "", "", "");
  }
  beats();
  draw();
  state("opening", "Connecting …");
  source = new EventSource("live");
  source.onmessage = message => happened(JSON.parse(message.data));
  source.onerror = () => ended("The demo's host has ended the session.");
}
function ended(text) {
  source.close();
  session.id = "";
  state("over", text);
}
function state(name, text) {
  $("stage").dataset.state = name;
  $("state").textContent = text;
  $("begin").textContent = name === "open" ? "Disconnect" : name === "over" ? "Connect again" : "Connect";
  $("begin").disabled = name === "opening";
  for (const b of document.querySelectorAll(".needs")) b.disabled = name !== "open";
}
function got(side, big, cls, means, reason) {
  $("got-" + side).textContent = big;
  $("got-" + side).className = "got " + cls;
  $("why-" + side).replaceChildren(means, make("span", reason));
}

// What the host tells.
function happened(e) {
  row(e);
  ({open: opened, frame: passed, gone: left, act: acted, record: recorded})[e.kind](e);
}
function opened(e) {
  session.id = e.text;
  state("open", "Open. Press a button, and see which close code comes back.");
  got("client", 101, "live", meaning(101), "");
  got("upstream", "GET", "live", "an upgrade", "before the client was answered");
}
function passed(e) {
  fly(e);
  if (e.opcode === "ping" && e.way === "in" && !e.own) session.pings[e.side]++;
  if (e.opcode === "pong" && e.way === "out" && !e.own) {
    session.pongs[e.side]++;
    const heart = $("heart-" + e.side);
    heart.classList.remove("beat");
    void heart.offsetWidth; // so that the animation begins anew
    heart.classList.add("beat");
  }
  beats();
  if (e.rtt) {
    session.rtt.push(e.rtt);
    draw();
  }
  if (e.opcode === "close" && e.way === "in") got(e.side, e.code || 1005, e.code === 1000 || e.code >= 4000 ? "fine" : "bad", meaning(e.code || 1005), e.text || "");
}
function left(e) {
  if (!session.id) ended(e.text);
  $("node-" + e.side).className = "gone";
  if (!/^\d{4}$/.test($("got-" + e.side).textContent)) got(e.side, "none", "bad", "no close frame", e.text);
}
function acted(e) {
  const act = acts.find(a => a.side === e.side && a.title === e.text);
  if (act) $("state").textContent = act.text;
  if (e.text === "Stop answering pings") $("node-" + e.side).className = "silent";
  if (e.text === "Vanish" || e.text === "Kill it") {
    $("node-" + e.side).className = "gone";
    got(e.side, "–", "", "it is gone", "");
  }
}
function recorded(e) {
  const line = e.line;
  for (const [side, h] of Object.entries(line.heartbeat ?? {})) {
    if (h.pongs) $("beats-" + side).textContent = h.pings + " sent, " + h.pongs + " answered in " + ms(h.rttMin) + " to " + ms(h.rttMax);
  }
  $("record").replaceChildren(card(line));
  ended("Ended by the " + line.endedBy + " after " + (line.duration < 1 ? ms(line.duration * 1000) : line.duration.toFixed(1) + " s") + ", as the record has it.");
}

// How it looks.
function fly(e) {
  const way = $("way-" + e.side);
  if (way.children.length >= dots) return;
  const leftward = (e.side === "client") === (e.way === "in");
  const dot = make("span", undefined, "dot " + e.opcode + (leftward ? " leftward" : ""));
  dot.onanimationend = () => dot.remove();
  way.append(dot);
  setTimeout(() => dot.remove(), 1000); // where nothing is animated
}
function beats() {
  for (const side of sides) {
    const n = session.pings[side];
    $("beats-" + side).textContent = n ? n + (n === 1 ? " ping, " : " pings, ") + session.pongs[side] + " answered" : "–";
  }
}
function draw() {
  const shown = session.rtt.slice(-60), sorted = [...session.rtt].sort((a, b) => a - b);
  $("now").textContent = shown.length ? ms(shown.at(-1)) : "–";
  $("spread").textContent = shown.length ? "median " + ms(sorted[sorted.length >> 1]) + ", worst " + ms(sorted.at(-1)) : "";
  const top = Math.max(...shown, 0.001) * 1.15;
  const points = shown.map((t, i) => (i * 300 / 59).toFixed(1) + "," + (80 - t / top * 80).toFixed(1));
  $("curve").firstElementChild.setAttribute("d", points.length > 1 ? "M" + points.join(" L") : "");
}
function row(e) {
  const heartbeat = e.opcode === "ping" || e.opcode === "pong";
  const li = make("li", undefined, [e.side, e.kind, e.opcode, heartbeat ? "heartbeat" : ""].filter(Boolean).join(" "));
  const mark = e.kind !== "frame" ? "·" : (e.side === "client") === (e.way === "out") ? "→" : "←";
  const text = {
    open: "is connected through wsfw", gone: e.text, act: e.text, record: "has written the session's record",
    frame: heartbeat ? (e.own ? "end to end" : "of wsfw") : [e.code, e.text].filter(Boolean).join(" "),
  }[e.kind];
  li.append(make("time", (e.at / 1000).toFixed(3) + " s"), make("span", e.side, "who"), make("span", mark, "mark"));
  li.append(make("span", e.opcode ? e.opcode : "", "op"), make("span", text, "text"));
  li.append(make("span", e.rtt ? ms(e.rtt) : e.kind === "frame" ? bytes(e.size) : "", "facts"));
  rows.add(li);
}

// What the page asks for.
async function perform(side, act, text = "") {
  const resp = await fetch("live/" + session.id + "/" + side + "/" + act, {method: "POST", body: new URLSearchParams({text})});
  if (!resp.ok) $("state").textContent = await resp.text();
}
function button(a) {
  const b = make("button", undefined, "button needs");
  b.type = "button";
  b.title = a.text;
  b.id = "act-" + a.side + "-" + a.id;
  b.append(make("span", a.title), make("span", a.client || "–", "code"));
  b.setAttribute("aria-label", a.title + ". " + a.text + " " + (a.client ? "The client gets " + a.client + "." : ""));
  b.onclick = () => perform(a.side, a.id);
  return b;
}

// start fills the view from what the demo's host tells.
export function start(about) {
  $("liveYaml").textContent = about.yaml;
  acts = about.acts;
  for (const a of acts) $("acts-" + a.side).append(button(a));
  $("begin").onclick = () => $("stage").dataset.state === "open" ? perform("client", "leave") : connect();
  $("talk").onsubmit = event => { event.preventDefault(); perform("client", "say", $("words").value); };
  $("quiet").onchange = () => $("wireLog").classList.toggle("quiet", $("quiet").checked);
  state("idle", $("state").textContent);
}
