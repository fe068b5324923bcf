package wsfw

// page is what the status router shows to a person: one document that loads nothing else, for embed is not there in the
// interpreter. It asks for metrics, history and sessions below its own address, and sets all that comes from these as text.
//
// Its colours mean one thing each, and nothing that is not said in words or by a line's dashes, too: client and upstream whose
// something is, accent what is wsfw's or can be pressed, bad an end or a fault, warm what waits.
//
// A tick is what one reading of the metrics gave: its time, its samples, which are kept for a minute, and its totals of each
// middleware and, under the empty name, of all; these are like those of the history, and kept for as long as a chart shows. A
// chart of all middlewares is drawn from the history, one of a single one from what the page has seen. A chart's series are
// [class, label, reader of totals]; level ones are drawn as they are, others by the second. The table has those sessions of the
// filter that have been read, the oldest first, and its rows by id; columns are [key, head, width in %, text, number to sort by].
// A column of numbers is sorted by the largest first; the more rows there are, the less often they are read; their count is said
// where one has asked for it, and not at each reading. Facts about a session are [label, text, the filter that takes all like it, the value of that]. Sessions are ended by a filter,
// also a single one. Times are in milliseconds. One reading is made at a time, each period, and none while paused or hidden.
const page = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>WebSocket sessions</title>
<style>
:root {
	color-scheme: light dark; --own: var(--accent);
	--paper: light-dark(#f5f4f0, #14171a); --card: light-dark(#fff, #1c2024); --sunk: light-dark(#f0eee8, #15181b);
	--ink: light-dark(#1d2327, #e6e8ea); --soft: light-dark(#59626a, #9aa4ac); --line: light-dark(#dcd8ce, #30363c);
	--edge: light-dark(#868c92, #6f7981); --accent: light-dark(#0b6e69, #4cc9c0); --bad: light-dark(#b3372c, #ff8b7f);
	--client: light-dark(#1d5fbf, #7cb2ff); --upstream: light-dark(#8a3ea8, #d79bf0); --warm: light-dark(#8a5000, #f0b35a);
}
* { box-sizing: border-box; }
body { max-width: 90rem; margin: 0 auto; padding: .8rem 1rem; background: var(--paper); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
header, .bar { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem .9rem; }
header label, .bar > h2 { margin-right: auto; }
h1, h2, p, dl, dd { margin: 0; }
h1, h2 { font-size: 1.2rem; }
#figures h2 { font-size: .9rem; }
label, th, dt, .soft { color: var(--soft); font-size: .82rem; }
#state.paused, #rows .closing { color: var(--warm); } #state.away, button.end { color: var(--bad); }
.bad { color: var(--bad); font-weight: 600; overflow-wrap: anywhere; }
#lost:not(:empty) { position: sticky; top: 0; z-index: 1; margin-top: .8rem; padding: .6rem 1rem; border-left: .4rem solid; background: var(--card); }
.away :is(#figures, .rows) { opacity: .55; }
#figures { display: flex; flex-wrap: wrap; gap: .8rem; margin: .8rem 0; }
#figures section { flex: 1 1 18rem; } #figures .wide { flex-basis: 36rem; }
section { min-width: 0; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: .6rem; background: var(--card); }
.pair { display: flex; justify-content: space-between; align-items: baseline; gap: .6rem; }
.pair b { font-size: 1.15rem; white-space: nowrap; }
.wide .pair { flex-direction: row-reverse; }
.wide b { font-size: 2.6rem; line-height: 1.25; }
.pair span::before { content: ""; display: inline-block; width: 1.3rem; margin-right: .4rem; border-top: 3px solid var(--own); vertical-align: .25em; }
.client { --own: var(--client); } .upstream { --own: var(--upstream); }
svg { display: block; width: 100%; height: 7rem; }
svg text { fill: var(--soft); font-size: 11px; } svg line { stroke: var(--line); }
svg path { fill: none; stroke: var(--own); stroke-width: 2; } svg circle { fill: var(--own); }
svg .upstream, .pair .upstream::before { stroke-dasharray: 5 3; border-top-style: dashed; }
.list { max-height: 10rem; overflow-y: auto; }
table { width: 100%; border-collapse: collapse; font-size: .88rem; }
th { text-align: left; vertical-align: bottom; }
th, td { padding: .25rem .4rem .25rem 0; }
tbody tr { border-top: 1px solid var(--line); }
.list tbody:empty::after { content: "none so far"; }
.list :is(th, td) ~ * { text-align: right; white-space: nowrap; }
input, select, button { min-height: 2.1rem; padding: .25rem .6rem; border: 1px solid var(--edge); border-radius: .4rem; background: var(--card); color: var(--ink); font: inherit; }
select { max-width: 14rem; }
label { display: block; } label input { display: block; width: 100%; background: var(--sunk); }
::placeholder { font-style: italic; }
button { border-color: currentcolor; color: var(--accent); font-weight: 600; cursor: pointer; }
button:disabled { color: var(--soft); opacity: .7; cursor: default; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 1px; }
#filter { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.6rem, 1fr)); align-items: end; gap: .6rem; margin: .5rem 0; }
.rows { overflow-x: auto; margin-bottom: .6rem; }
.rows table { table-layout: fixed; min-width: 60rem; }
.rows button { min-height: 1.7rem; max-width: 100%; padding: 0 .2rem; border: 0; background: none; color: inherit; font-size: inherit; text-align: left; outline-offset: -3px; }
[aria-sort$=ending], #rows button { color: var(--accent); }
[aria-sort=ascending] button::after { content: " ▲"; } [aria-sort=descending] button::after { content: " ▼"; }
#rows tr { cursor: pointer; } #rows tr:hover { background: var(--sunk); }
#rows td, #rows td > * { padding-left: .2rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; unicode-bidi: isolate; }
dialog { width: 44rem; max-width: calc(100vw - 1.5rem); padding: 1.1rem; border: 1px solid var(--edge); border-radius: .7rem; background: var(--card); color: inherit; }
dialog::backdrop { background: rgb(0 0 0 / .5); }
#ask { width: 32rem; }
dialog .bar { justify-content: space-between; margin-top: .8rem; }
#ask > * { margin-top: .6rem; }
bdi, dd span { overflow-wrap: anywhere; unicode-bidi: isolate; }
dl { display: grid; grid-template-columns: 9rem minmax(0, 1fr); gap: .5rem; margin: .6rem 0; }
dd { display: flex; gap: .6rem; justify-content: space-between; align-items: start; }
dd button { flex: none; min-height: 1.6rem; padding: 0 .5rem; font-size: .82rem; }
@media (max-width: 40rem) {
	body { padding: .6rem; }
	input, select { font-size: 16px; }
	.rows :is(th, td):first-child { position: sticky; left: 0; background: var(--card); }
	dl { grid-template-columns: minmax(0, 1fr); gap: .2rem; } dd { flex-direction: column; }
}
</style>
</head>
<body>
<header>
	<h1>WebSocket sessions</h1>
	<label>Middleware <select id="middleware"></select></label>
	<b id="state" role="status">Connecting …</b><time id="updated" class="soft"></time>
	<button id="pause">Pause</button>
</header>
<p id="lost" class="bad" role="alert"></p>
<main>
<div id="figures"></div>
<section>
	<div class="bar">
		<h2 id="caption">Sessions</h2><b id="count" aria-live="off"></b>
		<button id="end-all" class="end" disabled></button>
	</div>
	<form id="filter" aria-label="Filter of sessions" autocomplete="off" spellcheck="false"><div class="bar"><button>Filter</button><button type="button" id="clear">Clear</button></div></form>
	<p id="wrong" class="bad" role="alert"></p>
	<p id="said" role="status"></p>
	<div class="rows" id="region" role="region" aria-labelledby="caption" tabindex="0">
		<table aria-labelledby="caption"><thead><tr id="heads"></tr></thead><tbody id="rows"></tbody></table>
	</div>
	<div class="bar"><button id="more" hidden></button><span id="shown" class="soft"></span></div>
</section>
</main>
<p class="soft" id="about"></p>
<dialog id="details" aria-labelledby="details-title">
	<h2 id="details-title"></h2>
	<p id="over" class="bad" role="alert"></p>
	<dl id="facts"></dl>
	<div class="bar"><button id="end-one" class="end">End this session …</button><button id="leave">Close this window</button></div>
</dialog>
<dialog id="ask" aria-labelledby="question" aria-describedby="effect">
	<h2 id="question"></h2>
	<label>Close code<input id="code" inputmode="numeric" autocomplete="off"></label>
	<label>Reason, for both ends and the log<input id="reason" maxlength="123" placeholder="ended by the operator" autocomplete="off"></label>
	<p id="effect"></p>
	<p id="failed" class="bad" role="alert"></p>
	<div class="bar"><button id="keep">Cancel</button><button id="end" class="end"></button></div>
</dialog>
<script type="module">
const $ = id => document.getElementById(id);
const second = 1000, minute = 60 * second;
const period = 2 * second, span = 15 * minute, patience = 8 * second;
const pageSize = 50, largestPage = 200;

// What is appended as a string is text.
function build(space, tag, attributes = {}, ...children) {
	const e = document.createElementNS("http://www.w3.org/" + space, tag);
	for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
	e.append(...children);
	return e;
}
const make = build.bind(null, "1999/xhtml"), draw = build.bind(null, "2000/svg");
function setText(e, text) { if (e.textContent !== text) e.textContent = text; }
// shown makes characters visible that hide or turn others.
function shown(text) {
	return String(text ?? "").replace(/[\p{Cc}\p{Bidi_Control}\u200b\u2028\u2029\ufeff]/gu, c => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

// Formats.
const {format: whole} = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
function amount(n) { return n < 10 && n % 1 ? n.toFixed(1) : whole(n); }
function size(n) {
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let unit = 0;
	for (; n >= 1024 && unit < 4; unit++) n /= 1024;
	return (unit && n < 100 && n % 1 ? n.toFixed(1) : whole(n)) + " " + units[unit];
}
function milliseconds(n) { return isFinite(n) ? (n < 100 ? n.toFixed(1) : whole(n)) + " ms" : "–"; }
function length(time) {
	const s = Math.max(0, Math.round(time / second));
	for (const [unit, name, part, partName] of [[86400, " d ", 3600, " h"], [3600, " h ", 60, " min"], [60, " min ", 1, " s"]]) {
		if (s >= unit) return Math.floor(s / unit) + name + Math.floor(s % unit / part) + partName;
	}
	return s + " s";
}
function sessions(n) { return whole(n) + (n === 1 ? " session" : " sessions"); }
const meanings = {
	1000: "normal closure", 1001: "going away", 1002: "protocol error", 1005: "no code", 1006: "connection lost",
	1007: "invalid data", 1008: "policy violation", 1009: "message too big", 1011: "internal error",
	1012: "service restart", 1013: "try again later", 1014: "bad gateway",
};

// Requests. One that fails is an Error with a sentence.
async function request(address, method) {
	const response = await fetch(address, {method, signal: AbortSignal.timeout(patience)}).catch(() => null);
	const text = await response?.text().catch(() => null), status = response?.status;
	if (response?.ok && text !== null) return text;
	const told = !status ? "no answer" : status === 400 || status === 403 ? text : "it answers with status " + status;
	throw Object.assign(new Error(told.trim()), {status});
}
async function ask(...what) { return JSON.parse(await request(...what)); }
function query(values) { return new URLSearchParams(Object.entries(values).filter(pair => pair[1] !== "")).toString(); }

// Figures.
let ticks = [], past = [], pastDue = 0, chosen = "";
let skew = 0; // how far the gateway's clock is ahead
function parseMetrics(text) {
	const samples = [];
	for (const [, metric, list, value] of text.matchAll(/^(\w+)(?:{(.*)})? (\S+)/gm)) {
		if (metric.endsWith("_bucket")) continue;
		const labels = {};
		for (const [, label, quoted] of (list || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
			labels[label] = quoted.replace(/\\(.)/g, (all, c) => c === "n" ? "\n" : c);
		}
		samples.push({metric, labels, value: Number(value)});
	}
	return samples;
}
function sum(samples, metric, labels = {}) {
	const wanted = Object.entries(labels);
	return samples.reduce((n, s) => s.metric === metric && wanted.every(([label, value]) => s.labels[label] === value) ? n + s.value : n, 0);
}
function totals(samples, time, name) {
	const of = (metric, from) => sum(samples, "wsfw_" + metric, {...name && {name}, ...from && {from}});
	const traffic = from => ({messages: of("messages_total", from), bytes: of("bytes_total", from)});
	return {time, open: of("sessions"), opened: of("sessions_opened_total"), fromClient: traffic("client"), fromUpstream: traffic("upstream")};
}
async function readMetrics() {
	const samples = parseMetrics(await request("metrics")), time = Date.now();
	const names = new Set(["", ...samples.map(s => s.labels.name || "")]);
	const of = Object.fromEntries([...names].map(name => [name, totals(samples, time, name)]));
	if (ticks.length && ticks.at(-1).of[""].opened > of[""].opened) ticks = []; // the gateway has begun anew
	ticks = [...ticks, {time, samples, of}].filter(tick => tick.time > time - span);
	for (const tick of ticks) if (tick.time < time - minute - period) tick.samples = null;
}
async function readHistory() {
	const got = await ask("history");
	past = got.samples.map(sample => ({...sample, time: Date.parse(sample.time)}));
	skew = past.at(-1).time - Date.now();
	pastDue = Date.now() + got.every * second - second;
}
// rates are points [time, so many a second]; none where counters have begun anew.
function rates(read, list, least = 5 * second) {
	const points = [];
	let before = list[0];
	for (const now of list.slice(1)) {
		const passed = now.time - before.time, more = read(now) - read(before);
		if (passed < least) continue;
		if (more >= 0) points.push([now.time, more * second / passed]);
		before = now;
	}
	return points;
}
const eachWay = read => [["client", "from clients", t => t.fromClient[read]], ["upstream", "from upstreams", t => t.fromUpstream[read]]];
const charts = [
	{title: "Open sessions", series: [["own", "", t => t.open]], level: true},
	{title: "Messages a second", series: eachWay("messages")},
	{title: "Bytes a second", series: eachWay("bytes"), bytes: true},
	{title: "Sessions opened a second", series: [["own", "opened", t => t.opened]]},
];
const lists = [
	{title: "Average times", head: "Time", rows: averages},
	{title: "Requests refused", head: "Reason", rows: counts("wsfw_requests_refused_total", labels => labels.reason.replaceAll("_", " "))},
	{title: "Sessions closed", head: "Code, ended by", rows: counts("wsfw_sessions_closed_total", ({code, ended_by}) =>
		(meanings[code] ? code + " " + meanings[code] : code || "no code") + ", " + ended_by)},
];
function counts(what, key) {
	return (last, first) => {
		const rows = {};
		for (const [i, samples] of [last, first].entries()) {
			for (const s of samples) if (s.metric === what) (rows[key(s.labels)] ||= [0, 0])[i] += s.value;
		}
		return Object.entries(rows).sort((a, b) => b[1][0] - a[1][0]).map(([label, [all, before]]) => [label, "+" + whole(all - before), whole(all)]);
	};
}
function averages(last, first) {
	const row = (label, metric, labels) => {
		const of = (samples, part) => sum(samples, "wsfw_" + metric + "_seconds_" + part, labels), n = of(last, "count"), time = of(last, "sum");
		return [label, milliseconds((time - of(first, "sum")) * 1000 / (n - of(first, "count"))), milliseconds(time * 1000 / n)];
	};
	return [row("Round trip, clients", "ping_rtt", {side: "client"}), row("Round trip, upstreams", "ping_rtt", {side: "upstream"}), row("Handshake", "handshake_duration")];
}
function makeFigures() {
	const card = (title, cls, ...children) => $("figures").append(make("section", {class: cls}, make("h2", {}, title), ...children));
	for (const chart of charts) {
		chart.values = chart.series.map(() => make("b"));
		chart.svg = draw("svg", {role: "img"});
		const values = chart.series.map(([cls, label], i) => make("p", {class: "pair"}, make("span", {class: cls}, label), chart.values[i]));
		card(chart.title, chart.level ? "wide" : "", ...values, chart.svg);
	}
	for (const list of lists) {
		list.body = make("tbody");
		list.recent = make("th");
		const table = make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, list.head), list.recent, make("th", {}, "in all"))), list.body);
		card(list.title, "", make("div", {class: "list", role: "region", "aria-label": list.title, tabindex: 0}, table));
	}
}
function showFigures() {
	const last = ticks.at(-1), first = ticks.find(tick => tick.samples);
	document.title = whole(last.of[""].open) + " open WebSocket sessions";
	setText($("updated"), new Date(last.time).toLocaleTimeString("en-GB"));
	showMiddlewares(Object.keys(last.of));
	charts.forEach(showChart);
	const ours = tick => tick.samples.filter(s => !chosen || s.labels.name === chosen);
	for (const list of lists) {
		setText(list.recent, "last " + length(last.time - first.time));
		list.body.replaceChildren(...list.rows(ours(last), ours(first)).map(texts => make("tr", {}, ...texts.map(text => make("td", {}, shown(text))))));
	}
	const build = last.samples.find(s => s.metric === "wsfw_build_info");
	setText($("about"), "wsfw " + build?.labels.version + ", lines dropped from the log: " + whole(sum(last.samples, "wsfw_log_lines_dropped_total")));
}
function showMiddlewares(names) {
	const all = [...new Set([...names, chosen])].sort(), select = $("middleware");
	if (all.length === select.options.length) return;
	select.replaceChildren(...all.map(name => make("option", {value: name}, shown(name) || "all")));
	select.value = chosen;
}

// Charts.
function showChart(chart) {
	const own = ticks.map(tick => tick.of[chosen]).filter(Boolean), list = chosen ? own : past, format = chart.bytes ? size : amount;
	const lines = chart.series.map(([cls, label, read]) => ({cls, label, points: chart.level ? list.map(t => [t.time, read(t)]) : rates(read, list)}));
	const recent = own.filter(t => t.time > own.at(-1).time - 11 * second), passed = recent.length > 1 ? recent.at(-1).time - recent[0].time : 1;
	chart.series.forEach(([, , read], i) => {
		const rate = rates(read, recent, passed).at(-1);
		setText(chart.values[i], chart.level ? whole(own.length ? read(own.at(-1)) : 0) : rate ? format(rate[1]) + "/s" : "…");
	});
	const when = chosen ? " since this page was opened" : " in the last 15 minutes";
	const told = lines.map(line => (line.label + " " + range(line.points, format)).trim()).join("; ") + when;
	if (chart.level) setText(chart.values[0].previousSibling, told);
	drawChart(chart, lines, format, told);
}
function range(points, format) {
	const values = points.map(point => point[1]);
	return values.length ? format(Math.min(...values)) + " to " + format(Math.max(...values)) : "nothing yet";
}
function drawChart({svg, title, bytes}, lines, format, told) {
	const height = svg.clientHeight;
	const left = 58, right = svg.clientWidth - 6, top = 8, bottom = height - 18;
	const points = lines.flatMap(line => line.points), end = Math.max(...points.map(point => point[0]));
	const most = ceiling(Math.max(2, ...points.map(point => point[1])), bytes);
	const x = ago => right - ago / span * (right - left), y = value => bottom - value / most * (bottom - top);
	const parts = [draw("title", {}, title), draw("desc", {}, told + ".")];
	const text = (x, y, anchor, text) => parts.push(draw("text", {x, y, "text-anchor": anchor}, text));
	for (const value of [0, most / 2, most]) {
		parts.push(draw("line", {x1: left, x2: right, y1: y(value), y2: y(value)}));
		text(left - 6, y(value) + 4, "end", format(value));
	}
	text(left, height - 3, "start", "15 min ago");
	text(x(5 * minute), height - 3, "middle", "5 min");
	text(right, height - 3, "end", "now");
	for (const {cls, points} of lines) {
		if (!points.length) continue;
		const at = points.map(([time, value]) => [x(end - time).toFixed(1), y(value).toFixed(1)]), [cx, cy] = at.at(-1);
		parts.push(draw("path", {class: cls, d: "M" + at.join("L")}), draw("circle", {class: cls, r: 3, cx, cy}));
	}
	svg.replaceChildren(...parts);
}
// ceiling is a round number from value on.
function ceiling(value, bytes) {
	const power = 10 ** Math.floor(Math.log10(value));
	return bytes ? 2 ** Math.ceil(Math.log2(value)) : power * [1, 2, 4, 6, 8, 10].find(n => value <= n * power);
}

// The table.
const table = {filter: {}, wanted: pageSize, due: 0, list: [], total: 0, rows: new Map(), sort: "opened", down: true, announce: false};
function since(time) { return Date.now() + skew - Date.parse(time); }
const traffic = t => whole(t.messages) + " / " + size(t.bytes);
const trip = (s, side) => s.heartbeat?.[side]?.pongs ? s.heartbeat[side].rttAvg.toFixed(1) : "–";
const columns = [
	["client", "Client", 14, s => s.client], ["user", "User", 8, s => s.user], ["path", "Path", 11, s => s.path], ["name", "Middleware", 8, s => s.name],
	["opened", "Open for", 9, s => length(since(s.opened)) + (s.state === "open" ? "" : ", " + s.state), s => -Date.parse(s.opened)],
	["idle", "No data for", 9, s => length(since(s.lastData || s.opened)), s => -Date.parse(s.lastData || s.opened)],
	["fromClient", "Messages / bytes from client", 11, s => traffic(s.fromClient), s => s.fromClient.bytes],
	["fromUpstream", "Messages / bytes from upstream", 12, s => traffic(s.fromUpstream), s => s.fromUpstream.bytes],
	["trip", "Round trip to client / upstream", 9, s => s.heartbeat && trip(s, "client") + " / " + trip(s, "upstream") + " ms", s => parseFloat(trip(s, "client")) || 0],
	["upstream", "Upstream", 9, s => s.upstream],
];
const filters = [["client", "Client", "192.0.2.7"], ["user", "User", "ann"], ["path", "Path prefix", "/socket"], ["upstream", "Upstream prefix", "ws://chat:4000"],
	["id", "Session ID", ""], ["older", "Open for at least", "5m"], ["idle", "No data for at least", "30s"]];
function makeTable() {
	$("filter").prepend(...filters.map(([name, label, placeholder]) => make("label", {}, label, make("input", {name, placeholder}))));
	for (const [key, head, width] of columns) {
		const button = make("button", {}, head);
		button.addEventListener("click", () => sortBy(key));
		$("heads").append(make("th", {scope: "col", style: "width: " + width + "%"}, button));
	}
	showSort();
}
function filterNow() { return chosen ? {name: chosen, ...table.filter} : table.filter; }
async function readSessions() {
	const filter = query(filterNow()), list = [];
	let got = {}, wrong = "";
	try {
		do {
			got = await ask("sessions?" + query({limit: Math.min(table.wanted - list.length, largestPage), cursor: got.next || ""}) + "&" + filter);
			list.push(...got.sessions);
		} while (got.next && list.length < table.wanted);
	} catch (e) {
		if (e.status !== 400) throw e;
		got = {total: list.length = 0};
		wrong = e.message;
	}
	if (filter !== query(filterNow())) return; // and is read again
	setText($("wrong"), wrong);
	Object.assign(table, {list, total: got.total, due: Date.now() + period * Math.ceil(list.length / largestPage) - second});
	showRows(filter !== "");
}
function showRows(filtered) {
	const {list, total} = table, rest = total - list.length;
	const matching = sessions(total) + (filtered ? total === 1 ? " matches" : " match" : "");
	$("count").setAttribute("aria-live", table.announce ? "polite" : "off");
	setText($("count"), matching);
	$("end-all").disabled = !filtered || !total;
	setText($("end-all"), filtered ? "End all that match …" : "Set a filter to end sessions");
	$("more").hidden = rest <= 0;
	setText($("more"), "Show " + Math.min(pageSize, rest) + " more");
	setText($("shown"), rest > 0 ? "The " + whole(list.length) + " oldest are shown; sorting is of these." : "");
	table.announce = false;
	placeRows();
}
function sorted() {
	const [, , , text, number] = columns.find(column => column[0] === table.sort), sign = table.down ? -1 : 1;
	const compare = number ? (a, b) => number(a) - number(b) : (a, b) => shown(text(a)).localeCompare(shown(text(b)));
	return [...table.list].sort((a, b) => sign * compare(a, b));
}
// placeRows keeps rows and the focus.
function placeRows() {
	const ids = new Set(table.list.map(s => s.id)), focused = document.activeElement, within = $("rows").contains(focused);
	for (const [id, row] of table.rows) {
		if (ids.has(id)) continue;
		row.remove();
		table.rows.delete(id);
	}
	let next = $("rows").firstChild;
	for (const s of sorted()) {
		const row = table.rows.get(s.id) || newRow(s.id);
		columns.forEach(([, , , text], i) => setText(row.cells[i].firstChild, shown(text(s)) || "–"));
		row.classList.toggle("closing", s.state !== "open");
		if (row === next) next = row.nextSibling;
		else $("rows").insertBefore(row, next);
	}
	if (within && document.activeElement !== focused) (focused.isConnected ? focused : $("region")).focus({preventScroll: true});
}
function newRow(id) {
	const row = make("tr", {"data-id": id}, ...columns.map((column, i) => make("td", {}, i ? make("span") : make("button", {}))));
	table.rows.set(id, row);
	return row;
}
function sortBy(key) {
	table.down = key === table.sort ? !table.down : columns.find(column => column[0] === key).length > 4;
	table.sort = key;
	showSort();
	placeRows();
}
function showSort() {
	const sort = table.down ? "descending" : "ascending";
	columns.forEach(([key], i) => $("heads").cells[i].setAttribute("aria-sort", key === table.sort ? sort : "none"));
}
function applyFilter() {
	table.filter = Object.fromEntries([...new FormData($("filter"))].filter(pair => pair[1] !== ""));
	changeRows();
}
function changeRows() {
	Object.assign(table, {wanted: pageSize, due: 0, announce: true});
	$("end-all").disabled = true;
	setText($("said"), "");
	update();
}

// One session.
const facts = [
	["Session ID", s => s.id], ["State", s => s.state], ["Middleware", s => s.name],
	["Client", s => s.client, "client", s => s.client.replace(/:\d+$/, "").replace(/[[\]]/g, "")],
	["User", s => s.user, "user", s => s.user], ["Path", s => s.path, "path", s => s.path],
	["Upstream", s => s.upstream, "upstream", s => s.upstream], ["Subprotocol", s => s.subprotocol], ["HTTP version", s => s.http || "1.1"],
	["Opened", s => moment(s.opened)], ["Last data", s => s.lastData && moment(s.lastData)],
	["From client", s => volume(s.fromClient)], ["From upstream", s => volume(s.fromUpstream)],
	["Pings to client", s => beats(s.heartbeat?.client)], ["Pings to upstream", s => beats(s.heartbeat?.upstream)],
];
let current = null;
function moment(time) { return new Date(time).toLocaleString("sv") + ", " + length(since(time)) + " ago"; }
function volume(t) { return whole(t.messages) + " messages in " + whole(t.frames) + " frames, " + size(t.bytes); }
function beats(b) {
	if (!b) return "none";
	return b.pings + " sent, " + b.pongs + " answered" + (b.pongs ? "; round trip " + milliseconds(b.rttAvg) + " on average, " + milliseconds(b.rttMin) + " to " + milliseconds(b.rttMax) : "");
}
function openDetails(s) {
	current = s;
	setText($("details-title"), "Session of " + s.client);
	$("facts").replaceChildren(...facts.flatMap(([label, , key, value]) =>
		[make("dt", {}, label), make("dd", {}, make("span"), key && value(s) ? likeIt(key, value(s), label) : "")]));
	showFacts(true);
	$("details").showModal();
}
function likeIt(key, value, label) {
	const button = make("button", {}, "all with this " + label.toLowerCase());
	button.addEventListener("click", () => {
		$("details").close();
		$("filter").reset();
		$("filter").elements[key].value = value;
		applyFilter();
	});
	return button;
}
function showFacts(there) {
	$("facts").querySelectorAll("span").forEach((e, i) => setText(e, shown(facts[i][1](current)) || "–"));
	setText($("over"), there ? "" : "This session has ended. These are its last figures.");
	$("end-one").disabled = !there;
}
async function readDetails() {
	const {id} = current, [s] = (await ask("sessions?" + query({id}))).sessions;
	if (current.id !== id) return;
	current = s || current;
	showFacts(!!s);
}

// Ending.
let ending = null;
async function askToEnd(values) {
	const words = Object.fromEntries([["name", "Middleware"], ...filters]), told = Object.entries(values).flatMap(([key, value], i) =>
		[i ? ", " : "", words[key].toLowerCase() + " ", make("bdi", {}, shown(value))]);
	try {
		const {total} = await ask("sessions?limit=1&" + query(values));
		ending = {values, total};
		$("question").replaceChildren("End " + (total === 1 ? "the session" : "all " + sessions(total)) + " with ", ...told, "?");
		$("code").value = "1008";
		$("reason").value = "";
		setText($("failed"), "");
		showEffect();
		$("ask").showModal();
	} catch (e) {
		reach(e.message);
	}
}
function showEffect() {
	const code = $("code").value.trim(), means = meanings[code] ? " (" + meanings[code] + ")" : "";
	setText($("effect"), "Each client gets the close code " + code + means + ", each upstream 1001, with this reason; tunnels are cut." +
		" This cannot be undone. A client that connects again by itself may be back at once.");
	setText($("end"), "End " + sessions(ending.total));
}
async function end() {
	$("end").disabled = true;
	try {
		const code = $("code").value.trim(), {ended} = await ask("sessions?" + query({...ending.values, code, reason: $("reason").value}), "DELETE");
		$("ask").close();
		$("details").close();
		table.due = 0;
		setText($("said"), "Ended " + sessions(ended) + " with code " + code + ".");
		update();
	} catch (e) {
		setText($("failed"), "Not ended: " + e.message);
	}
	$("end").disabled = false;
}

// The loop.
let timer = 0, reading = false, again = false, paused = false, away = false;
async function update() {
	again = reading;
	if (reading) return;
	clearTimeout(timer);
	reading = true;
	try {
		await readAll();
		reach("");
	} catch (e) {
		reach(e.message.replace(/\.$/, ""));
	}
	reading = false;
	if (again) update();
	else if (!paused && !document.hidden) timer = setTimeout(update, period);
}
async function readAll() {
	const now = Date.now(), parts = [readMetrics()];
	if (now > pastDue || away) parts.push(readHistory());
	if (now > table.due) parts.push(readSessions());
	if ($("details").open) parts.push(readDetails());
	for (const part of await Promise.allSettled(parts)) if (part.reason) throw part.reason;
	showFigures();
}
function reach(trouble) {
	away = trouble !== "";
	const next = ". The figures are those of " + ($("updated").textContent || "no reading yet") + (paused ? "." : "; trying again.");
	setText($("lost"), away ? "Cannot reach the gateway: " + trouble + next : "");
	document.body.classList.toggle("away", away);
	showState();
}
function showState() {
	$("state").className = away ? "away" : paused ? "paused" : "";
	setText($("state"), away ? "Not reached" : paused ? "Paused" : "Live");
	setText($("pause"), paused ? "Resume" : "Pause");
}
function resume() {
	clearTimeout(timer);
	if (!paused && !document.hidden) update();
}

const on = (id, event, f) => $(id).addEventListener(event, f);
on("pause", "click", () => { paused = !paused; showState(); resume(); });
on("middleware", "change", () => { chosen = $("middleware").value; changeRows(); });
on("filter", "submit", event => { event.preventDefault(); applyFilter(); });
on("filter", "change", applyFilter);
on("clear", "click", () => { $("filter").reset(); applyFilter(); });
on("more", "click", () => { table.wanted = table.list.length + pageSize; table.due = 0; update(); });
on("rows", "click", event => {
	const s = table.list.find(s => s.id === event.target.closest("tr").dataset.id);
	if (s && getSelection().isCollapsed) openDetails(s);
});
on("leave", "click", () => $("details").close());
on("end-one", "click", () => askToEnd({client: current.client, id: current.id}));
on("end-all", "click", () => askToEnd(filterNow()));
on("keep", "click", () => $("ask").close());
on("end", "click", end);
on("code", "input", showEffect);
document.addEventListener("visibilitychange", resume);
addEventListener("resize", () => { if (ticks.length) charts.forEach(showChart); });
makeFigures();
makeTable();
update();
</script>
</body>
</html>
`
