// What the job was begun with: version, source, the domain of the CDN and the other settings that the journal has. None is secret.

import { get } from "./api.js";
import { h } from "./dom.js";
import { t } from "./words.js";

const FIRST = ["source", "prefix", "option.cdn_url", "option.api_url", "layout"];

export class Settings {
  constructor(place) { this.place = place; }

  async refresh() {
    const { version, configuration } = await get("api/books");
    const order = (name) => (FIRST.indexOf(name) + FIRST.length + 1) % (FIRST.length + 1);
    const names = Object.keys(configuration).filter((name) => configuration[name] !== "").sort((a, b) => order(a) - order(b) || a.localeCompare(b));
    const rows = names.map((name) => [this.name(name), configuration[name]]);
    this.place.replaceChildren(h("dl", { class: "settings" }, ...[[t("version"), version], ...rows].flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
  }

  // Options are named as on the command line.
  name(name) {
    const found = /^(option|price|session)\.(.*)$/.exec(name);
    const option = found && (found[1] === "price" ? `price-${found[2]}` : found[2]);
    return option ? `--${option.replaceAll("_", "-")}` : t(`setting.${name}`);
  }
}
