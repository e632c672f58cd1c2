// What the page asks the reporter, and when.

export class ApiError extends Error {}

/** The JSON at a path of this reporter; raises ApiError with the problem's own words. */
export function get(path, params = {}, signal = undefined, seconds = 20) {
  return ask(path, { params, signal, seconds });
}

/** What the reporter answers to a POST of `body`, as JSON; raises ApiError. */
export function post(path, body) {
  return ask(path, { method: "POST", body: JSON.stringify(body) });
}

/** Deletes what is at a path; raises ApiError. */
export async function remove(path) {
  await ask(path, { method: "DELETE" });
}

async function ask(path, { params = {}, signal, seconds = 20, method = "GET", body: sent }) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  const signals = [AbortSignal.timeout(seconds * 1000), ...(signal ? [signal] : [])];
  let response;
  try {
    response = await fetch(url, {
      method,
      body: sent,
      signal: AbortSignal.any(signals),
      headers: { accept: "application/json", ...(sent && { "content-type": "application/json" }) },
      cache: "no-store",
    });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new ApiError(late ? `no answer within ${seconds} seconds` : "the connection failed", { cause: error });
  }
  if (response.status === 204) return null;
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    const error = new ApiError(
      body?.detail && typeof body.detail === "string" ? body.detail : `it answered ${response.status}`,
    );
    error.status = response.status;
    throw error;
  }
  if (body === null) throw new ApiError("its answer was not JSON");
  return body;
}

/**
 * Runs `task(signal)` now and every `seconds`, never two at a time and never while the page is hidden.
 * Returns a function that runs it at once, in place of a run under way.
 */
export function poll(task, seconds) {
  let timer = 0;
  let running = null;

  async function turn() {
    clearTimeout(timer);
    if (document.hidden) return;
    const mine = new AbortController();
    running = mine;
    const started = performance.now();
    try {
      await task(mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) console.error(error);
    }
    if (running !== mine) return;
    running = null;
    timer = setTimeout(turn, Math.max(250, seconds * 1000 - (performance.now() - started)));
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !running) turn();
  });
  turn();
  return () => {
    running?.abort();
    turn();
  };
}
