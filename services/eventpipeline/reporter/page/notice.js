// The state of the pipeline in one line, and what to do about it.

import { byId, copy, h, place } from "./dom.js";
import { times } from "./format.js";

const clock = times().seconds;

/** `{id, text}`: what the top line says. Failures of the reporter come first, for all else may be old then. */
export function stateOf({ status, failedSince, failedWith }) {
  if (failedSince)
    return { id: "down", text: failedWith ? "The reporter cannot answer" : "The reporter does not answer" };
  if (!status) return { id: "wait", text: "Connecting …" };
  if (status.stream !== "ok") return { id: "away", text: "NATS is away" };
  return stored(status) === 0 ? { id: "empty", text: "Stream ok, no events yet" } : { id: "ok", text: "Stream ok" };
}

export const stored = (status) => status.sources.reduce((sum, { events }) => sum + events, 0);

/** Puts the state into the top line and, where somebody has to act, says below what happens and what helps. */
export function showState(model) {
  const state = stateOf(model);
  const line = byId("state");
  if (line.dataset.state !== state.id) {
    line.dataset.state = state.id;
    byId("state-text").textContent = state.text;
    document.title = state.id === "ok" ? "EventPipeline" : `${state.text} · EventPipeline`;
  }
  const { status, failedSince, failure, failures } = model;
  const parts = [
    failedSince && [
      "down",
      `${state.text}.`,
      `Since ${clock(failedSince / 1000)}: ${failure}. ${status ? "What stands below is the last that it said. " : ""}Trying again every two seconds.`,
    ],
    !failedSince &&
      failures.length > 0 && [
        "down",
        "Some of this page is old.",
        `${failures.join("; ")}. Trying again every ten seconds.`,
      ],
    status &&
      status.stream !== "ok" && [
        "away",
        "NATS is away.",
        `Senders get a 503 until it is back and should try again then; what is stored stays here. It said: ${status.stream}`,
      ],
  ].filter(Boolean);
  place(byId("notices"), parts, () =>
    parts.map(([tone, title, text]) =>
      h("p", { class: "notice", "data-tone": tone }, h("strong", {}, title), " ", h("bdi", {}, text)),
    ),
  );

  const isEmpty = Boolean(status) && stored(status) === 0;
  document.body.dataset.empty = String(isEmpty);
  place(
    byId("start"),
    isEmpty && status.sources.map(({ source }) => source),
    () => isEmpty && firstSteps(status.sources.map(({ source }) => source)),
  );
}

function firstSteps(sources) {
  const command = `curl -i http://${location.hostname}:3000/webhook/events \\\n  -H 'content-type: application/json' \\\n  -d '${JSON.stringify(sample(sources))}'`;
  const shown = h("code", {}, command);
  return h(
    "div",
    { class: "panel start" },
    h("h2", {}, "Send the first event"),
    h("p", {}, "The pipeline runs and waits. Post one event to the gateway; it is on this page a second later."),
    h(
      "div",
      { class: "command" },
      h("pre", { tabindex: "0", "aria-label": "Command" }, shown),
      h(
        "button",
        { type: "button", "data-key": "copy", onclick: ({ target }) => copy(command, shown, target) },
        "Copy",
      ),
    ),
    h(
      "p",
      { class: "muted small" },
      "Or many of them: ",
      h("code", {}, "eventpipeline publish"),
      ". In a cluster, use the address of the gateway in place of this host.",
    ),
  );
}

/** A valid event of a source that this pipeline has; its id is new with every page, so it always counts. */
function sample(sources) {
  const now = new Date().toISOString();
  const event = (source, eventType, data) => ({
    eventId: `first-${Date.now()}`,
    timestamp: now,
    source,
    funnelStage: "top",
    eventType,
    data,
  });
  if (sources.includes("facebook") || !sources.includes("tiktok")) {
    return event("facebook", "ad.view", {
      user: { userId: "u-1", name: "Ada", age: 36, gender: "female", location: { country: "GB", city: "London" } },
      engagement: { actionTime: now, referrer: "newsfeed", videoId: null },
    });
  }
  return event("tiktok", "like", {
    user: { userId: "u-1", username: "ada", followers: 1200 },
    engagement: { watchTime: 12.5, percentageWatched: 80, device: "iOS", country: "GB", videoId: "v-1" },
  });
}
