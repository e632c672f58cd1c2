// What was refused, and why. Everything shown here was sent by strangers: it is text and nothing else.

import { barCell, byId, empty, focusKey, h, place, sourceLabel } from "./dom.js";
import { ago, count, percent } from "./format.js";
import { Letter, message } from "./letter.js";

const FIRST_ROWS = 8;
const NEARLY_FULL = 0.9; // what is stored is trimmed above 70 %

const nearlyFull = (bytes, limit) => bytes !== null && limit > 0 && bytes > NEARLY_FULL * limit;

export class DeadLetters {
  #whole = false;
  #last = null;

  constructor(section) {
    this.summary = section.querySelector(".summary");
    this.reasons = section.querySelector(".reasons");
    this.latest = section.querySelector(".latest");
    this.dialog = new Letter(byId("dead-letter"), (id) => focusKey(this.latest, id));
  }

  status({ total, streamBytes, streamByteLimit, byReason }) {
    const reasons = Object.entries(byReason).sort(([, a], [, b]) => b - a);
    this.summary.replaceChildren(
      h("data", { value: total }, count(total)),
      total === 0 ? " so far" : ` ${total === 1 ? "event" : "events"} refused, each kept until it is dropped`,
      nearlyFull(streamBytes, streamByteLimit) &&
        `; their stream is ${percent(streamBytes / streamByteLimit)} full, and what is refused beyond that is not kept`,
    );
    place(
      this.reasons,
      reasons,
      () =>
        reasons.length > 0 &&
        h(
          "div",
          { class: "panel refused" },
          h(
            "table",
            { class: "bars" },
            h("caption", {}, "By reason"),
            h(
              "thead",
              { class: "visually-hidden" },
              h("tr", {}, h("th", { scope: "col" }, "Reason"), h("td", {}), h("th", { scope: "col" }, "Dead letters")),
            ),
            h(
              "tbody",
              {},
              reasons.map(([reason, n]) =>
                h(
                  "tr",
                  { title: `${percent(n / total)} of the dead letters` },
                  h("th", { scope: "row" }, h("code", {}, reason)),
                  barCell(n / reasons[0][1]),
                  h("td", { class: "number" }, count(n)),
                ),
              ),
            ),
          ),
        ),
    );
  }

  show({ items }, { hues, now }) {
    this.#last = { items, hues, now };
    this.#draw();
  }

  #draw() {
    const { items, hues, now } = this.#last;
    const rows = this.#whole ? items : items.slice(0, FIRST_ROWS);
    place(this.latest, [items, hues, this.#whole], () => {
      if (items.length === 0)
        return empty("Nothing was refused. What does not fit its schema would be kept here, with the reason.");
      const head = ["Received", "Event", "Why it was refused"].map((text) => h("th", { scope: "col" }, text));
      return h(
        "div",
        { class: "panel scroll", tabindex: "0", role: "region", "aria-label": "Latest dead letters" },
        h(
          "table",
          { class: "data letters" },
          h("caption", {}, rows.length === 1 ? "The latest one" : `The latest ${count(rows.length)}`),
          h("thead", {}, h("tr", {}, head)),
          h(
            "tbody",
            {},
            rows.map((item) => this.#row(item, hues, now())),
          ),
        ),
        items.length > FIRST_ROWS &&
          h(
            "button",
            {
              type: "button",
              class: "link more",
              "data-key": "more",
              "aria-expanded": String(this.#whole),
              onclick: () => this.#toggle(),
            },
            this.#whole ? "Fewer" : `The latest ${count(items.length)}`,
          ),
      );
    });
  }

  #toggle() {
    this.#whole = !this.#whole;
    this.#draw();
  }

  #row(item, hues, now) {
    const open = () => this.dialog.show(item);
    return h(
      "tr",
      { class: "clickable", onclick: (event) => event.target.closest("button") || getSelection().toString() || open() },
      h(
        "td",
        {},
        h(
          "time",
          { datetime: item.receivedAt, "data-ago": true, title: new Date(item.receivedAt).toLocaleString() },
          ago((now - Date.parse(item.receivedAt)) / 1000),
        ),
      ),
      h(
        "td",
        {},
        item.source ? sourceLabel(item.source, hues[item.source]) : h("span", { class: "muted" }, "no source"),
        h("bdi", { class: "cut" }, [item.funnelStage, item.eventType].filter(Boolean).join(" · ") || "no type"),
        h("bdi", { class: "cut muted mono", title: item.eventId }, item.eventId ?? "no id"),
      ),
      h(
        "td",
        {},
        h(
          "button",
          { type: "button", class: "link", "data-key": String(item.id), onclick: open },
          h("code", {}, item.reason),
          h("span", { class: "visually-hidden" }, ", show the payload"),
        ),
        h(
          "bdi",
          { class: "cut" },
          message(item.detail?.[0]),
          item.detail?.length > 1 ? ` (and ${count(item.detail.length - 1)} more)` : "",
        ),
      ),
    );
  }
}
