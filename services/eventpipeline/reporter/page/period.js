// Which time a report is about, and how finely it is cut.

import { get } from "./api.js";

const SIZE = { minute: 60, hour: 3600, day: 86400 };

export const RANGES = [
  { id: "15m", label: "15 min", words: "last 15 minutes", seconds: 900, interval: "minute" },
  { id: "1h", label: "Hour", words: "last hour", seconds: 3600, interval: "minute" },
  { id: "1d", label: "Day", words: "last 24 hours", seconds: 86400, interval: "hour" },
  { id: "7d", label: "7 days", words: "last 7 days", seconds: 7 * 86400, interval: "hour" },
  { id: "all", label: "All", words: "all time" },
];

export const rangeOf = (id) => RANGES.find((range) => range.id === id) ?? RANGES[1];

const iso = (seconds) => new Date(seconds * 1000).toISOString().replace(".000Z", "Z");

/** The buckets that cover the range up to now, aligned to the interval: `{interval, from, to}` in epoch seconds. */
export function bucketed({ seconds, interval }, now) {
  const size = SIZE[interval];
  return { interval, from: Math.floor((now - seconds) / size) * size, to: (Math.floor(now / size) + 1) * size };
}

/** The interval that cuts a span into about 30 to 400 buckets, as far as there is one. */
export const intervalFor = (seconds) => (seconds <= 4 * 3600 ? "minute" : seconds <= 10 * 86400 ? "hour" : "day");

/**
 * The period of a range. "All" has no bounds of its own, so it is looked for: by day first, then finer
 * where the days are few. Without an interval where the events lie too far apart for a chart.
 */
export async function periodOf(range, source, now, signal) {
  if (range.seconds) return bucketed(range, now);
  let period = { interval: "day", from: null, to: null };
  for (;;) {
    const { series } = await get("reports/events", query(period, source), signal).catch((error) => {
      if (error.status === 422) return { series: null };
      throw error;
    });
    if (!series) return { interval: null, from: null, to: null };
    const starts = series.filter(({ count }) => count > 0).map(({ start }) => Date.parse(start) / 1000);
    if (starts.length === 0) return { ...period, from: null, to: null };
    const size = SIZE[period.interval];
    const found = {
      interval: period.interval,
      from: starts.reduce((a, b) => Math.min(a, b)),
      to: starts.reduce((a, b) => Math.max(a, b)) + size,
    };
    const finer = intervalFor(found.to - found.from);
    if (SIZE[finer] >= size) return found;
    period = { ...found, interval: finer };
  }
}

/** The parameters of a report about the period. */
export function query({ interval, from, to }, source) {
  return { interval, from: from === null ? null : iso(from), to: to === null ? null : iso(to), source: source || null };
}

/** One row a bucket of the period, those that the report left out because nothing was in them included. */
export function filled(series, { interval, from, to }, nothing) {
  const size = SIZE[interval];
  const at = new Map(series.map((row) => [Date.parse(row.start) / 1000, row]));
  const rows = [];
  for (let start = from; start < to; start += size) rows.push({ ...nothing, ...at.get(start), start });
  return rows;
}
