// Which charts the page shows, and of which values of a point.

import { LineChart, StackChart } from "./chart.js";
import { compact, milliseconds, size, speed } from "./figures.js";
import { t } from "./words.js";

export const charts = [
  new LineChart(() => t("objects_now"), (value, full) => full ? `${speed(value)}/s` : compact(value), [
    { of: (point) => point.objects, colour: "--objects", name: () => t("stored_per_second") },
    { of: (point) => point.listed, colour: "--c5", name: () => t("listed_per_second") },
  ]),
  new LineChart(() => t("bytes_now"), (value, full) => full ? `${size(value)}/s` : size(value), [{ of: (point) => point.bytes, colour: "--bytes" }]),
  new LineChart(() => t("latency"), (value) => milliseconds(value), [{ of: (point) => point.latency, colour: "--latency" }]),
  new LineChart(() => t("in_flight"), (value) => compact(value), [{ of: (point) => point.in_flight, colour: "--flight" }]),
  new StackChart(() => t("troubles"), (value) => compact(value), troublesOf),
];

function troublesOf(point) {
  const sum = { ...point.retries };
  for (const [reason, number] of Object.entries(point.failures)) sum[reason] = (sum[reason] ?? 0) + number;
  return sum;
}
