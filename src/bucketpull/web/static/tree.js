// The directories as a tree: levels are fetched when they are opened, and again every few seconds while they are seen.
// Arrow keys as in every tree: right opens, left closes, up and down move, Home and End go to the ends.

import { get } from "./api.js";
import { h, track } from "./dom.js";
import { count, size } from "./figures.js";
import { t } from "./words.js";

const TONES = { waiting: "idle", listing: "live", transferring: "live", done: "good", failed: "bad" };

// Where there is more than was summed up, a figure is the least that there is.
const least = (item, figure) => (item.partial ? `≥ ${figure}` : figure);

export class Tree {
  constructor(place) {
    this.place = place;
    this.levels = new Map();
    this.open = new Set();
    this.focused = null;
    this.listed = 0; // objects of the whole job
    this.list = h("ul", { class: "tree", role: "tree" });
    this.list.addEventListener("keydown", (event) => this.key(event));
  }

  async refresh() {
    const wanted = ["", ...this.open].slice(0, 30);
    const answers = await Promise.all(wanted.map((prefix) => get(`api/directories?prefix=${prefix}`)));
    wanted.forEach((prefix, index) => this.levels.set(prefix, answers[index]));
    this.render();
  }

  async toggle(directory, opened) {
    if (opened) {
      this.open.add(directory);
      if (!this.levels.has(directory)) this.levels.set(directory, await get(`api/directories?prefix=${directory}`));
    } else this.open.delete(directory);
    this.render();
  }

  render() {
    const held = this.list.contains(document.activeElement);
    const rows = this.rows("", 1);
    if (!rows.length) return this.place.replaceChildren(h("p", { class: "empty" }, this.listed ? t("all_at_top", count(this.listed)) : t("no_directories")));
    this.focused = rows.some((row) => row.dataset.directory === this.focused) ? this.focused : rows[0].dataset.directory;
    this.list.setAttribute("aria-label", t("directories"));
    this.list.replaceChildren(...rows);
    for (const row of rows) row.tabIndex = row.dataset.directory === this.focused ? 0 : -1;
    const head = h("div", { class: "tree-head", "aria-hidden": "true" }, h("span", {}, t("name")), h("span", {}, t("state")), h("span", { class: "number" }, t("objects")), h("span", { class: "number" }, t("size")), h("span", {}, t("done")), h("span", { class: "number" }, t("failed")));
    if (!this.place.contains(this.list)) this.place.replaceChildren(head, this.list);
    else this.place.replaceChild(head, this.place.firstChild);
    if (held) this.row(this.focused)?.focus();
  }

  rows(prefix, level) {
    const known = this.levels.get(prefix);
    if (!known) return [];
    const rows = known.directories.flatMap((item) => [this.item(item, level), ...(this.open.has(item.directory) ? this.rows(item.directory, level + 1) : [])]);
    if (known.more) rows.push(h("li", { role: "treeitem", "aria-level": level, "--level": level, "data-directory": `${prefix}+` }, h("span", { class: "name muted" }, h("span", { class: "twist" }), t("more_directories"))));
    return rows;
  }

  item(item, level) {
    const leaf = item.directories === 0;
    const opened = this.open.has(item.directory);
    const done = item.objects ? 1 - item.outstanding / item.objects : item.state === "done" ? 1 : 0;
    return h("li", {
      role: "treeitem", "aria-level": level, "--level": level, "data-directory": item.directory,
      "aria-expanded": leaf ? null : String(opened),
      onclick: () => { this.focused = item.directory; if (!leaf) this.toggle(item.directory, !opened); },
    },
      h("span", { class: "name" }, h("span", { class: "twist", "aria-hidden": "true" }, leaf ? "" : "›"), h("span", { title: item.name }, item.name || "/")),
      h("span", { class: "dot", "data-tone": TONES[item.state] }, t(`directory.${item.state}`)),
      h("span", { class: "number" }, item.objects ? least(item, count(item.objects)) : ""),
      h("span", { class: "number extra" }, item.objects ? least(item, size(item.bytes)) : ""),
      item.objects ? track(done) : h("span", { class: "track-none" }),
      h("span", { class: "number bad-text" }, item.failed ? count(item.failed) : ""));
  }

  row(directory) { return [...this.list.children].find((row) => row.dataset.directory === directory); }

  key(event) {
    const rows = [...this.list.children];
    const at = rows.findIndex((row) => row.dataset.directory === this.focused);
    if (at < 0) return;
    const expanded = rows[at].getAttribute("aria-expanded");
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 };
    if (event.key in moves) this.move(rows[Math.min(rows.length - 1, Math.max(0, moves[event.key]))]);
    else if (event.key === "ArrowRight" && expanded === "false") this.toggle(this.focused, true);
    else if (event.key === "ArrowRight" && expanded === "true") this.move(rows[at + 1] ?? rows[at]);
    else if (event.key === "ArrowLeft" && expanded === "true") this.toggle(this.focused, false);
    else if (event.key === "ArrowLeft") this.move(rows.slice(0, at).reverse().find((row) => +row.ariaLevel < +rows[at].ariaLevel) ?? rows[at]);
    else if ((event.key === "Enter" || event.key === " ") && expanded) this.toggle(this.focused, expanded === "false");
    else return;
    event.preventDefault();
  }

  move(row) {
    this.row(this.focused).tabIndex = -1;
    this.focused = row.dataset.directory;
    row.tabIndex = 0;
    row.focus();
  }
}
