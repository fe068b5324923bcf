// What the views have in common.
export const $ = id => document.getElementById(id);
export const meanings = {
  101: "Switching Protocols", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 426: "Upgrade Required", 429: "Too Many Requests",
  502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout", 1000: "normal closure", 1001: "going away", 1002: "protocol error", 1003: "unsupported data",
  1005: "closed without a code", 1006: "no close frame came", 1007: "invalid data", 1008: "policy violation", 1009: "message too big",
  1011: "internal error", 1012: "service restart", 1014: "bad gateway",
};
export const meaning = code => meanings[code] || (code >= 4000 ? "the application's own code" : "");

// Elements and texts. Nothing that came over the wire is ever read as HTML.
export function make(tag, text, cls) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (cls) e.className = cls;
  return e;
}
export function bytes(n) {
  return n < 1024 ? n + " B" : n < 1 << 20 ? +(n / 1024).toFixed(1) + " KiB" : +(n / (1 << 20)).toFixed(1) + " MiB";
}
export function ms(t) { return (t < 10 ? t.toFixed(1) : Math.round(t)) + " ms"; }
export function seconds(t) { return (t / 1000).toFixed(1) + " s"; }
export const pause = t => new Promise(done => setTimeout(done, t));
export const query = (path, values) => fetch(path + "?" + new URLSearchParams(values));

// Rows is a list that keeps its newest entries and stays at its end. Entries are gathered and put in once a frame of
// the screen, for bursts.
export class Rows {
  static kept = 300;
  waiting = [];
  constructor(list) { this.list = list; }
  clear() {
    this.waiting.length = 0;
    this.list.replaceChildren();
  }
  add(li) {
    if (this.waiting.push(li) === 1) requestAnimationFrame(() => this.put());
  }
  put() {
    const list = this.list, atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(...this.waiting.splice(0).slice(-Rows.kept));
    while (list.children.length > Rows.kept) list.firstChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }
}

// Countdown shows what is waited for, by which option, and for how much longer.
export class Countdown {
  constructor(box) {
    this.box = box;
    [this.bar, this.text] = box.children;
  }
  begin(wait) {
    this.clear();
    this.until = performance.now() + wait.ms;
    this.wait = wait;
    this.bar.max = wait.ms;
    this.box.hidden = false;
    this.tick();
    this.timer = setInterval(() => this.tick(), 100);
  }
  tick() {
    const left = Math.max(0, this.until - performance.now());
    this.bar.value = this.wait.ms - left;
    this.text.textContent = "Waiting for " + this.wait.for + " (" + this.wait.option + ": " + this.wait.value + "): " + seconds(left);
  }
  clear() {
    clearInterval(this.timer);
    this.box.hidden = true;
  }
}

// busy has a button take no clicks while work is done. It keeps the focus, which a disabled one would lose.
export function busy(button, isBusy) { button.setAttribute("aria-disabled", isBusy); }
export const isBusy = button => button.ariaDisabled === "true";

// copyable is a text with a button that copies it.
export function copyable(text) {
  const box = make("div", undefined, "copyable"), pre = make("pre", text.trim()), b = make("button", "Copy", "button");
  b.type = "button";
  pre.tabIndex = 0;
  b.onclick = async () => {
    try {
      await navigator.clipboard.writeText(text);
      b.textContent = "Copied";
    } catch { // a browser allows that on secure pages and on this machine's own only
      getSelection().selectAllChildren(pre);
      b.textContent = "Selected";
    }
    await pause(2000);
    b.textContent = "Copy";
  };
  box.append(pre, b);
  return box;
}
// routes shows a whole route to take along.
export function routes(s) {
  return [["Take it with you as Docker labels", s.labels], ["Take it with you as a file of Traefik's file provider", s.file]].map(([title, text]) => {
    const box = make("details");
    box.append(make("summary", title), copyable(text));
    return box;
  });
}

// card shows a line that the plugin wrote.
export function card(line) {
  const box = make("div"), dl = make("dl");
  const some = (n, what) => n + " " + what + (n === 1 ? "" : "s");
  const flow = t => some(t.messages, "message") + ", " + some(t.frames, "frame") + ", " + bytes(t.bytes) + " on the wire";
  const facts = line.endedBy === undefined ? {what: line.msg, why: line.error} : {
    "ended by": line.endedBy, code: (line.code ?? "none") + (line.reason ? " " + line.reason : ""), lasted: line.duration + " s",
    "from client": flow(line.fromClient), "from upstream": flow(line.fromUpstream),
  };
  for (const [side, h] of Object.entries(line.heartbeat ?? {}))
    facts["heartbeat of " + side] = some(h.pings, "ping") + ", " + some(h.pongs, "pong") + (h.pongs ? ", round trip " + ms(h.rttMin) + " to " + ms(h.rttMax) : "");
  for (const [name, value] of Object.entries(facts)) dl.append(make("dt", name), make("dd", value));
  const raw = make("details");
  raw.append(make("summary", "The line as written"), make("pre", JSON.stringify(line, null, 1)));
  box.append(dl, raw);
  return box;
}
