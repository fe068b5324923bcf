// Scenarios: one route each, used from the browser itself.
import {$, bytes, card, make, meaning, meanings, ms, pause, query, routes, Rows} from "./parts.js";

let prefix = "/ws/", scenarios = [], current = null;
let visit = null; // the connection on show: {socket, opened, sent, status, code, ...}

const expected = s => s.expect.status === 101 ? s.expect.code : s.expect.status;
const rows = new Rows($("log"));
function log(kind, text, facts = "") {
  const li = make("li", undefined, kind), now = new Date();
  const mark = make("span", {out: "sent", in: "received", note: ""}[kind], "mark");
  li.append(make("time", now.toTimeString().slice(0, 8) + "." + String(now.getMilliseconds()).padStart(3, "0")), mark,
    make("span", text.length > 2000 ? text.slice(0, 2000) + "…" : text, "text"), make("span", facts, "facts"));
  rows.add(li);
}
function pulse(way) {
  const wire = $("wire");
  if (wire.classList.contains(way)) return;
  wire.classList.add(way);
  setTimeout(() => wire.classList.remove(way), 500);
}

// The result.
function show(state, big, means = "", reason = "", verdict = "") {
  $("result").dataset.state = state;
  $("big").textContent = big;
  $("means").textContent = means;
  $("reason").textContent = reason;
  $("verdict").textContent = verdict;
  $("wire").classList.toggle("live", state === "open");
  for (const b of document.querySelectorAll(".live.button")) b.disabled = state !== "open";
  $("connect").disabled = state === "open" || state === "opening";
}
function conclude(v, code, reason) {
  const s = v.scenario, kept = v.status === s.expect.status && (v.status !== 101 || code === s.expect.code);
  const verdict = kept ? "As this scenario promises." : "This scenario promises " + expected(s) + (s.id === current.id && v.changed ? "; you have changed something." : ".");
  const means = meaning(code);
  v.kept = kept;
  mark(s, kept || v.changed ? "kept" : "missed", kept);
  if (v === visit) show(kept || v.changed ? "kept" : "missed", code, means, reason, verdict);
  v.done(kept);
}
function mark(s, cls, certain) {
  if (!certain && cls === "kept") return;
  s.button.classList.remove("kept", "missed");
  s.button.classList.add(cls);
  s.option.textContent = (cls === "kept" ? "✓ " : "✗ ") + s.label;
}

// A visit: one connection from the attempt to its record.
function begin() {
  if (visit && visit.socket && visit.socket.readyState < 2) visit.socket.close();
  const v = visit = {scenario: current, sent: [], rtt: [], status: 0, changed: $("suffix").value !== current.suffix || $("offer").value !== current.offer};
  v.ended = new Promise(done => { v.done = done; });
  v.since = query("lines", {route: current.id, after: 1e9}).then(r => r.json()).then(l => l.last).catch(() => 0);
  $("answer").hidden = true;
  $("hint").hidden = false;
  return v;
}
async function connect() {
  const v = begin(), s = v.scenario;
  show("opening", "…", s.plain ? "asking" : "connecting");
  await v.since;
  if (s.plain) { await probe(v); return v; }
  const target = "ws://" + location.host + prefix + s.id + $("suffix").value;
  log("note", "connecting to " + target);
  const offer = $("offer").value.split(",").map(p => p.trim()).filter(Boolean);
  try {
    v.socket = new WebSocket(target, offer);
  } catch (err) {
    show("missed", "!", "the browser refuses to try", err.message);
    v.done(false);
    return v;
  }
  v.socket.binaryType = "arraybuffer";
  v.socket.onopen = () => opened(v);
  v.socket.onmessage = event => received(v, event.data);
  v.socket.onclose = event => closed(v, event);
  return v;
}
function opened(v) {
  v.status = 101;
  const agreed = [v.socket.protocol && "subprotocol " + v.socket.protocol, v.socket.extensions || "no compression"].filter(Boolean).join(", ");
  log("note", "open; agreed: " + agreed);
  if (v === visit) show("open", 101, meanings[101], "Open: " + agreed + ".");
  if (v.script) v.script();
}
function send(v, data, text) {
  const size = data.byteLength ?? new TextEncoder().encode(data).length;
  v.sent.push({key: key(data), at: performance.now()});
  v.socket.send(data);
  log("out", text ?? data, bytes(size));
  pulse("up");
}
const key = data => typeof data === "string" ? data : new DataView(data).getUint32(0) + "/" + data.byteLength;
function received(v, data) {
  const size = data.byteLength ?? new TextEncoder().encode(data).length;
  let facts = bytes(size), back = v.sent.length > 0 && v.sent[0].key === key(data);
  if (back) {
    const t = performance.now() - v.sent.shift().at;
    v.rtt.push(t);
    facts += " in " + ms(t);
  }
  log("in", typeof data === "string" ? data : "binary message " + new DataView(data).getUint32(0), facts);
  pulse("down");
  if (v.burst && --v.burst.left === 0) {
    const took = performance.now() - v.burst.at, sorted = v.rtt.slice(-v.burst.count).sort((a, b) => a - b);
    log("note", v.burst.count + " × " + bytes(size) + " and back in " + ms(took) + ", " + bytes(v.burst.count * size * 1000 / took) +
      "/s each way; round trip: median " + ms(sorted[sorted.length >> 1]) + ", worst " + ms(sorted.at(-1)));
    v.burst = null;
  }
  if (back && v.echoed) v.echoed();
}
function sendBurst(v, count, size) {
  v.burst = {count, left: count, at: performance.now()};
  for (let i = 0; i < count; i++) {
    const data = new ArrayBuffer(Math.max(size, 4));
    new DataView(data).setUint32(0, i + 1);
    send(v, data, "binary message " + (i + 1));
  }
}
async function closed(v, event) {
  log("note", v.status ? "closed: " + event.code + (event.reason ? " " + event.reason : "") : "refused; the browser does not say how");
  if (v.status) {
    conclude(v, event.code, event.reason);
    await showLines(v);
  } else if (v === visit) {
    show("opening", "…", "refused; asking how");
    await probe(v);
  }
}

// What a browser does not tell.
async function probe(v) {
  const s = v.scenario, values = {route: s.id, suffix: $("suffix").value, offer: $("offer").value, origin: $("origin").value};
  if (values.origin !== location.origin) v.changed = true;
  const resp = await query("probe", values).catch(err => new Response(err.message, {status: 502}));
  if (!resp.ok) {
    show("missed", "!", "the probe failed", await resp.text());
    v.done(false);
    return;
  }
  const got = await resp.json();
  $("answer").hidden = false;
  $("hint").hidden = true;
  $("head").textContent = got.head;
  $("body").textContent = got.body;
  $("body").hidden = !got.body;
  $("request").textContent = got.request;
  v.status = got.status;
  log("note", (s.plain ? "plain request" : "probe") + ": " + got.head.split("\r\n")[0]);
  const told = got.status === 101 ? "The probe was let in, and has left again." : got.body.trim();
  if (got.status === 101 && s.expect.status === 101) {
    show("idle", 101, meanings[101], told);
    v.done(true);
  } else {
    conclude(v, got.status, told);
  }
  await showLines(v);
}

// What the plugin wrote. It writes when it is done, which may be a moment later.
async function showLines(v) {
  const after = await v.since;
  $("lines").replaceChildren(make("p", "Waiting for a line …", "soft"));
  for (let i = 0; i < (v.status === 101 ? 16 : 6); i++) {
    const {entries} = await (await query("lines", {route: v.scenario.id, after})).json();
    if (v !== visit) return;
    if (entries.length) {
      $("lines").replaceChildren(...entries.slice(-3).reverse().map(e => card(e.line)));
      return;
    }
    await pause(i < 4 ? 100 : 250);
  }
  $("lines").replaceChildren(make("p", "Nothing: there was no session of wsfw's, and nothing to complain of.", "soft"));
}
// Scenarios.
function choose(s) {
  current = s;
  for (const other of scenarios) other.button.toggleAttribute("aria-current", other === s);
  $("pick").lastElementChild.value = s.id;
  $("title").textContent = s.title;
  $("text").textContent = s.text;
  $("yaml").textContent = s.yaml;
  $("route").replaceChildren(...routes(s));
  $("suffix").value = s.suffix;
  $("offer").value = s.offer;
  $("offer").disabled = s.plain;
  $("message").value = s.message || "hello";
  $("count").value = s.burst || 100;
  $("size").value = s.size || 16384;
  $("origin").value = location.origin;
  $("connect").textContent = s.plain ? "Ask" : "Connect";
  begin().done();
  $("log").replaceChildren();
  $("lines").replaceChildren(make("p", "The record is written when the session has ended.", "soft"));
  show("idle", "–", "not connected", "", "Promised: " + expected(s) + " " + (meanings[expected(s)] || s.expect.reason || "") + ".");
}
async function run() {
  const s = current, going = connect();
  visit.script = () => {
    const v = visit;
    if (s.hangUp) v.echoed = () => setTimeout(() => v.socket.close(1000), 150);
    if (s.message) send(v, $("message").value);
    if (s.burst) sendBurst(v, s.burst, s.size);
  };
  return (await going).ended;
}
async function runAll() {
  $("all").disabled = true;
  let kept = 0;
  for (const s of scenarios) {
    choose(s);
    if (await Promise.race([run(), pause(20000)])) kept++;
    $("all").textContent = kept + " of " + scenarios.length + " as promised";
    await pause(250);
  }
  $("all").disabled = false;
}
function list() {
  const select = $("pick").lastElementChild;
  let group = "", options;
  for (const s of scenarios) {
    if (s.group !== group) {
      group = s.group;
      $("list").append(make("h3", group));
      options = make("optgroup");
      options.label = group;
      select.append(options);
    }
    s.label = s.title + " → " + expected(s);
    s.button = make("button");
    s.button.type = "button";
    s.button.append(make("span", s.title), make("span", expected(s), "code"));
    s.button.onclick = () => { choose(s); location.hash = s.id; };
    $("list").append(s.button);
    s.option = make("option", s.label);
    s.option.value = s.id;
    options.append(s.option);
  }
  select.onchange = () => { location.hash = select.value; };
}

$("run").onclick = () => { $("suffix").value = current.suffix; $("offer").value = current.offer; run(); };
$("all").onclick = runAll;
$("clear").onclick = () => $("log").replaceChildren();
$("burst").onclick = () => sendBurst(visit, Math.min(+$("count").value || 1, 10000), Math.min(+$("size").value || 4, 1 << 24));
$("dial").onsubmit = event => { event.preventDefault(); connect(); };
$("say").onsubmit = event => { event.preventDefault(); send(visit, $("message").value); };
$("probe").onsubmit = event => { event.preventDefault(); const v = begin(); show("opening", "…", "probing"); v.since.then(() => probe(v)); };
$("bye").onsubmit = event => {
  event.preventDefault();
  visit.changed ||= !current.hangUp || $("code").value !== "1000";
  try {
    visit.socket.close(+$("code").value, $("why").value);
    log("note", "closing with " + $("code").value + " " + $("why").value);
  } catch (err) {
    log("note", err.message); // a page may close with 1000 and 3000 to 4999 only
  }
};

// start fills the view from what the demo's host tells.
export function start(about) {
  ({prefix, scenarios} = about);
  list();
  choose(scenarios[0]);
}
// visitScenario shows the scenario of a name; false where there is none.
export function visitScenario(id) {
  const s = scenarios.find(s => s.id === id);
  if (s && s !== current) choose(s);
  return s !== undefined;
}
