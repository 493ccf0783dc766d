// Numbers and durations for people, as the terminal writes them (`report/figures.py`, `report/times.py`).

import { language } from "./words.js";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

export function size(bytes) {
  let value = Math.max(0, bytes), unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) { value /= 1000; unit += 1; }
  const digits = unit === 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export const count = (number) => Math.round(number).toLocaleString("en-US");
export const money = (amount) => amount >= 1 || !amount ? amount.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }) : amount.toFixed(4);
export const compact = (number) => number < 10000 ? count(number) : number < 1e6 ? `${+(number / 1e3).toPrecision(3)}k` : `${+(number / 1e6).toPrecision(3)}M`;
export const speed = (value) => value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
export const percent = (share) => `${(Math.floor(Math.min(Math.max(share, 0), 1) * 1000) / 10).toFixed(1)} %`;
export const milliseconds = (value) => value < 1000 ? `${value.toFixed(value < 10 ? 1 : 0)} ms` : `${(value / 1000).toFixed(2)} s`;

export function duration(seconds) {
  const names = language() === "zh" ? ["天", "小时", "分", "秒"] : ["d", "h", "min", "s"];
  const lengths = [86400, 3600, 60, 1];
  const left = Math.round(Math.max(0, seconds));
  const first = Math.max(0, lengths.findIndex((length) => left >= length || length === 1));
  const rest = first < 3 ? Math.floor(left % lengths[first] / lengths[first + 1]) : 0;
  return `${Math.floor(left / lengths[first])} ${names[first]}` + (rest ? ` ${rest} ${names[first + 1]}` : "");
}

const locale = () => (language() === "zh" ? "zh-CN" : undefined);

export function clock(at, seconds = false) {
  return new Date(at * 1000).toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined, hour12: false });
}

export function moment(at) {
  const date = new Date(at * 1000);
  if (date.toDateString() === new Date().toDateString()) return clock(at);
  const near = Math.abs(date - Date.now()) < 6 * 86400e3;
  const day = near ? { weekday: "short" } : { month: "short", day: "numeric" };
  return `${date.toLocaleDateString(locale(), day)} ${clock(at)}`;
}
