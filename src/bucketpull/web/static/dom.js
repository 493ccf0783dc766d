// Elements are made with text, never with markup, so an object's key can contain whatever it wants.

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function text(id, value) {
  const element = typeof id === "string" ? $(id) : id;
  if (element.textContent !== value) element.textContent = value;
}

export function track(share, dot) {
  const fill = h("i");
  fill.style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
  return h("span", { class: "track", "--dot": dot, "aria-hidden": "true" }, fill);
}
