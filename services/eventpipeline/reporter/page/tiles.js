// The figures at the top.

import { h } from "./dom.js";
import { NONE, count, duration, money, percent, rate } from "./format.js";

const TILES = [
  ["events", "Events stored"],
  ["rate", "Events per second"],
  ["revenue", "Revenue"],
  ["transactions", "Transactions"],
  ["lag", "Lag in messages"],
  ["dead", "Dead letters"],
];

export class Tiles {
  constructor(list) {
    this.tiles = {};
    for (const [id, label] of TILES) {
      const value = h("data", { value: "" }, NONE);
      const note = h("span", { class: "tile-note" }, "\u00a0");
      this.tiles[id] = { value, note };
      list.append(h("div", { class: "tile", "data-tile": id }, h("dt", {}, label), h("dd", {}, value, note)));
    }
  }

  #set(id, exact, text, note, tone = "") {
    const { value, note: small } = this.tiles[id];
    value.value = exact ?? "";
    value.textContent = text;
    value.style.setProperty("--chars", text.length);
    small.textContent = note;
    small.dataset.tone = tone;
  }

  status({ sources, deadLetters }, perSecond, peak) {
    const stored = sources.reduce((sum, { events }) => sum + events, 0);
    this.#set("events", stored, count(stored), "all time");
    const total = perSecond && Object.values(perSecond).reduce((sum, value) => sum + value, 0);
    this.#set("rate", total, rate(total), total === null ? "measuring …" : `peak ${rate(peak)}`);

    const pending = totalOf(sources, "pendingMessages");
    const oldest = sources.reduce((age, { oldestPendingSeconds: own }) => Math.max(age, own ?? 0), 0);
    const waiting = pending === 0 ? "nothing is waiting" : `oldest ${duration(oldest)}`;
    const late = pending > 0 && oldest > 30 ? "warn" : "";
    this.#set(
      "lag",
      pending,
      pending === null ? NONE : count(pending),
      pending === null ? "unknown without NATS" : waiting,
      late,
    );

    const { total: dead, pendingMessages } = deadLetters;
    const share = dead === 0 ? "nothing was refused" : `${percent(dead / (dead + stored))} of all sent`;
    this.#set("dead", dead, count(dead), pendingMessages ? `${share}, ${count(pendingMessages)} landing` : share);
  }

  revenue({ total, transactions, averageOrderValue }, scope) {
    this.#set("revenue", total, money(total), total === null ? "several currencies" : scope);
    const each = averageOrderValue === null ? scope : `${money(averageOrderValue)} on average`;
    this.#set("transactions", transactions, count(transactions), each);
  }
}

/** The sum over all sources, null where one of them does not know. */
export function totalOf(sources, field) {
  return sources.reduce((sum, source) => (sum === null || source[field] === null ? null : sum + source[field]), 0);
}
