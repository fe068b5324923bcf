// The live session, with wsfw and without: the demo's host plays both ends, and this shows what it tells of them.
import {$, bytes, card, Countdown, make, meaning, ms, Rows, seconds} from "./parts.js";

const sides = ["client", "upstream"], ways = ["wsfw", "native"];
const dots = 12; // on one way at a time
let source = null;  // of the events of the sessions on show
let session = null; // {id, opened, lanes, rtt, pings, pongs}
let acts = [];      // that its ends know
const rows = {wsfw: new Rows($("frames-wsfw")), native: new Rows($("frames-native"))};
const countdown = new Countdown($("waiting"));

function connect() {
  if (source) source.close();
  const lane = () => ({open: false, act: null, since: 0, ended: {client: false, upstream: false}});
  session = {id: "", rtt: [], pings: {client: 0, upstream: 0}, pongs: {client: 0, upstream: 0}, lanes: {wsfw: lane(), native: lane()}, due: null};
  session.opened = new Promise(done => { session.settle = done; });
  $("record").replaceChildren(make("p", "The record is written when the session has ended.", "soft"));
  for (const via of ways) {
    rows[via].clear();
    $("fate-" + via).textContent = "";
    for (const side of sides) {
      $("node-" + via + "-" + side).classList.remove("silent", "gone");
      got(via, side, "…", "", "");
    }
  }
  beats();
  draw();
  countdown.clear();
  state("opening", "Connecting …");
  source = new EventSource("live");
  source.onmessage = message => happened(JSON.parse(message.data));
  source.onerror = () => { ended("The demo's host has ended the session."); source.close(); };
}
// ended is the end of the session through wsfw. The one without may go on, until the next one begins.
function ended(text) {
  session.id = "";
  session.due = null;
  session.settle(false);
  countdown.clear();
  state("over", text);
}
function state(name, text) {
  $("stage").dataset.state = name;
  $("state").textContent = text;
}
function got(via, side, big, cls, means, reason = "") {
  const name = via + "-" + side;
  $("got-" + name).textContent = big;
  $("got-" + name).className = "got " + cls;
  $("why-" + name).replaceChildren(means, make("span", reason));
}

// What the host tells.
function happened(e) {
  row(e);
  ({open: opened, frame: passed, gone: left, act: acted, record: recorded})[e.kind](e);
}
function opened(e) {
  session.id = e.text;
  session.lanes[e.via].open = true;
  got(e.via, "client", 101, "", meaning(101));
  got(e.via, "upstream", "GET", "", "an upgrade request");
  if (ways.every(via => session.lanes[via].open)) {
    state("open", "Both sessions are open. Press a button to break them.");
    session.settle(true);
  }
}
function passed(e) {
  fly(e);
  if (e.opcode === "close" && e.way === "in") closed(e);
  if (e.via !== "wsfw") return;
  if (e.opcode === "ping" && e.way === "in" && !e.own) pinged(e);
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
}
function pinged(e) {
  session.pings[e.side]++;
  if (session.due && session.due.side === e.side) {
    countdown.begin(session.due.wait);
    session.due = null;
  }
}
function closed(e) {
  const lane = session.lanes[e.via], code = e.code || 1005;
  const promised = lane.act && (e.via === "wsfw" ? lane.act : lane.act.native)[e.side];
  lane.ended[e.side] = true;
  got(e.via, e.side, code, code === promised ? "good" : "bad", meaning(code), e.text || "");
}
function left(e) {
  const lane = session.lanes[e.via];
  if (!lane.open) ended(e.text);
  $("node-" + e.via + "-" + e.side).classList.add("gone");
  if (!lane.ended[e.side]) got(e.via, e.side, "none", "bad", "no close frame", e.text);
  lane.ended[e.side] = true;
}
function acted(e) {
  const lane = session.lanes[e.via], act = acts.find(a => a.side === e.side && a.title === e.text);
  if (!act) return; // a text was sent
  lane.act = act;
  lane.since = performance.now();
  for (const side of sides) {
    if (!lane.ended[side]) got(e.via, side, "open", "warm", e.via === "native" && act.native.open ? "still open, nobody has noticed" : "still open");
  }
  if (act.id === "silent") $("node-" + e.via + "-" + e.side).classList.add("silent");
  if (act.id === "vanish" || act.id === "kill") {
    lane.ended[e.side] = true;
    $("node-" + e.via + "-" + e.side).classList.add("gone");
    got(e.via, e.side, "–", "", "it is gone");
  }
  $("fate-" + e.via).textContent = e.via === "native" ? act.native.text : act.text;
  if (e.via === "wsfw") {
    $("state").textContent = "The " + act.side + " was told: " + act.title + ".";
    if (act.waits) {
      session.due = {side: e.side, wait: act.waits[1]};
      countdown.begin(act.waits[0]);
    }
  }
}
function recorded(e) {
  const line = e.line;
  for (const [side, h] of Object.entries(line.heartbeat ?? {})) {
    if (h.pongs) $("beats-" + side).textContent = h.pings + " sent, " + h.pongs + " answered in " + ms(h.rttMin) + " to " + ms(h.rttMax);
  }
  $("record").replaceChildren(card(line));
  ended("With wsfw: ended by " + (line.endedBy === "wsfw" ? "wsfw" : "the " + line.endedBy) + " after " +
    (line.duration < 1 ? ms(line.duration * 1000) : seconds(line.duration * 1000)) + ". The next button opens new sessions first.");
}

// How it looks.
function fly(e) {
  const way = $("way-" + e.via + "-" + e.side);
  if (way.children.length >= dots) return;
  const leftward = (e.side === "client") === (e.way === "in");
  const dot = make("span", undefined, "dot " + sender(e) + " " + e.opcode + (leftward ? " leftward" : ""));
  dot.onanimationend = () => dot.remove();
  way.append(dot);
  setTimeout(() => dot.remove(), 1000); // where nothing is animated
}
// sender is whose frame it is: wsfw's own pings, and the pongs to these, are nobody else's.
function sender(e) {
  if ((e.opcode === "ping" || e.opcode === "pong") && !e.own) return "gateway";
  return e.way === "out" ? e.side : e.side === "client" ? "upstream" : "client";
}
// clocks shows for how long nobody has noticed.
function clocks() {
  const lane = session?.lanes.native;
  if (!lane?.act?.native.open || source.readyState === EventSource.CLOSED) return;
  for (const side of sides) {
    if (!lane.ended[side]) $("why-native-" + side).lastChild.replaceChildren(clock(performance.now() - lane.since));
  }
}
function clock(t) {
  const e = make("span", "for " + seconds(t), "clock");
  e.setAttribute("aria-hidden", "true"); // or it would be read out all the time
  return e;
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
  if (shown.length) $("spread").textContent = "Median " + ms(sorted[sorted.length >> 1]) + ", worst " + ms(sorted.at(-1)) + ", of pings that the client sends twice a second.";
  const top = Math.max(...shown, 0.001) * 1.15;
  const points = shown.map((t, i) => (i * 300 / 59).toFixed(1) + "," + (80 - t / top * 80).toFixed(1));
  $("curve").firstElementChild.setAttribute("d", points.length > 1 ? "M" + points.join(" L") : "");
}
function row(e) {
  const heartbeat = e.opcode === "ping" || e.opcode === "pong";
  const li = make("li", undefined, [e.side, e.kind, e.opcode, heartbeat ? "heartbeat" : ""].filter(Boolean).join(" "));
  const text = {
    open: "is connected", gone: "sees the end: " + e.text, act: "is told: " + e.text, record: "has written the session's record",
    frame: heartbeat ? (e.own ? "end to end" : "of wsfw") : [e.code, e.text].filter(Boolean).join(" "),
  }[e.kind];
  const way = {in: " received", out: " sent"}[e.way] ?? "";
  li.append(make("time", (e.at / 1000).toFixed(3) + " s"), make("span", e.side + way, "who"));
  li.append(make("span", e.opcode ?? "", "op"), make("span", text, "text"));
  li.append(make("span", e.rtt ? ms(e.rtt) : e.kind === "frame" ? bytes(e.size) : "", "facts"));
  rows[e.via].add(li);
}

// What the page asks for. Where the session has ended, a new one is opened first.
async function perform(side, act, text = "") {
  if ($("stage").dataset.state === "over") connect();
  if (!await session.opened) return;
  const resp = await fetch("live/" + session.id + "/" + side + "/" + act, {method: "POST", body: new URLSearchParams({text})});
  if (!resp.ok) $("state").textContent = await resp.text();
}
function button(a) {
  const b = make("button", undefined, "button");
  b.type = "button";
  b.title = a.text;
  b.id = "act-" + a.side + "-" + a.id;
  b.append(make("span", a.title), make("span", a.client || "–", "code"));
  b.setAttribute("aria-label", a.title + ". " + a.text + " " + (a.client ? "With wsfw the client gets " + a.client + "." : ""));
  b.onclick = () => perform(a.side, a.id);
  return b;
}

// start fills the view from what the demo's host tells.
export function start(about) {
  $("native").textContent = about.native.title;
  $("native-text").textContent = about.native.text;
  $("proxy").textContent = about.native.proxy;
  acts = about.acts;
  for (const a of acts) $("acts-" + a.side).append(button(a));
  $("begin").onclick = connect;
  $("talk").onsubmit = event => { event.preventDefault(); perform("client", "say", $("words").value); };
  $("quiet").onchange = () => { for (const via of ways) $("frames-" + via).classList.toggle("quiet", $("quiet").checked); };
  for (const shown of ways) {
    $("shown-" + shown).onchange = () => {
      for (const via of ways) $("frames-" + via).hidden = via !== shown;
      $("frames-" + shown).scrollTop = $("frames-" + shown).scrollHeight;
    };
  }
  setInterval(clocks, 100);
}
// visit has the view show a session, which is opened at the first visit.
export function visit() {
  if (!session) connect();
}
