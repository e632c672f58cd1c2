// One dead letter with what was sent, in a dialog.

import { ApiError, get } from "./api.js";
import { copy, h } from "./dom.js";
import { bytes } from "./format.js";

export class Letter {
  #open = null; // the id of the one that is shown

  constructor(dialog, onclose) {
    this.dialog = dialog;
    this.body = dialog.querySelector(".dialog-body");
    dialog.querySelector("button.close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => onclose(this.#open));
  }

  async show(item) {
    this.#open = String(item.id);
    this.#fill(item, h("p", { class: "muted" }, "Loading the payload …"));
    this.dialog.showModal();
    try {
      const whole = await get(`dead-letters/${encodeURIComponent(item.id)}`);
      if (this.#open === String(item.id)) this.#fill(whole, payload(whole));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.#open === String(item.id))
        this.#fill(item, h("p", { class: "problem" }, `The payload cannot be shown: ${error.message}.`));
    }
  }

  #fill(item, content) {
    const facts = [
      ["Reason", item.reason],
      ["Received", new Date(item.receivedAt).toLocaleString()],
      ["Source", item.source],
      ["Stage", item.funnelStage],
      ["Type", item.eventType],
      ["Event id", item.eventId],
      ["Correlation id", item.correlationId],
      ["Size", bytes(item.payloadBytes)],
      ["Kept until", "it is dropped"],
    ];
    this.body.replaceChildren(
      h(
        "dl",
        { class: "facts" },
        facts
          .filter(([, value]) => value !== null && value !== undefined)
          .map(([name, value]) =>
            h("div", {}, h("dt", {}, name), h("dd", {}, h("bdi", { class: "mono" }, String(value)))),
          ),
      ),
      h(
        "ul",
        { class: "reasons-list" },
        (item.detail ?? []).map((one) => h("li", {}, h("bdi", {}, message(one)))),
      ),
      ...[content].flat(),
    );
  }
}

/** The detail of a refusal: where, and what is wrong there. */
export function message(detail) {
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
  return [
    h(
      "div",
      { class: "row" },
      h("h3", {}, payloadEncoding ? `Payload, in ${payloadEncoding}` : "Payload"),
      h("button", { type: "button", onclick: ({ target }) => copy(text, shown, target) }, "Copy"),
    ),
    shown,
  ];
}
