// Charts on canvas: lines over time, and bars stacked by reason. Points come in order of time; a gap longer than
// four usual distances is not bridged. Pointer or arrow keys read a point; the reading stands in the card's head.

import { h } from "./dom.js";
import { clock, moment } from "./times.js";

const LEFT = 60, RIGHT = 6, SECOND_AXIS = 44, TOP = 8, BOTTOM = 20, TIMES_APART = 12;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function niceTop(highest) {
  if (!(highest > 0)) return 1;
  const step = 10 ** Math.floor(Math.log10(highest));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15].find((times) => times * step >= highest * 1.02) * step;
}

class Chart {
  constructor(title, format) {
    this.format = format;
    this.points = [];
    this.selected = null;
    this.right = RIGHT;
    this.title = h("h3");
    this.reading = h("output");
    this.legend = h("div", { class: "legend" });
    this.canvas = h("canvas", { role: "img", tabindex: "0" });
    this.element = h("article", { class: "chart" }, h("header", {}, this.title, this.reading), this.canvas, this.legend);
    this.name = title;
    this.canvas.addEventListener("pointermove", (event) => this.select(this.nearest(event.offsetX)));
    this.canvas.addEventListener("pointerleave", () => this.select(null));
    this.canvas.addEventListener("blur", () => this.select(null));
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.points.length) return;
      event.preventDefault();
      const from = this.selected ?? this.points.length - 1;
      this.select(Math.min(this.points.length - 1, Math.max(0, from + step)));
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  select(index) { this.selected = index; this.draw(); }

  nearest(x) {
    if (!this.points.length) return null;
    const at = this.from + (x - LEFT) / (this.width - LEFT - this.right) * (this.to - this.from);
    let best = 0;
    for (let index = 1; index < this.points.length; index += 1)
      if (Math.abs(this.points[index].at - at) < Math.abs(this.points[best].at - at)) best = index;
    return best;
  }

  show(points, span, now) {
    this.points = points;
    this.from = span ? now - span : (points[0]?.at ?? now - 60);
    this.to = Math.max(now, this.from + 60);
    if (this.selected !== null && this.selected >= points.length) this.selected = null;
    this.draw();
  }

  x(at) { return LEFT + (at - this.from) / (this.to - this.from) * (this.width - LEFT - this.right); }
  y(value, top = this.top) { return TOP + (1 - value / top) * (this.height - TOP - BOTTOM); }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || this.from === undefined) return;
    const scale = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
    }
    [this.width, this.height] = [width, height];
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.top = niceTop(this.highest());
    this.frame(pen);
    this.content(pen);
    const index = this.selected ?? this.points.length - 1;
    if (this.selected !== null) {
      const x = Math.round(this.x(this.points[index].at)) + 0.5;
      pen.strokeStyle = colour("--muted");
      pen.setLineDash([3, 3]);
      pen.beginPath(); pen.moveTo(x, TOP); pen.lineTo(x, height - BOTTOM); pen.stroke();
      pen.setLineDash([]);
    }
    const reading = index >= 0 ? this.read(this.points[index]) : "";
    this.reading.textContent = this.selected !== null ? `${clock(this.points[index].at, true)} · ${reading}` : reading;
    this.title.textContent = this.name();
    this.canvas.setAttribute("aria-label", `${this.name()}: ${this.reading.textContent}`);
  }

  // A half that reads as the whole, as of one, is left out.
  label(pen, part, top, x) {
    const text = this.format(top * part);
    if (part !== 0.5 || text !== this.format(top)) pen.fillText(text, x, Math.round(this.y(top * part, top)) + 0.5);
  }

  frame(pen) {
    pen.font = "11px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.strokeStyle = colour("--line");
    pen.fillStyle = colour("--muted");
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const part of [0, 0.5, 1]) {
      const y = Math.round(this.y(this.top * part)) + 0.5;
      pen.beginPath(); pen.moveTo(LEFT, y); pen.lineTo(this.width - this.right, y); pen.stroke();
      this.label(pen, part, this.top, LEFT - 8);
    }
    pen.textBaseline = "alphabetic";
    const span = this.to - this.from;
    const when = (at) => span > 86400 ? moment(at) : clock(at, span < 300);
    // The first and the last one end at the edges: beside them half of another one's length is used up.
    const room = 1.5 * pen.measureText(when(this.to)).width + TIMES_APART;
    const ticks = Math.min(3, Math.max(1, Math.floor((this.width - LEFT - this.right) / room)));
    for (let tick = 0; tick <= ticks; tick += 1) {
      const at = this.from + span * tick / ticks;
      pen.textAlign = tick === 0 ? "left" : tick === ticks ? "right" : "center";
      pen.fillText(when(at), this.x(at), this.height - 5);
    }
  }
}

export class LineChart extends Chart {
  // lines: [{ of: point => number|null, colour: "--name", name: () => text }], one or two; the first one is filled, and has the
  // axis on the left; the other has its own on the right: listing is far quicker than transferring
  constructor(title, format, lines) {
    super(title, format);
    this.lines = lines;
    if (lines.length > 1) this.right = SECOND_AXIS;
  }

  highest(line = this.lines[0]) { return Math.max(0, ...this.points.map((point) => (point.at < this.from ? 0 : line.of(point) ?? 0))); }

  frame(pen) {
    super.frame(pen);
    const second = this.lines[1];
    if (!second) return;
    const top = niceTop(this.highest(second));
    pen.fillStyle = colour(second.colour);
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    for (const part of [0.5, 1]) this.label(pen, part, top, this.width - this.right + 6);
    pen.textBaseline = "alphabetic";
  }

  read(point) {
    const value = this.lines[0].of(point);
    return value === null ? "–" : this.format(value, true);
  }

  content(pen) {
    const gap = 4 * (this.to - this.from) / Math.max(20, this.points.length);
    for (const [number, line] of [...this.lines.entries()].reverse()) this.line(pen, line, number === 0, gap);
    this.legend.replaceChildren(...(this.lines.length > 1 ? this.lines.map((line) => h("span", {}, h("i", { "--dot": `var(${line.colour})` }), line.name())) : []));
  }

  line(pen, line, filled, gap) {
    const runs = [], top = filled ? this.top : niceTop(this.highest(line));
    let last = null;
    for (const point of this.points) {
      const value = line.of(point);
      if (value === null || point.at < this.from) { last = null; continue; }
      if (last === null || point.at - last > gap) runs.push([]);
      runs.at(-1).push([this.x(point.at), this.y(value, top)]);
      last = point.at;
    }
    const stroke = colour(line.colour);
    pen.lineJoin = "round";
    for (const run of runs) {
      if (filled) {
        const wash = pen.createLinearGradient(0, TOP, 0, this.height - BOTTOM);
        wash.addColorStop(0, `${stroke}38`);
        wash.addColorStop(1, `${stroke}05`);
        pen.fillStyle = wash;
        pen.beginPath();
        pen.moveTo(run[0][0], this.y(0));
        for (const [x, y] of run) pen.lineTo(x, y);
        pen.lineTo(run.at(-1)[0], this.y(0));
        pen.fill();
      }
      pen.strokeStyle = stroke;
      pen.lineWidth = filled ? 1.75 : 1.25;
      pen.setLineDash(filled ? [] : [4, 3]);
      pen.beginPath();
      for (const [x, y] of run) pen.lineTo(x, y);
      pen.stroke();
      pen.setLineDash([]);
    }
    pen.lineWidth = 1;
  }
}

export class StackChart extends Chart {
  // of: point => { reason: count }; bars gather points so that at most 48 are drawn
  constructor(title, format, of) {
    super(title, format);
    this.of = of;
  }

  show(points, span, now) {
    const from = span ? now - span : (points[0]?.at ?? now - 60);
    const width = Math.max(60, now - from) / 48;
    const bars = new Map();
    for (const point of points) {
      if (point.at < from) continue;
      const slot = Math.floor(point.at / width);
      const bar = bars.get(slot) ?? { at: (slot + 0.5) * width, counts: {} };
      for (const [reason, number] of Object.entries(this.of(point))) bar.counts[reason] = (bar.counts[reason] ?? 0) + number;
      bars.set(slot, bar);
    }
    this.barWidth = width;
    super.show([...bars.values()], span, now);
  }

  total(bar) { return Object.values(bar.counts).reduce((sum, number) => sum + number, 0); }
  highest() { return Math.max(0, ...this.points.map((bar) => this.total(bar))); }
  read(bar) { return this.format(this.total(bar), true); }

  content(pen) {
    const totals = {};
    for (const bar of this.points) for (const [reason, number] of Object.entries(bar.counts)) totals[reason] = (totals[reason] ?? 0) + number;
    const order = Object.keys(totals).sort((a, b) => totals[b] - totals[a]);
    const shown = order.slice(0, 5);
    const width = Math.max(2, (this.width - LEFT - this.right) * this.barWidth / (this.to - this.from) - 1.5);
    for (const bar of this.points) {
      const x = this.x(bar.at) - width / 2;
      const left = Math.max(LEFT, x), right = Math.min(this.width - this.right, x + width);
      let sum = 0;
      for (const reason of order) {
        const number = bar.counts[reason] ?? 0;
        if (!number) continue;
        pen.fillStyle = colour(shown.includes(reason) ? `--c${shown.indexOf(reason)}` : "--c5");
        pen.fillRect(left, this.y(sum + number), right - left, Math.max(1, this.y(sum) - this.y(sum + number)));
        sum += number;
      }
    }
    this.legend.replaceChildren(...shown.map((reason, number) => h("span", {}, h("i", { "--dot": `var(--c${number})` }), reason)));
  }
}
