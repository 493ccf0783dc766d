// The parts of the page that are made anew from each snapshot: head, books, figures, volumes, machines, events.

import { $, h, text, track } from "./dom.js";
import { count, money, percent, size, speed } from "./figures.js";
import { clock, duration, moment } from "./times.js";
import { t } from "./words.js";

const TONES = { complete: "good", incomplete: "warn", paused: "warn", "budget-spent": "warn", waiting: "warn", interrupted: "warn", "no-room": "bad", "no-broker": "bad", refused: "bad", starting: "idle" };
const LIVE = new Set(["listing", "transferring", "finishing"]);
const STANDING = new Set(["paused", "waiting", "no-room", "budget-spent", "no-broker"]);
export const ENDED = new Set(["complete", "incomplete", "interrupted", "refused"]);

export function showHead(job) {
  text("source", job.source);
  text("subtitle", t(job.running ? "subtitle" : "subtitle_ended", job.job, duration(job.seconds)));
  const state = $("state");
  text(state, t(`state.${job.state}`));
  state.dataset.tone = TONES[job.state] ?? "";
  state.toggleAttribute("data-live", LIVE.has(job.state));
  const paused = job.limits.paused || job.state === "paused";
  text("pause", t(paused ? "resume" : "pause"));
  $("pause").disabled = ENDED.has(job.state) || !job.running;
  $("pause").dataset.paused = paused ? "yes" : "";
  const share = job.estimate.total_bytes ? `${percent(job.estimate.share)} · ` : "";
  document.title = `${share}${job.source} · bucketpull`;
}

export function showProgress(job) {
  const { estimate, counters, outstanding } = job;
  const known = estimate.total_bytes > 0;
  text("share", known ? percent(estimate.share) : size(counters.bytes));
  text("amount", known ? t("amount", size(estimate.share * estimate.total_bytes), size(estimate.total_bytes)) : t("so_far"));
  const bar = $("bar");
  bar.classList.toggle("unknown", !known && !ENDED.has(job.state));
  if (known) bar.setAttribute("aria-valuenow", (estimate.share * 100).toFixed(1));
  else bar.removeAttribute("aria-valuenow");
  $("bar-done").style.width = known ? `${estimate.share * 100}%` : "0";
  $("bar-listed").style.width = known ? `${Math.min(1, counters.listed_bytes / estimate.total_bytes) * 100}%` : "0";
  showEnd(job, estimate);
  const rows = [
    ["listed", counters.listed, "var(--ghost)", ""],
    ["stored", counters.stored, "var(--accent)", "="],
    ["skipped", counters.skipped, "var(--bytes)", "+"],
    ...(counters.excluded ? [["excluded", counters.excluded, "var(--ghost)", "+"]] : []),
    ["failed_books", counters.failed, "var(--bad)", "+"],
    ["vanished", counters.vanished, "var(--warn)", "+"],
    ["outstanding", outstanding.objects, "var(--c5)", "+"],
  ];
  $("books").replaceChildren(...rows.flatMap(([name, number, dot, sign]) => [
    sign ? h("span", { class: "sign", "aria-hidden": "true" }, sign) : null,
    h("div", {}, h("dt", {}, h("i", { "--dot": dot }), t(name) + (name === "listed" && !job.listing_done ? ` · ${t("listing_on")}` : "")), h("dd", {}, count(number))),
  ]).filter(Boolean));
}

function showEnd(job, estimate) {
  if (ENDED.has(job.state)) {
    text("eta", t("ended"));
    text("band", duration(job.seconds));
  } else if (STANDING.has(job.state)) {
    text("eta", t(`state.${job.state}`));
    text("band", job.state === "no-broker" ? t("unheard", duration(job.unheard_seconds)) : "");
  } else if (job.outstanding.waits_for.length && job.outstanding.again_at <= job.at) {
    text("eta", t("waits"));
    text("band", t("waits_for", job.outstanding.waits_for.join(", ")));
  } else if (Object.keys(job.waits_for_endpoints).length && job.outstanding.again_at <= job.at) {
    const lanes = lanesOf(job);
    const names = Object.entries(job.waits_for_endpoints).map(([name, seconds]) => t("waited", name, t(`endpoint.${lanes[name].state}`), duration(seconds)));
    text("eta", t("waits"));
    text("band", t("waits_source", names.join(", ")));
  } else if (estimate.seconds === null) {
    text("eta", t("left_unknown"));
    text("band", "");
  } else if (estimate.high === null) {
    text("eta", t("left_least", duration(estimate.seconds)));
    text("band", t("listing_on"));
  } else {
    text("eta", t("left", duration(estimate.seconds)));
    const [low, high] = [moment(job.at + estimate.low), moment(job.at + estimate.high)];
    text("band", low === high ? t("ends", low) : t("band", low, high));
  }
}

function laneText(name, lane) {
  const flying = t("lane", name, lane.in_flight, Math.round(lane.level));
  const where = lane.asking > 1 ? ` ${lane.troubled}/${lane.asking}` : "";
  return lane.state === "up" ? flying : `${flying} (${t("endpoint." + lane.state)}${where})`;
}

export function lanesOf(job) {
  const lanes = {};
  for (const machine of job.machines)
    for (const [name, lane] of Object.entries(machine.lanes)) {
      lanes[name] ??= { in_flight: 0, level: 0, state: "up", troubled: 0, asking: 0 };
      lanes[name].in_flight += lane.in_flight;
      lanes[name].level += lane.level;
      const isUp = lane.state === "up";
      if (!isUp) lanes[name].state = lane.state;
      if (!isUp) lanes[name].troubled += 1;
      if (!isUp || lane.requests) lanes[name].asking += 1;
    }
  return lanes;
}

function spentText(spent) {
  if (!spent?.requests) return "";
  const wasted = Object.entries(spent.wasted).filter(([, bytes]) => bytes).sort((a, b) => b[1] - a[1]);
  const parts = [t("spent", size(spent.bytes), count(spent.requests))];
  if (wasted.length) parts.push(t("wasted", wasted.map(([reason, bytes]) => `${reason} ${size(bytes)}`).join(", ")));
  if (spent.cost !== undefined) parts.push(t("cost", money(spent.cost)));
  return parts.join(" · ");
}

export function showFigures(job) {
  const { rates } = job;
  text("f-objects", speed(rates.objects_now));
  text("f-objects-mean", t("mean", speed(rates.objects_mean)));
  text("f-bytes", `${size(rates.bytes_now)}/s`);
  text("f-bytes-mean", t("mean", `${size(rates.bytes_mean)}/s`));
  const lanes = Object.entries(lanesOf(job)).sort();
  text("f-flight", count(lanes.reduce((sum, [, lane]) => sum + lane.in_flight, 0)));
  text("f-lanes", lanes.map(([name, lane]) => laneText(name, lane)).join(", "));
  $("held-back").hidden = ENDED.has(job.state) || STANDING.has(job.state) || !job.running;
  text("f-limit", t(`limit.${job.limited_by}`));
  text("f-limit-why", t(`why.${job.limited_by}`));
  text("stages", Object.entries(job.stages ?? {}).map(([name, stage]) => `${t(`stage.${name}`)} ${speed(stage.per_second)}/s`).join("  \u2192  "));
  text("spent", spentText(job.spent));
  text("f-failed", count(job.counters.failed));
  $("f-failed").classList.toggle("bad", job.counters.failed > 0);
  text("failures-count", job.counters.failed ? count(job.counters.failed) : "");
}

export function showVolumes(job) {
  const many = new Set(job.volumes.map((volume) => volume.machine)).size > 1;
  const tones = { open: "good", full: "warn", draining: "warn", away: "idle", sick: "bad", lost: "bad" };
  $("volumes").replaceChildren(...job.volumes.map((volume) => {
    const unseen = !volume.total_bytes && volume.state !== "lost";
    const known = (shown) => volume.total_bytes ? shown : unseen ? "?" : "\u2013";
    const used = volume.total_bytes ? 1 - volume.free_bytes / volume.total_bytes : 0;
    const name = many ? `${volume.machine}:${volume.path}` : volume.path;
    return h("article", { class: "volume" },
      h("header", {}, h("b", {}, name), h("span", { class: "pill", "data-tone": tones[volume.state] }, t(`volume.${volume.state}`))),
      track(used, used > 0.95 ? "var(--warn)" : "var(--accent)"),
      h("div", { class: "facts" }, h("span", {}, h("b", {}, known(size(volume.free_bytes))), ` ${t("free")}`), h("span", {}, `${t("of")} ${known(size(volume.total_bytes))}`)),
      h("div", { class: "facts" }, h("span", {}, h("b", {}, known(count(volume.stored_objects))), ` ${t("objects").toLowerCase()}`), h("span", {}, `${t("writing")} `, h("b", {}, `${size(volume.written_per_second)}/s`))),
      volume.detail || volume.warning ? h("p", {}, volume.detail || volume.warning) : null,
      unseen ? h("p", {}, t("volume_unknown")) : null,
      volumeActions(job, volume, name));
  }));
  if (!job.volumes.length) $("volumes").replaceChildren(h("p", { class: "empty" }, t("none_yet")));
}

function volumeActions(job, volume, name) {
  const actions = { open: ["drain"], full: ["drain"], draining: ["add", "lost"], sick: ["lost"], away: ["lost"] }[volume.state] ?? [];
  if (!actions.length || ENDED.has(job.state) || !job.running) return null;
  return h("div", { class: "volume-actions" }, ...actions.map((action) => {
    return h("button", { type: "button", class: "quiet", "data-action": action, "data-volume": volume.id, "data-name": name, title: t(`${action}_why`) }, t(action === "lost" ? "give_up" : action));
  }));
}

export function showMachines(job) {
  const workers = job.machines.filter((machine) => !machine.lists_only);
  $("machines").replaceChildren(...workers.map((machine) => {
    const flying = Object.values(machine.lanes).reduce((sum, lane) => sum + lane.in_flight, 0);
    return h("article", { class: "machine" },
      h("header", {}, h("b", {}, machine.machine), machine.limited_by ? h("span", { class: "pill", "data-tone": "idle" }, t(`limit.${machine.limited_by}`)) : null),
      h("div", { class: "facts" },
        h("span", {}, h("b", {}, count(machine.objects)), ` ${t("fetched")}`),
        h("span", {}, h("b", {}, size(machine.bytes))),
        h("span", {}, h("b", {}, count(flying)), ` ${t("in_flight").toLowerCase()}`),
        h("span", {}, h("b", {}, String(machine.processes)), ` ${t(machine.processes === 1 ? "process" : "processes")}`),
        h("span", {}, h("b", {}, String(machine.holds)), ` ${t("holds")}`)),
      machine.waiting_for && job.state !== "paused" ? h("p", {}, t("waiting_for", machine.waiting_for, count(machine.still_seconds))) : null);
  }));
  if (!workers.length) $("machines").replaceChildren(h("p", { class: "empty" }, t("none_at_work")));
}

export function showEvents(job) {
  const tones = { info: "idle", warning: "warn", error: "bad" };
  const events = [...job.notes].reverse().map((note) => h("div", { class: "event" },
    h("time", { datetime: new Date(note.at * 1000).toISOString() }, `${moment(note.at)}${""}`),
    h("span", { class: "pill", "data-tone": tones[note.level] }, note.level),
    h("p", {}, note.text)));
  $("events").replaceChildren(...(events.length ? events : [h("p", { class: "empty" }, t("none_yet"))]));
}

export const showUpdated = () => text("updated", t("updated", clock(Date.now() / 1000, true)));
