// Numbers for people, as the terminal writes them (`report/figures.py`).

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
