// Times and durations for people, as the terminal writes them (`report/times.py`).

import { language } from "./words.js";

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
