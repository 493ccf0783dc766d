// What failed for good: a chip a reason, then each object with what it means, what to do, and the last answer.

import { get } from "./api.js";
import { h } from "./dom.js";
import { count, size } from "./figures.js";
import { language, t } from "./words.js";

export class Failures {
  constructor(place, retry) {
    this.place = place;
    this.retry = retry;
    this.reason = null;
    this.counts = {};
    this.items = [];
    this.sought = "";
    this.list = h("div");
    this.head = h("div", { class: "chips" });
    this.field = h("input", { type: "search", autocomplete: "off", spellcheck: "false", oninput: () => this.search() });
    this.place.append(this.head, this.field, this.list);
  }

  // As `failures --match`: * is anything; a word without one is sought anywhere in the key.
  get match() {
    if (!this.sought) return null;
    return /[*?[]/.test(this.sought) ? this.sought : `*${this.sought}*`;
  }

  search() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => { this.sought = this.field.value.trim(); this.refresh().catch(() => {}); }, 300);
  }

  choose(reason) {
    this.reason = reason;
    return this.refresh();
  }

  async refresh() {
    const reason = this.reason ? `&reason=${encodeURIComponent(this.reason)}` : "";
    const filter = reason + (this.match ? `&match=${encodeURIComponent(this.match)}` : "");
    this.items = await get(`api/failures?limit=200&language=${language()}${filter}`);
    this.render();
  }

  setCounts(counts) { this.counts = counts; }

  render() {
    const held = document.activeElement?.dataset?.chip;
    const reasons = Object.entries(this.counts).filter(([, number]) => number).sort((a, b) => b[1] - a[1]);
    const total = reasons.reduce((sum, [, number]) => sum + number, 0);
    this.field.hidden = !total;
    this.field.placeholder = t("search");
    this.field.setAttribute("aria-label", t("search"));
    if (!total) {
      this.head.replaceChildren();
      return this.list.replaceChildren(h("p", { class: "empty" }, t("none_yet")));
    }
    const chip = (name, number, reason) => h("button", { type: "button", "data-chip": name, "aria-pressed": String(this.reason === reason), onclick: () => this.choose(reason) }, `${name} ${count(number)}`);
    const what = [this.reason, this.sought].filter(Boolean).join(" ");
    this.head.replaceChildren(chip(t("all"), total, null), ...reasons.map(([reason, number]) => chip(reason, number, reason)),
      h("button", { type: "button", class: "primary", id: "retry", onclick: () => this.retry(this.reason, this.match) }, what ? t("retry_one", what) : t("retry_all")));
    this.list.replaceChildren(...(this.items.length ? this.items.map((item) => this.item(item)) : [h("p", { class: "empty" }, t("none_found"))]));
    if (held) this.place.querySelector(`[data-chip="${CSS.escape(held)}"]`)?.focus();
  }

  item(item) {
    const answer = [item.status ? t("status", item.status) : t("no_answer"), item.detail].filter(Boolean).join(" · ");
    const about = [item.listing ? null : size(item.size), t("attempts", item.attempts)].filter(Boolean).join(" · ");
    return h("article", { class: "failure" },
      h("div", {}, h("p", { class: "key" }, item.listing ? `${t("listing_of")} ${item.key || "/"}` : item.key), h("small", {}, about)),
      h("div", {}, h("p", {}, h("span", { class: "pill", "data-tone": "bad" }, item.reason)), h("small", {}, item.meaning)),
      h("div", {}, h("code", {}, answer), h("small", {}, t("what_to_do", item.remedy))));
  }
}
