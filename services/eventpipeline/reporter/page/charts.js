// Charts over time, drawn by uPlot. The canvas is decoration: the caption and the table beside it say the same.

/* global uPlot */
import { resolved } from "./colours.js";
import { h, sourceLabel } from "./dom.js";
import { times } from "./format.js";

const TABLE_ROWS = 300;
const AXIS_WIDTH = 48;
const HOUR = 3600;
const FONT = "11.5px system-ui, sans-serif";

/**
 * A chart in a `<figure>` of the page, with a caption, a readout of the values under the pointer and a table.
 * `draw` takes `{x, series: [{label, hue?, values}], from, to, utc?, caption}`; x, from and to in epoch seconds.
 * With `stacked`, each series stands on the one before.
 */
export class TimeChart {
  constructor(figure, { title, bars = false, stacked = false, format, axis = format, whole = false, sync }) {
    Object.assign(this, { title, bars, stacked, format, axis, whole, sync });
    this.caption = h("figcaption", { class: "chart-caption" });
    this.readout = h("p", { class: "readout", "aria-hidden": "true" });
    this.mount = h("div", { class: "chart-canvas", "aria-hidden": "true" });
    this.table = h("table", { class: "data" });
    this.details = h(
      "details",
      { class: "chart-data", ontoggle: () => this.#tabulate() },
      h("summary", {}, "Table", h("span", { class: "visually-hidden" }, ` of ${title.toLowerCase()}`)),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, this.table),
    );
    figure.append(h("div", { class: "chart-head" }, this.caption, this.readout), this.mount, this.details);
    new ResizeObserver(() => this.plot?.setSize(this.#size())).observe(this.mount);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    new MutationObserver(() => this.repaint()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  draw(data) {
    this.data = data;
    this.times = times(data.utc ? "UTC" : undefined);
    this.caption.textContent = data.caption ?? "";
    const shape = JSON.stringify([data.series.map(({ label, hue }) => [label, hue]), data.utc]);
    // The highest of a stack is drawn first: a series of zeros must not cover the one below it.
    const columns = [
      data.x,
      ...(this.stacked ? stack(data.series).reverse() : data.series.map(({ values }) => values)),
    ];
    if (shape !== this.shape) {
      this.plot?.destroy();
      this.shape = shape;
      this.plot = new uPlot(this.#options(), columns, this.mount);
    } else {
      this.plot.setData(columns);
    }
    this.#read(this.plot.cursor.idx);
    this.#tabulate();
  }

  repaint() {
    this.plot?.redraw(false);
  }

  #options() {
    const { utc } = this.data;
    const series = this.stacked ? [...this.data.series].reverse() : this.data.series;
    const paths = this.bars ? uPlot.paths.bars({ size: [0.8, 48], align: 1, radius: 0.12 }) : undefined;
    const line = ({ hue }) => ({
      stroke: () => (this.bars ? null : resolved(hue).line),
      fill: () => (this.bars ? resolved(hue).line : resolved(hue).fill),
      width: this.bars ? 0 : 1.75,
      points: { show: false },
      paths,
    });
    const axis = { stroke: () => resolved().text, font: FONT, ticks: { show: false }, gap: 6 };
    const whole = [1, 2, 5]
      .flatMap((step) => Array.from({ length: 13 }, (_, power) => step * 10 ** power))
      .sort((a, b) => a - b);
    return {
      ...this.#size(),
      padding: [8, 10, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 7 },
        sync: this.sync ? { key: this.sync } : undefined,
      },
      tzDate: utc ? (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : undefined,
      scales: {
        x: { range: () => [this.data.from, this.data.to] },
        y: { range: (_, __, high) => [0, high > 0 ? high * 1.08 : 10] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          space: 84,
          size: 28,
          values: (_, splits, __, ___, step) => this.#ticks(splits, step),
        },
        {
          ...axis,
          grid: { stroke: () => resolved().grid, width: 1 },
          size: AXIS_WIDTH,
          space: 42,
          incrs: this.whole ? whole : undefined,
          values: (_, splits) => splits.map((value) => this.axis(value)),
        },
      ],
      series: [{}, ...series.map(line)],
      bands: this.stacked ? series.slice(1).map((_, at) => ({ series: [at + 1, at + 2] })) : undefined,
      hooks: { setCursor: [(plot) => this.#read(plot.cursor.idx)] },
    };
  }

  #size() {
    return { width: this.mount.clientWidth, height: this.mount.clientHeight };
  }

  /** The labels of the time axis; none so near the end that it would be cut. */
  #ticks(splits, step) {
    const { seconds, minutes, dates } = this.times;
    const write = step < 60 ? seconds : step < 12 * HOUR ? minutes : dates;
    const { from, to } = this.data;
    const width = this.mount.clientWidth - AXIS_WIDTH; // uPlot asks before it has laid itself out
    const fits = (at) => ((to - at) / (to - from)) * width > (step < 60 ? 24 : 12);
    return splits.map((at) => (fits(at) ? write(at) : ""));
  }

  /** How the moment of a point is written: as finely as the points lie. */
  #moment(at) {
    const { x, to, from } = this.data;
    const step = x.length > 1 ? x[1] - x[0] : to - from;
    if (step >= 24 * HOUR) return this.times.years(at);
    return (step < 60 ? this.times.seconds : to - from > 20 * HOUR ? this.times.full : this.times.minutes)(at);
  }

  #read(index) {
    const { x, series } = this.data;
    const at = index ?? x.length - 1;
    if (x[at] === undefined) return this.readout.replaceChildren();
    const values = series.map(({ label, hue, values: column, texts }) =>
      h(
        "span",
        {},
        hue === undefined ? label : sourceLabel(label, hue),
        " ",
        h("b", {}, texts?.[at] ?? this.format(column[at])),
      ),
    );
    this.readout.replaceChildren(h("span", {}, this.#moment(x[at])), ...values);
  }

  #tabulate() {
    if (!this.details.open || !this.data) return;
    const { x, series, utc } = this.data;
    const first = Math.max(0, x.length - TABLE_ROWS);
    const rows = x.slice(first).map((at, index) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, this.#moment(at)),
        series.map(({ values, texts }) =>
          h("td", { class: "number" }, texts?.[first + index] ?? this.format(values[first + index])),
        ),
      ),
    );
    const note = `${first > 0 ? `, the latest ${TABLE_ROWS} points` : ""}${utc ? ", days in UTC" : ""}`;
    this.table.replaceChildren(
      h("caption", {}, `${this.title}, newest first${note}`),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Time"),
          series.map(({ label }) => h("th", { scope: "col", class: "number" }, label)),
        ),
      ),
      h("tbody", {}, rows.reverse()),
    );
  }
}

/** Each column on top of the one before; nothing where one of them is unknown. */
function stack(series) {
  let below = null;
  return series.map(({ values }) => {
    below = values.map((value, at) =>
      value === null || (below && below[at] === null) ? null : value + (below ? below[at] : 0),
    );
    return below;
  });
}
