// Line charts in plain SVG, which can be read with a pointer, with the arrow keys and as text.

import { createElement } from "./page.js";

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 170;
const EDGE = { top: 10, right: 12, bottom: 24, left: 52 };

function draw(tag, attributes, text) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// The next of 1, 2, 5, 10, 20, 50 … that is not below a value.
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((each) => each * power >= value * 0.999999);
}

function findRange(values, fromZero) {
  const low = Math.min(0, ...values);
  const high = Math.max(fromZero ? 0 : -Infinity, ...values);
  const step = roundUp((Math.max(high, low + 1e-12) - low) / 2) / 1;
  return { low: Math.floor(low / step) * step, high: Math.max(step, Math.ceil(high / step) * step), step };
}

// A chart of lines [{ name, className }] and at most one band between two values.
export class LineChart {
  constructor({ title, lines, format, describeX, ticks, note }) {
    Object.assign(this, { title, lines, format, describeX, ticks });
    this.points = []; // [x, [value of each line], low, high]; null where there is none
    this.selected = null;
    this.element = createElement("figure", "chart");
    const caption = createElement("figcaption");
    caption.append(createElement("span", "chart-title", title));
    if (note) caption.append(createElement("span", "soft", note));
    this.legend = createElement("div", "chart-legend");
    this.status = createElement("p", "hidden");
    this.status.setAttribute("role", "status");
    this.svg = draw("svg", { role: "img", tabindex: "0", height: HEIGHT });
    this.element.append(caption, this.legend, this.svg, this.status);
    this.svg.addEventListener("pointermove", (event) => this.select(this.findNearest(event)));
    this.svg.addEventListener("pointerleave", () => this.select(null));
    this.svg.addEventListener("blur", () => this.select(null));
    this.svg.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  show(points, [from, to] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 1]) {
    Object.assign(this, { points, from, to: to > from ? to : from + 1 });
    if (this.selected !== null) this.selected = Math.min(this.selected, points.length - 1);
    this.redraw();
  }

  findNearest(event) {
    if (!this.points.length) return null;
    const at = event.clientX - this.svg.getBoundingClientRect().left;
    return this.points.reduce((best, [x], position) => (Math.abs(this.toX(x) - at) < Math.abs(this.toX(this.points[best][0]) - at) ? position : best), 0);
  }

  move(event) {
    const last = this.points.length - 1;
    const now = this.selected ?? last;
    const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last, Escape: null }[event.key];
    if (next === undefined || last < 0) return;
    event.preventDefault();
    this.select(next === null ? null : Math.max(0, Math.min(last, next)));
    if (this.selected !== null) this.status.textContent = this.describe(this.selected);
  }

  select(position) {
    if (position === this.selected) return;
    this.selected = position;
    this.redraw();
  }

  describe(position) {
    const [x, values] = this.points[position];
    return `${this.describeX(x, this.to)}: ${this.lines.map(({ name }, at) => `${name} ${this.formatValue(values[at])}`).join(", ")}`;
  }

  formatValue(value) {
    return value === null || value === undefined ? "–" : this.format(value);
  }

  toX(x) {
    return EDGE.left + ((x - this.from) / (this.to - this.from)) * (this.width - EDGE.left - EDGE.right);
  }

  toY(y) {
    const share = (y - this.range.low) / (this.range.high - this.range.low);
    return HEIGHT - EDGE.bottom - share * (HEIGHT - EDGE.top - EDGE.bottom);
  }

  redraw() {
    this.width = this.element.clientWidth;
    if (!this.width || this.from === undefined) return; // not shown
    const values = this.points.flatMap(([, each, low, high]) => [...each, low, high]).filter(Number.isFinite);
    this.range = findRange(values.length ? values : [1], true);
    this.svg.setAttribute("width", this.width);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.svg.setAttribute("aria-label", this.points.length ? `${this.title}. ${this.describe(this.points.length - 1)}. Arrow keys read other points.` : `${this.title}. No data yet.`);
    this.svg.replaceChildren(...this.drawAxes(), ...this.drawBand(), ...this.lines.flatMap((_, at) => this.drawLine(at)), ...this.drawSelected());
    this.drawLegend();
  }

  drawAxes() {
    const { low, high, step } = this.range;
    const parts = [];
    for (let value = low; value <= high + step / 1000; value += step) {
      const y = this.toY(value);
      const isZero = Math.abs(value) < step / 1000;
      parts.push(draw("line", { class: isZero ? "axis" : "grid", x1: EDGE.left, x2: this.width - EDGE.right, y1: y, y2: y }));
      parts.push(draw("text", { class: "tick", x: EDGE.left - 6, y: y + 4, "text-anchor": "end" }, this.format(isZero ? 0 : value)));
    }
    const ticks = this.ticks(this.from, this.to);
    ticks.forEach(([x, text], at) => {
      const anchor = at === 0 && this.toX(x) < EDGE.left + 20 ? "start" : at === ticks.length - 1 ? "end" : "middle";
      parts.push(draw("text", { class: "tick", x: this.toX(x), y: HEIGHT - 6, "text-anchor": anchor }, text));
    });
    return parts;
  }

  drawBand() {
    const points = this.points.filter(([, , low, high]) => Number.isFinite(low) && Number.isFinite(high));
    if (points.length === 1) { // an error bar
      const [x, , low, high] = points[0];
      return [draw("rect", { class: "band", x: this.toX(x) - 3, width: 6, y: this.toY(high), height: this.toY(low) - this.toY(high) })];
    }
    if (!points.length) return [];
    const top = points.map(([x, , , high]) => `${this.toX(x)},${this.toY(high)}`);
    const bottom = points.map(([x, , low]) => `${this.toX(x)},${this.toY(low)}`).reverse();
    return [draw("polygon", { class: "band", points: [...top, ...bottom].join(" ") })];
  }

  drawLine(at) {
    let path = "";
    let isOpen = false;
    for (const [x, values] of this.points) {
      const isThere = Number.isFinite(values[at]);
      if (isThere) path += `${isOpen ? "L" : "M"}${this.toX(x).toFixed(1)},${this.toY(values[at]).toFixed(1)}`;
      isOpen = isThere;
    }
    return path ? [draw("path", { class: `line ${this.lines[at].className}`, d: path })] : [];
  }

  drawSelected() {
    if (this.selected === null || !this.points[this.selected]) return [];
    const [x, values] = this.points[this.selected];
    const parts = [draw("line", { class: "cursor", x1: this.toX(x), x2: this.toX(x), y1: EDGE.top, y2: HEIGHT - EDGE.bottom })];
    values.forEach((value, at) => {
      if (Number.isFinite(value)) parts.push(draw("circle", { class: `dot ${this.lines[at].className}`, cx: this.toX(x), cy: this.toY(value), r: 3.5 }));
    });
    return parts;
  }

  drawLegend() {
    const point = this.points[this.selected ?? this.points.length - 1];
    const keys = this.lines.map(({ name, className }, at) => {
      const key = createElement("span", "key");
      const sample = draw("svg", { class: "sample", width: 22, height: 8, "aria-hidden": "true" });
      sample.append(draw("line", { class: `line ${className}`, x1: 0, x2: 22, y1: 4, y2: 4 }));
      key.append(sample, createElement("span", "", name), createElement("b", "", point ? this.formatValue(point[1][at]) : "–"));
      return key;
    });
    const when = point && this.selected !== null ? this.describeX(point[0], this.to) : "";
    this.legend.replaceChildren(...keys, createElement("span", "soft", when));
  }
}
