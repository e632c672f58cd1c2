// One hue per source, from its name. Lightness and chroma are the style sheet's, so contrast is the same for all.

const STEPS = 12; // thirty degrees apart: more would not be told apart

/** Name → hue in degrees. A name whose hue another one has steps on to a far free one, in order of the names. */
export function hues(names) {
  const taken = new Set();
  const result = {};
  for (const name of [...names].sort()) {
    let step = hash(name) % STEPS;
    while (taken.has(step) && taken.size < STEPS) step = (step + 5) % STEPS;
    taken.add(step);
    result[name] = (step * (360 / STEPS) + 210) % 360;
  }
  return result;
}

function hash(text) {
  let value = 2166136261; // FNV-1a
  for (const character of text) value = Math.imul(value ^ character.codePointAt(0), 16777619) >>> 0;
  return (value ^ (value >>> 15)) >>> 0;
}

const probe = document.createElement("span");
probe.className = "colour-probe";
probe.hidden = true;

/** The colours that the style sheet gives now: of a source by its hue, of the page's ink without one. */
export function resolved(hue) {
  if (!probe.isConnected) document.body.append(probe);
  probe.classList.toggle("source", hue !== undefined);
  probe.style.setProperty("--hue", hue ?? 0);
  const { color, backgroundColor, borderTopColor, outlineColor } = getComputedStyle(probe);
  return { line: color, fill: backgroundColor, grid: borderTopColor, text: outlineColor };
}
