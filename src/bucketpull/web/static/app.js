// The page's one loop: a snapshot a second while it is seen, points every other second, the open tab every five.

import { get, hasToken, post, Refused, setToken } from "./api.js";
import { charts } from "./charts.js";
import { $, h, text } from "./dom.js";
import { Failures } from "./failures.js";
import { count } from "./figures.js";
import { ENDED, showEvents, showFigures, showHead, showMachines, showProgress, showUpdated, showVolumes } from "./panels.js";
import { Settings } from "./settings.js";
import { Tree } from "./tree.js";
import { language, setLanguage, t } from "./words.js";

const FINE_SECONDS = 1200, FINE_POINTS = 600, TABS = ["directories", "failures", "events", "settings"];
let job = null, fine = [], coarse = [], range = "fine", tab = "directories", ticks = 0, below = [], asked = 0, answered = 0;

const reasonsTitle = h("h3"), reasonsNote = h("small"), reasonsList = h("div", { class: "reasons" });
$("charts").append(...charts.map((chart) => chart.element), h("article", { class: "chart" }, h("header", {}, reasonsTitle, reasonsNote), reasonsList));
const tree = new Tree($("directories"));
const failures = new Failures($("failures"), retry);
const settings = new Settings($("settings"));

function showReasons() {
  text(reasonsTitle, t("by_reason"));
  text(reasonsNote, t("reason_counts"));
  const sums = {};
  for (const counts of [job.failures, job.retries]) for (const [reason, number] of Object.entries(counts)) sums[reason] = (sums[reason] ?? 0) + number;
  const order = Object.keys(sums).filter((reason) => sums[reason]).sort((a, b) => (job.failures[b] ?? 0) - (job.failures[a] ?? 0) || sums[b] - sums[a]).slice(0, 6);
  const most = Math.max(1, ...order.map((reason) => sums[reason]));
  reasonsList.replaceChildren(...order.map((reason) => {
    const failed = job.failures[reason] ?? 0;
    const fill = h("i");
    fill.style.width = `${Math.max(3, Math.sqrt(sums[reason] / most) * 100)}%`;
    return h("button", { type: "button", disabled: !failed, onclick: () => openFailures(reason) },
      h("span", {}, reason), h("span", { class: "track", "--dot": failed ? "var(--bad)" : "var(--warn)" }, fill),
      h("span", {}, `${count(failed)} · ${count(job.retries[reason] ?? 0)}`));
  }));
  if (!order.length) reasonsList.replaceChildren(h("p", { class: "empty" }, t("none_yet")));
}

function showCharts() {
  if (!job) return;
  const begun = Math.min(job.started, fine[0]?.at ?? job.started); // points of an earlier coordinator count too
  const span = Math.min(FINE_SECONDS, Math.max(60, job.at - begun));
  for (const chart of charts) chart.show(range === "fine" ? fine : coarse, range === "fine" ? span : 0, job.at);
}

function show() {
  showHead(job);
  showProgress(job);
  showFigures(job);
  showVolumes(job);
  showMachines(job);
  showEvents(job);
  showReasons();
  showUpdated();
  showWhetherItRuns();
  failures.setCounts(job.failures);
}

// How a job ended stays on the page, until the job is started again at the same address.
const hasEnded = () => ENDED.has(job.state) && job.running;

// The loop and a button may both have asked: an answer that comes after that to a later question is out of date.
async function look() {
  const question = asked += 1;
  const answer = await get(`api/snapshot?language=${language()}`);
  if (question < answered) return;
  answered = question;
  job = answer;
  show();
}

async function refresh() {
  await look();
  if (ticks % 2 === 0) {
    if (range === "coarse") coarse = await get("api/points?coarse=1");
    fine = [...fine, ...await get(`api/points?since=${fine.at(-1)?.at ?? 0}`)].slice(-FINE_POINTS);
    showCharts();
  }
  if (ticks % 5 === 0) await refreshTab();
  if (ticks === 0) await offerAdding();
  ticks += 1;
}

async function refreshTab() {
  tree.listed = job.counters.listed;
  if (tab === "directories") await tree.refresh();
  if (tab === "failures") await failures.refresh();
  if (tab === "settings") await settings.refresh();
}

async function loop() {
  let wait = document.hidden ? 5000 : 1000;
  try {
    await refresh();
    if (!job.running || hasEnded()) wait = 5000;
  } catch (error) {
    wait = 4000;
    if (job && hasEnded()) return;
    const refused = error instanceof Refused && error.status === 401;
    text("banner", t(refused ? "needs_token" : "lost"));
    $("banner").classList.remove("calm");
    $("banner").hidden = false;
    if (refused && !$("token").open) askToken(() => {});
  } finally {
    setTimeout(loop, wait);
  }
}

function showWhetherItRuns() {
  const ended = ENDED.has(job.state);
  if (ended || !job.running) text("banner", t(job.running ? "ended_page" : "at_rest", t(`state.${job.state}`)));
  $("banner").classList.toggle("calm", ended || !job.running);
  $("banner").hidden = !ended && job.running;
  const locked = !hasToken();
  $("locked").hidden = !locked || ended || !job.running;
  for (const id of ["pause", "stop", "limits-open", "volume-open"]) $(id).disabled = ended || !job.running || locked;
  document.body.toggleAttribute("data-locked", locked || ended || !job.running);
}

function toast(message) {
  text("toast", message);
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => text("toast", ""), 4000);
}

function askToken(then) {
  $("token-input").value = "";
  $("token").showModal();
  $("token").firstElementChild.onsubmit = () => { setToken($("token-input").value); if (job) show(); then(); };
}

async function change(path, body, message) {
  try {
    const answer = await post(`${path}?language=${language()}`, body);
    toast(message(answer));
    await look();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) askToken(() => change(path, body, message));
    else toast(t("refused", error.message));
  }
}

function pause() {
  if (!job || $("pause").disabled) return;
  const paused = $("pause").dataset.paused === "yes";
  change(paused ? "api/resume" : "api/pause", {}, () => t(paused ? "resumed_toast" : "paused_toast"));
}

function confirm(title, why, yes, then) {
  text("confirm-title", title);
  text("confirm-text", why);
  text("confirm-yes", yes);
  $("confirm").firstElementChild.onsubmit = then;
  $("confirm").showModal();
}

function stop() {
  confirm(t("stop_title"), t("stop_text"), t("stop"), () => change("api/stop", {}, (answer) => answer.text));
}

async function retry(reason, match) {
  await change("api/retry", { reason, match }, (answer) => t("retried", count(answer.objects)));
  await failures.refresh();
}

function openLimits() {
  if (!job || $("limits-open").disabled) return;
  const { concurrency, requests_per_second, bytes_per_second } = job.limits;
  $("l-concurrency").value = concurrency ?? "";
  $("l-rate").value = requests_per_second ?? "";
  $("l-bandwidth").value = bytes_per_second ? bytes_per_second / 1e6 : "";
  text("limits-error", "");
  $("limits").showModal();
}

function applyLimits(event) {
  const inputs = [$("l-concurrency"), $("l-rate"), $("l-bandwidth")];
  const [concurrency, rate, bandwidth] = inputs.map((input) => input.value === "" ? null : Number(input.value));
  if (inputs.some((input) => !input.validity.valid) || [concurrency, rate, bandwidth].some((value) => value !== null && !(value > 0))) {
    event.preventDefault();
    return text("limits-error", t("above_zero"));
  }
  change("api/limits", { concurrency, requests_per_second: rate, bytes_per_second: bandwidth === null ? null : bandwidth * 1e6 }, () => t("applied"));
}

function changeVolume(action, volume, name) {
  if (action === "lost") return confirm(t("lost_title", name), t("lost_text"), t("give_up"), () => change("api/volumes/lost", { volume }, (answer) => answer.text));
  change(`api/volumes/${action}`, { volume }, (answer) => answer.text);
}

// Offered only where the command line allows it.
async function offerAdding() {
  below = await get("api/volumes/below");
  $("volume-open").hidden = !below.length;
}

function openAdding() {
  text("volume-text", t("volume_text", below.join(", ")));
  $("v-path").value = "";
  $("volume").showModal();
}

function chooseTab(name) {
  tab = name;
  for (const other of TABS) {
    $(other).hidden = other !== name;
    $(`tab-${other}`).setAttribute("aria-selected", String(other === name));
    $(`tab-${other}`).tabIndex = other === name ? 0 : -1;
  }
  refreshTab().catch(() => {});
}

function openFailures(reason) {
  failures.reason = reason;
  chooseTab("failures");
  $("details").scrollIntoView({ block: "start" });
  $("tab-failures").focus({ preventScroll: true });
}

function chooseRange(name) {
  range = name;
  for (const other of ["fine", "coarse"]) $(`range-${other}`).setAttribute("aria-pressed", String(other === name));
  if (name === "coarse") get("api/points?coarse=1").then((points) => { coarse = points; showCharts(); }, () => {});
  showCharts();
}

const dark = matchMedia("(prefers-color-scheme: dark)");

function applyTheme(choice) {
  localStorage.setItem("bucketpull-theme", choice);
  document.documentElement.dataset.theme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
  document.documentElement.dataset.choice = choice;
  showTheme();
  showCharts();
}

function showTheme() {
  const name = t(`theme_${document.documentElement.dataset.choice}`);
  text("theme-name", name);
  $("theme").setAttribute("aria-label", t("theme", name));
}

function applyLanguage(choice) {
  localStorage.setItem("bucketpull-language", choice);
  setLanguage(choice);
  text("language", t("other_language"));
  showTheme();
  if (job) { show(); showCharts(); refreshTab().catch(() => {}); }
}

$("pause").addEventListener("click", pause);
$("stop").addEventListener("click", stop);
$("unlock").addEventListener("click", () => askToken(() => {}));
$("limits-open").addEventListener("click", openLimits);
$("limits").firstElementChild.addEventListener("submit", applyLimits);
$("volumes").addEventListener("click", ({ target }) => {
  const button = target.closest("[data-action]");
  if (button) changeVolume(button.dataset.action, button.dataset.volume, button.dataset.name);
});
$("volume-open").addEventListener("click", openAdding);
$("volume").firstElementChild.addEventListener("submit", () => { if ($("v-path").value) changeVolume("add", $("v-path").value); });
$("f-failed-open").addEventListener("click", () => openFailures(null));
$("range-fine").addEventListener("click", () => chooseRange("fine"));
$("range-coarse").addEventListener("click", () => chooseRange("coarse"));
$("theme").addEventListener("click", () => {
  const order = ["auto", "light", "dark"];
  applyTheme(order[(order.indexOf(document.documentElement.dataset.choice) + 1) % 3]);
});
$("language").addEventListener("click", () => applyLanguage(language() === "en" ? "zh" : "en"));
dark.addEventListener("change", () => applyTheme(document.documentElement.dataset.choice));
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
for (const name of TABS) $(`tab-${name}`).addEventListener("click", () => chooseTab(name));
document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const next = TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length];
  chooseTab(next);
  $(`tab-${next}`).focus();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input") || document.querySelector("dialog[open]")) return;
  if (event.key === "p") pause();
  if (event.key === "l") { event.preventDefault(); openLimits(); }
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && job) refresh().catch(() => {}); });

applyTheme(localStorage.getItem("bucketpull-theme") ?? "auto");
applyLanguage(localStorage.getItem("bucketpull-language") ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en"));
loop();
