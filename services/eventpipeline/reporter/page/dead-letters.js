// What was refused, and why. Everything shown here was sent by strangers: it is text and nothing else.

import { ApiError, get } from "./api.js";
import { barCell, byId, copy, empty, focusKey, h, place, sourceLabel } from "./dom.js";
import { ago, bytes, count, percent } from "./format.js";

const FIRST_ROWS = 8;

export class DeadLetters {
  #open = null; // the id of the dead letter in the dialog
  #whole = false;
  #last = null;

  constructor(section) {
    this.summary = section.querySelector(".summary");
    this.reasons = section.querySelector(".reasons");
    this.latest = section.querySelector(".latest");
    this.dialog = byId("dead-letter");
    this.body = this.dialog.querySelector(".dialog-body");
    this.dialog.querySelector("button.close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => focusKey(this.latest, this.#open));
  }

  status({ total, byReason }) {
    const reasons = Object.entries(byReason).sort(([, a], [, b]) => b - a);
    this.summary.replaceChildren(h("data", { value: total }, count(total)), total === 0 ? " so far" : ` ${total === 1 ? "event" : "events"} refused and kept, all time`);
    place(this.reasons, reasons, () => reasons.length > 0 && h("div", { class: "panel refused" }, h("table", { class: "bars" },
      h("caption", {}, "By reason"),
      h("thead", { class: "visually-hidden" }, h("tr", {}, h("th", { scope: "col" }, "Reason"), h("td", {}), h("th", { scope: "col" }, "Dead letters"))),
      h("tbody", {}, reasons.map(([reason, n]) => h("tr", { title: `${percent(n / total)} of the dead letters` },
        h("th", { scope: "row" }, h("code", {}, reason)), barCell(n / reasons[0][1]), h("td", { class: "number" }, count(n))))))));
  }

  show({ items }, { hues, now }) {
    this.#last = { items, hues, now };
    this.#draw();
  }

  #draw() {
    const { items, hues, now } = this.#last;
    const rows = this.#whole ? items : items.slice(0, FIRST_ROWS);
    place(this.latest, [items, hues, this.#whole], () => {
      if (items.length === 0) return empty("Nothing was refused. What does not fit its schema would be kept here, with the reason.");
      const head = ["Received", "Event", "Why it was refused"].map((text) => h("th", { scope: "col" }, text));
      return h("div", { class: "panel scroll", tabindex: "0", role: "region", "aria-label": "Latest dead letters" },
        h("table", { class: "data letters" },
          h("caption", {}, rows.length === 1 ? "The latest one" : `The latest ${count(rows.length)}`),
          h("thead", {}, h("tr", {}, head)),
          h("tbody", {}, rows.map((item) => this.#row(item, hues, now())))),
        items.length > FIRST_ROWS && h("button", { type: "button", class: "link more", "data-key": "more", "aria-expanded": String(this.#whole), onclick: () => this.#toggle() },
          this.#whole ? "Fewer" : `The latest ${count(items.length)}`));
    });
  }

  #toggle() {
    this.#whole = !this.#whole;
    this.#draw();
  }

  #row(item, hues, now) {
    const open = () => this.#show(item);
    return h("tr", { class: "clickable", onclick: (event) => event.target.closest("button") || getSelection().toString() || open() },
      h("td", {}, h("time", { datetime: item.receivedAt, "data-ago": true, title: new Date(item.receivedAt).toLocaleString() }, ago((now - Date.parse(item.receivedAt)) / 1000))),
      h("td", {}, item.source ? sourceLabel(item.source, hues[item.source]) : h("span", { class: "muted" }, "no source"),
        h("bdi", { class: "cut" }, [item.funnelStage, item.eventType].filter(Boolean).join(" · ") || "no type"),
        h("bdi", { class: "cut muted mono", title: item.eventId }, item.eventId ?? "no id")),
      h("td", {}, h("button", { type: "button", class: "link", "data-key": String(item.id), onclick: open },
        h("code", {}, item.reason), h("span", { class: "visually-hidden" }, ", show the payload")),
      h("bdi", { class: "cut" }, message(item.detail?.[0]), item.detail?.length > 1 ? ` (and ${count(item.detail.length - 1)} more)` : "")));
  }

  async #show(item) {
    this.#open = String(item.id);
    this.#fill(item, h("p", { class: "muted" }, "Loading the payload …"));
    this.dialog.showModal();
    try {
      const whole = await get(`dead-letters/${encodeURIComponent(item.id)}`);
      if (this.#open === String(item.id)) this.#fill(whole, payload(whole));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#fill(item, h("p", { class: "problem" }, `The payload cannot be shown: ${error.message}.`));
    }
  }

  #fill(item, content) {
    const facts = [["Reason", item.reason], ["Received", new Date(item.receivedAt).toLocaleString()], ["Source", item.source],
      ["Stage", item.funnelStage], ["Type", item.eventType], ["Event id", item.eventId], ["Correlation id", item.correlationId], ["Size", bytes(item.payloadBytes)]];
    this.body.replaceChildren(
      h("dl", { class: "facts" }, facts.filter(([, value]) => value !== null && value !== undefined)
        .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, h("bdi", { class: "mono" }, String(value)))))),
      h("ul", { class: "reasons-list" }, (item.detail ?? []).map((one) => h("li", {}, h("bdi", {}, message(one))))),
      ...[content].flat());
  }
}

function message(detail) {
  if (!detail) return "";
  const where = Array.isArray(detail.loc) ? detail.loc.join(".") : (detail.loc ?? "");
  return where ? `${where}: ${detail.msg}` : String(detail.msg);
}

/** JSON on several lines with every token as it was sent; a parser would lose digits. What is not JSON stays as it is. */
function indented(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return text.replace(/"(?:[^"\\]|\\.)*"|[{[]\s*[}\]]|[{[]|[}\]]|,|:|\s+/g, (token) => {
    if (/^\s/.test(token)) return "";
    if (token === "{" || token === "[") return token + (depth++, line());
    if (token === "}" || token === "]") return (depth--, line()) + token;
    return token === "," ? token + line() : token === ":" ? ": " : token;
  });
}

function payload({ payload: value, payloadEncoding }) {
  const text = payloadEncoding ? value : indented(value);
  const shown = h("pre", { class: "payload", tabindex: "0", "aria-label": "Payload" }, text ?? "");
  return [h("div", { class: "row" }, h("h3", {}, payloadEncoding ? `Payload, in ${payloadEncoding}` : "Payload"), h("button", { type: "button", onclick: ({ target }) => copy(text, shown, target) }, "Copy")), shown];
}
