// Who it was. Knows no source: what is a list of shares is a distribution, what is a number is an average.

import { barCell, empty, h, place, sourceLabel } from "./dom.js";
import { count, decimal, percent, plural, words } from "./format.js";

const FIRST_ROWS = 6; // of a distribution that has more than
const MOST_ROWS = 8;

export class DemographicsReport {
  #data = null;
  #wide = new Set(); // the distributions that are shown whole

  constructor(section) {
    this.groups = section.querySelector(".groups");
  }

  show({ items }, { range, hues, widen }) {
    this.#data = { items: items.filter(({ events }) => events > 0), range, hues, widen };
    this.#draw();
  }

  #draw() {
    const { items, range, hues, widen } = this.#data;
    place(this.groups, [items, hues, range.id, [...this.#wide]], () =>
      items.length === 0
        ? empty(`Nobody to describe in this time (${range.words}).`, widen)
        : items.map((item) => this.#source(item, hues[item.source])),
    );
  }

  #source({ source, events, users, estimates, ...rest }, hue) {
    const fields = Object.entries(rest);
    const distributions = fields.filter(([, value]) => Array.isArray(value));
    const averages = fields.filter(([, value]) => value === null || typeof value === "number");
    return h(
      "article",
      { class: "panel source", "--hue": hue },
      h("h3", {}, sourceLabel(source, hue), h("span", { class: "muted" }, plural(events, "event"))),
      h(
        "dl",
        { class: "figures" },
        figure("Distinct users", count(users), margin(estimates.users)),
        averages.map(([key, value]) => figure(words(key), decimal(value))),
      ),
      h(
        "div",
        { class: "distributions" },
        distributions.map(([key, rows]) => this.#distribution(source, key, rows, estimates[key])),
      ),
    );
  }

  #distribution(source, key, rows, estimate) {
    const id = `${source}/${key}`;
    const long = rows.length > MOST_ROWS && !("range" in rows[0]); // ranges make sense together only
    const whole = this.#wide.has(id);
    const most = rows.reduce((max, { share }) => Math.max(max, Number(share)), 0);
    const more = long
      ? h(
          "button",
          {
            type: "button",
            class: "link",
            "data-key": id,
            "aria-expanded": String(whole),
            onclick: () => {
              if (!this.#wide.delete(id)) this.#wide.add(id);
              this.#draw();
            },
          },
          whole ? "Fewer" : `All ${count(rows.length)}`,
          h("span", { class: "visually-hidden" }, ` ${words(key).toLowerCase()} of ${source}`),
        )
      : null;
    return h(
      "div",
      {},
      h(
        "table",
        { class: "bars" },
        h("caption", {}, words(key)),
        h(
          "thead",
          { class: "visually-hidden" },
          h("tr", {}, h("th", { scope: "col" }, words(key)), h("td", {}), h("th", { scope: "col" }, "Share of events")),
        ),
        h(
          "tbody",
          {},
          (whole || !long ? rows : rows.slice(0, FIRST_ROWS)).map((row) =>
            h(
              "tr",
              { title: plural(row.events, "event") },
              h("th", { scope: "row" }, h("bdi", {}, String(row.range ?? row.value ?? "unknown"))),
              barCell(most > 0 ? Number(row.share) / most : 0),
              h("td", { class: "number" }, percent(Number(row.share))),
            ),
          ),
        ),
      ),
      rows.length === 0 ? empty("Nothing here.") : more,
      estimate && h("p", { class: "muted" }, `Counts are up to ${plural(estimate.maxError, "event")} too low.`),
    );
  }
}

function figure(label, value, note) {
  return h("div", {}, h("dt", {}, label), h("dd", {}, value, note));
}

/** What stands beside a figure that is not exact. */
function margin(estimate) {
  if (!estimate) return null;
  const text = `± ${percent(estimate.relativeError)}`;
  return h("span", { class: "muted", title: `An estimate, ${text} in 95 of 100 cases` }, ` ${text}`);
}
