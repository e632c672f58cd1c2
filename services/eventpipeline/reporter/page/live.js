// Rates and lag of the last minutes, computed from what /status says every two seconds.

import { TimeChart } from "./charts.js";
import { h, place, sourceLabel } from "./dom.js";
import { bytes, compact, count, duration, plural, rate } from "./format.js";

const KEPT_SECONDS = 300;
const LEAST_SECONDS = 60; // a page just opened draws its first minute in full width
const NOW_SECONDS = 10; // collectors commit in batches: "now" is an average over this long
const GAP_SECONDS = 15; // the page was hidden or the reporter away: nothing is drawn across it

/** Events stored per second and source between two statuses; null where a count went back. */
export function ratesBetween(before, after) {
  const seconds = after.at - before.at;
  const rates = {};
  for (const [name, events] of Object.entries(after.events)) {
    const stored = events - (before.events[name] ?? 0);
    rates[name] = seconds > 0 && stored >= 0 ? stored / seconds : null;
  }
  return rates;
}

export class Live {
  samples = []; // {at, events: {source: n}, pending: {source: n|null}, rates: {source: n|null}|null}

  constructor(rateFigure, lagFigure, lagList) {
    this.lagList = lagList;
    const shared = { sync: "live", whole: true };
    this.rateChart = new TimeChart(rateFigure, {
      ...shared,
      title: "Events stored per second",
      stacked: true,
      format: rate,
      axis: compact,
    });
    this.lagChart = new TimeChart(lagFigure, { ...shared, title: "Messages waiting", format: count, axis: compact });
  }

  /** A status and when it came, in epoch seconds of this clock: its own time is whole seconds, too coarse for rates. */
  add({ sources }, at) {
    const by = (field) => Object.fromEntries(sources.map((source) => [source.source, source[field]]));
    const last = this.samples.at(-1);
    if (last && at <= last.at) return;
    const sample = { at, events: by("events"), pending: by("pendingMessages"), rates: null };
    if (last && at - last.at > GAP_SECONDS) this.samples.push({ ...last, at: last.at + 1, rates: null, pending: {} });
    else if (last) sample.rates = ratesBetween(last, sample);
    this.samples = [...this.samples, sample].filter((kept) => kept.at > at - KEPT_SECONDS - GAP_SECONDS);
  }

  /** Events per second and source now, null before the second status. */
  get perSecond() {
    const last = this.samples.at(-1);
    if (!last?.rates) return null;
    const since = this.samples.findLast(({ rates, at }) => !rates || at <= last.at - NOW_SECONDS);
    const rates = ratesBetween(since ?? this.samples[0], last);
    return Object.values(rates).includes(null) ? null : rates;
  }

  get peak() {
    return this.samples.reduce((peak, { rates }) => Math.max(peak, rates ? sum(rates) : 0), 0);
  }

  draw(sources, hues) {
    const to = this.samples.at(-1).at;
    const shared = {
      x: this.samples.map(({ at }) => at),
      from: Math.min(to - LEAST_SECONDS, Math.max(this.samples[0].at, to - KEPT_SECONDS)),
      to,
    };
    const series = (column) =>
      sources.map(({ source }) => ({
        label: source,
        hue: hues[source],
        values: this.samples.map((sample) => sample[column]?.[source] ?? null),
      }));
    const now = this.perSecond;
    const measured = now
      ? `Now ${rate(sum(now))}, peak ${rate(this.peak)} in the last five minutes`
      : "The first rate takes two statuses";
    this.rateChart.draw({ ...shared, series: series("rates"), caption: measured });
    this.lagChart.draw({ ...shared, series: series("pending"), caption: "Messages waiting" });
    const shown = sources.map(({ source, pendingMessages, oldestPendingSeconds, streamBytes, streamByteLimit }) => ({
      source,
      pendingMessages,
      oldestPendingSeconds,
      streamBytes,
      streamByteLimit,
      hue: hues[source],
    }));
    place(this.lagList, shown, () => shown.map(lagItem));
  }
}

function lagItem({ source, hue, pendingMessages, oldestPendingSeconds, streamBytes, streamByteLimit }) {
  const known = pendingMessages !== null;
  const waiting = !known
    ? "unknown without NATS"
    : pendingMessages === 0
      ? "nothing is waiting"
      : `${plural(pendingMessages, "message")}, oldest ${duration(oldestPendingSeconds)}`;
  const size =
    known && streamByteLimit
      ? [
          h("meter", {
            min: 0,
            max: streamByteLimit,
            high: streamByteLimit * 0.8,
            value: streamBytes,
            "aria-label": `Stream of ${source}`,
          }),
          h("small", {}, `stream ${bytes(streamBytes)} of ${bytes(streamByteLimit)}`),
        ]
      : null;
  return h("li", {}, h("div", { class: "row" }, sourceLabel(source, hue), h("span", {}, waiting)), size);
}

const sum = (rates) => Object.values(rates).reduce((total, value) => total + (value ?? 0), 0);
