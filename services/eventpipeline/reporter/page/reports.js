// What happened, and what it earned: the reports about events and revenue.

import { TimeChart } from "./charts.js";
import { barCell, empty, h, place, sourceLabel } from "./dom.js";
import { compact, count, money, plural, words } from "./format.js";
import { filled } from "./period.js";

const TOO_WIDE = "These events lie too far apart in time for a chart.";

const column = (text, number) => h("th", { scope: "col", class: number ? "number" : null }, text);

export class EventsReport {
  constructor(section) {
    this.summary = section.querySelector(".summary");
    this.groups = section.querySelector(".groups");
    this.figure = section.querySelector("figure");
    this.chart = new TimeChart(this.figure, {
      title: "Events over time",
      bars: true,
      format: count,
      axis: compact,
      whole: true,
    });
  }

  show({ total, items, series }, { period, range, source, hues, widen }) {
    this.summary.replaceChildren(
      h("data", { value: total }, count(total)),
      ` ${total === 1 ? "event" : "events"}, ${range.words}`,
    );
    this.figure.hidden = total === 0 || !series || period.from === null;
    if (!this.figure.hidden) {
      const rows = filled(series, period, { count: 0 });
      const values = rows.map((row) => row.count);
      const peak = rows.reduce((best, row) => (row.count > best.count ? row : best));
      this.chart.draw({
        ...axis(rows, period),
        series: [{ label: source || "events", hue: hues[source], values }],
        caption: `Events a ${period.interval}, at most ${count(peak.count)}`,
      });
    }
    place(this.groups, [items, hues, range.id, !series], () => {
      if (total === 0) return empty(`No event has a timestamp in this time (${range.words}).`, widen);
      return [
        series ? null : empty(TOO_WIDE),
        bySource(items).map(([name, own]) => eventTable(name, own, items, hues[name])),
      ];
    });
  }
}

function bySource(items) {
  const groups = new Map();
  for (const item of items) groups.set(item.source, [...(groups.get(item.source) ?? []), item]);
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The types of one source by stage, the bars of all sources to one scale. */
function eventTable(name, own, all, hue) {
  const most = all.reduce((max, item) => Math.max(max, item.count), 1);
  const total = own.reduce((sum, item) => sum + item.count, 0);
  const stages = [...new Set(own.map(({ funnelStage }) => funnelStage))].sort((a, b) =>
    a === "top" ? -1 : b === "top" ? 1 : 0,
  );
  const bodies = stages.map((stage) => {
    const rows = own.filter(({ funnelStage }) => funnelStage === stage).sort((a, b) => b.count - a.count);
    return h(
      "tbody",
      {},
      h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: 3 }, `${words(stage)} of funnel`)),
      rows.map((row) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, row.eventType),
          barCell(row.count / most),
          h("td", { class: "number" }, count(row.count)),
        ),
      ),
    );
  });
  return h(
    "div",
    { class: "panel source", "--hue": hue },
    h(
      "table",
      { class: "bars" },
      h("caption", {}, sourceLabel(name, hue), h("span", { class: "muted" }, plural(total, "event"))),
      h("thead", { class: "visually-hidden" }, h("tr", {}, column("Event type"), h("td", {}), column("Events", true))),
      bodies,
    ),
  );
}

export class RevenueReport {
  constructor(section) {
    this.summary = section.querySelector(".summary");
    this.table = section.querySelector(".groups");
    this.figure = section.querySelector("figure");
    this.chart = new TimeChart(this.figure, {
      title: "Revenue over time",
      bars: true,
      format: (value) => money(`${value}`),
      axis: compact,
    });
  }

  show({ total, totals, transactions, items, series }, { period, range, source, hues, widen }) {
    const sums = totals ?? [{ total, currency: null }];
    this.summary.replaceChildren(
      h("data", { value: total ?? "" }, sums.map((one) => money(one.total, one.currency)).join(" + ")),
      ` from ${plural(transactions, "transaction")}, ${range.words}`,
    );
    // Sums never cross currencies: where there are several there is no one chart either.
    this.figure.hidden = transactions === 0 || total === null || !series || period.from === null;
    if (!this.figure.hidden) {
      const rows = filled(series, period, { revenue: "0.00", transactions: 0 });
      // A chart may be off by a float's rounding; every text beside it is the report's own digits.
      const values = rows.map((row) => Number(row.revenue));
      const best = values.reduce((at, value, index) => (value > values[at] ? index : at), 0);
      this.chart.draw({
        ...axis(rows, period),
        series: [
          { label: source || "revenue", hue: hues[source], values, texts: rows.map((row) => money(row.revenue)) },
        ],
        caption: `Revenue a ${period.interval}, at most ${money(rows[best].revenue)}`,
      });
    }
    place(this.table, [items, hues, range.id, transactions], () =>
      transactions === 0
        ? empty(`Nobody bought anything in this time (${range.words}).`, widen)
        : revenueTable(items, hues),
    );
  }
}

function revenueTable(items, hues) {
  return h(
    "div",
    { class: "panel scroll", tabindex: "0", role: "region", "aria-label": "Revenue by source" },
    h(
      "table",
      { class: "data" },
      h("caption", {}, "Revenue by source"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          column("Source"),
          column("Revenue", true),
          column("Transactions", true),
          column("Average order", true),
        ),
      ),
      h(
        "tbody",
        {},
        items.map(({ source, currency, revenue, transactions, averageOrderValue }) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, sourceLabel(source, hues[source])),
            h("td", { class: "number" }, money(revenue, currency)),
            h("td", { class: "number" }, count(transactions)),
            h("td", { class: "number" }, money(averageOrderValue, currency)),
          ),
        ),
      ),
    ),
    h("p", { class: "muted small" }, "Average over the transactions that carry an amount."),
  );
}

function axis(rows, { from, to, interval }) {
  return { x: rows.map(({ start }) => start), from, to, utc: interval === "day" };
}
