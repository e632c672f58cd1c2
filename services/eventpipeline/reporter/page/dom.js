// Elements. Data only ever becomes text nodes and inert attributes: no markup is parsed anywhere on this page.

/** An element; `on…` props are listeners, `--…` props custom properties, the rest attributes. Strings become text. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

const shown = new WeakMap();

/** Puts what `build` makes of `data` into the container, unless it shows that already; the focus stays where it was. */
export function place(container, data, build) {
  const text = JSON.stringify(data);
  if (shown.get(container) === text) return;
  shown.set(container, text);
  const key = container.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  container.replaceChildren(...[build()].flat(Infinity).filter(Boolean));
  if (key) focusKey(container, key);
}

/** Focuses the element of the container whose `data-key` this is, if it is still there. */
export function focusKey(container, key) {
  container.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

export function empty(text, action) {
  return h("p", { class: "empty" }, text, action ? [" ", action] : null);
}

/** The name of a source with its colour. */
export function sourceLabel(name, hue) {
  return h(
    "span",
    { class: "source", "--hue": hue },
    h("span", { class: "swatch", "aria-hidden": "true" }),
    h("bdi", {}, name),
  );
}

/** A cell with a bar as long as `part` (0 to 1); the numbers beside it say the same to those who cannot see it. */
export function barCell(part) {
  const bar = h("span", { class: "bar", "--part": Math.max(0, Math.min(1, part || 0)) });
  return h("td", { class: "bar-cell", "aria-hidden": "true" }, bar);
}

/** Copies the text, or at least selects the element that shows it where the clipboard is closed. */
export async function copy(text, element, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
  } catch {
    getSelection().selectAllChildren(element);
  }
}
