// The page: what is polled, and who shows it.

import { ApiError, get, poll } from "./api.js";
import { hues as huesOf } from "./colours.js";
import { DeadLetters } from "./dead-letters.js";
import { DemographicsReport } from "./demographics.js";
import { byId, h } from "./dom.js";
import { ago, agoCalmly } from "./format.js";
import { Live } from "./live.js";
import { showState } from "./notice.js";
import { RANGES, periodOf, query, rangeOf } from "./period.js";
import { EventsReport, RevenueReport } from "./reports.js";
import { signInAgain, signedIn } from "./sign-in.js";
import { Tiles } from "./tiles.js";

/* global theme */
const STATUS_SECONDS = 2;
const REPORT_SECONDS = 10;

const address = new URLSearchParams(location.search);
const view = { range: rangeOf(address.get("range")), source: address.get("source") ?? "" };
const model = { status: null, statusAt: 0, failedSince: null, failedWith: null, failure: null, failures: [] };

let reportsNow;

const tiles = new Tiles(byId("tiles"));
const live = new Live(byId("rate-chart"), byId("lag-chart"), byId("lag"));
const deadLetters = new DeadLetters(byId("dead-letters"));
const events = new EventsReport(byId("events"));
const revenue = new RevenueReport(byId("revenue"));
const demographics = new DemographicsReport(byId("demographics"));

const skew = () => (model.status ? Date.parse(model.status.time) - model.statusAt : 0); // the reporter's clock against ours
const now = () => Date.now() + skew();
const hues = () => huesOf((model.status?.sources ?? []).map(({ source }) => source));

async function refreshStatus(signal) {
  try {
    const status = await get("status", {}, signal, 8);
    Object.assign(model, { status, statusAt: Date.now(), failedSince: null, failure: null });
    live.add(status, Date.now() / 1000);
    live.draw(status.sources, hues());
    tiles.status(status, live.perSecond, live.peak);
    deadLetters.status(status.deadLetters);
    offerSources(status.sources.map(({ source }) => source));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) return signInAgain();
    Object.assign(model, {
      failedSince: model.failedSince ?? Date.now(),
      failedWith: error.status,
      failure: error.message,
    });
  }
  showState(model);
  reportsNow ??= poll(refreshReports, REPORT_SECONDS); // after the first status: it says which sources there are
}

async function refreshReports(signal) {
  const { range, source } = view;
  const main = byId("reports");
  const scope = [range.words, source].filter(Boolean).join(", ");
  let period = null;
  const report = async (name, change = {}) =>
    get(`reports/${name}`, { ...query(await period, source), ...change }, signal);
  const context = async () => ({ period: await period, range, source, hues: hues(), widen: widenButton(range) });
  period = periodOf(range, source, now() / 1000, signal);
  const results = await Promise.allSettled([
    report("events").then(async (answer) => events.show(answer, await context())),
    report("revenue").then(async (answer) => {
      revenue.show(answer, await context());
      tiles.revenue(answer, scope);
    }),
    report("demographics", { interval: null }).then(async (answer) => demographics.show(answer, await context())),
    get("dead-letters", { limit: 20 }, signal).then((answer) => deadLetters.show(answer, { hues: hues(), now })),
  ]);
  if (signal.aborted) return;
  main.removeAttribute("aria-busy");
  const names = ["Events", "Revenue", "Demographics", "Dead letters"];
  const failed = results.map(({ reason }, at) => reason && { reason, name: names[at] }).filter(Boolean);
  for (const { reason } of failed) if (!(reason instanceof ApiError)) console.error(reason);
  model.failures = failed.map(({ reason, name }) => `${name}: ${reason.message}`);
  showState(model);
}

function widenButton(range) {
  return range.seconds
    ? h("button", { type: "button", class: "link", onclick: () => choose({ range: rangeOf("all") }) }, "Show all time")
    : null;
}

function choose(change) {
  Object.assign(view, change);
  for (const input of byId("ranges").querySelectorAll("input")) input.checked = input.value === view.range.id;
  const search = new URLSearchParams({ range: view.range.id, ...(view.source && { source: view.source }) });
  history.replaceState(null, "", `?${search}`);
  byId("reports").setAttribute("aria-busy", "true");
  reportsNow?.();
}

function offerSources(names) {
  const select = byId("source");
  const wanted = ["", ...names];
  if (view.source && !names.includes(view.source)) wanted.push(view.source);
  if (wanted.join("\n") === [...select.options].map(({ value }) => value).join("\n")) return;
  select.replaceChildren(
    ...wanted.map((name) => h("option", { value: name, selected: name === view.source }, name || "All sources")),
  );
}

/** What grows older with every second. Outside the live region: nobody wants it read aloud. */
function tick() {
  byId("fresh").textContent = model.statusAt ? `updated ${agoCalmly((Date.now() - model.statusAt) / 1000)}` : "";
  for (const element of document.querySelectorAll("time[data-ago]"))
    element.textContent = ago((now() - Date.parse(element.dateTime)) / 1000);
}

byId("ranges").append(
  ...RANGES.map(({ id, label, words }) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name: "range",
        value: id,
        checked: id === view.range.id,
        onchange: () => choose({ range: rangeOf(id) }),
        "aria-label": words,
      }),
      h("span", { "aria-hidden": "true" }, label),
    ),
  ),
);
byId("source").addEventListener("change", ({ target }) => choose({ source: target.value }));
byId("theme").addEventListener("click", () => theme.toggle());
offerSources([]);

if (await signedIn()) {
  poll(refreshStatus, STATUS_SECONDS);
  setInterval(() => document.hidden || tick(), 1000);
}
