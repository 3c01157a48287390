// Draws the timeline on a canvas: the caller's lane above, the agent's below, decisions and latencies between.

import { SPAN_MS } from "./timeline.js";

const LANE_PX = 48;
const STRIP_PX = 60;
const AXIS_PX = 20;
const HEIGHT_PX = 2 * LANE_PX + STRIP_PX + AXIS_PX;
const LABEL_ROWS = 3;
const ROW_PX = 18;
const LABEL_PX = 16;
const TICK_MS = 5_000;
const TICK_PX = 70; // ticks closer than this are thinned out
const COLORS = ["you", "agent", "duck", "mute", "cut", "resume", "ink", "muted", "line", "card"];

const YOU_TOP = 0;
const STRIP_TOP = LANE_PX;
const AGENT_TOP = LANE_PX + STRIP_PX;

export class TimelineView {
  #canvas;
  #pen;
  #color = {};
  #width = 0;
  #redraw = () => {};

  constructor(canvas) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext("2d");
    const refresh = () => {
      this.#measure();
      this.#redraw();
    };
    new ResizeObserver(refresh).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
    this.#measure();
  }

  /** Draws the 30 s that end at `nowMs`. */
  draw(timeline, nowMs) {
    this.#redraw = () => this.#paint(timeline, nowMs);
    this.#redraw();
  }

  #measure() {
    const style = getComputedStyle(this.#canvas);
    for (const name of COLORS) this.#color[name] = style.getPropertyValue(`--${name}`).trim();
    this.#width = this.#canvas.clientWidth;
    this.#canvas.width = Math.round(this.#width * devicePixelRatio);
    this.#canvas.height = Math.round(HEIGHT_PX * devicePixelRatio);
    this.#pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    this.#pen.font = `11px ${style.fontFamily}`;
    this.#pen.textBaseline = "middle";
  }

  #paint(timeline, nowMs) {
    const x = (atMs) => this.#width * (1 - (nowMs - atMs) / SPAN_MS);
    this.#pen.clearRect(0, 0, this.#width, HEIGHT_PX);
    this.#axis();
    for (const { fromMs, toMs } of timeline.speech) this.#span(x(fromMs), x(toMs ?? nowMs), YOU_TOP, "you", 0.16);
    for (const { fromMs, toMs, isDucked } of timeline.voice) {
      this.#span(x(fromMs), x(toMs ?? nowMs), AGENT_TOP, isDucked ? "duck" : "agent", 0.16);
    }
    this.#levels(timeline.levels, x, "you", YOU_TOP);
    this.#levels(timeline.levels, x, "agent", AGENT_TOP);
    this.#marks(timeline.marks, x);
    this.#laneNames();
  }

  #axis() {
    const pen = this.#pen;
    pen.strokeStyle = this.#color.line;
    pen.lineWidth = 1;
    for (const top of [YOU_TOP, AGENT_TOP]) this.#line(0, top + LANE_PX / 2, this.#width, top + LANE_PX / 2);
    pen.fillStyle = this.#color.muted;
    const y = AGENT_TOP + LANE_PX + AXIS_PX / 2 + 2;
    const tickMs = (this.#width * TICK_MS) / SPAN_MS < TICK_PX ? 2 * TICK_MS : TICK_MS;
    for (let agoMs = 0; agoMs <= SPAN_MS; agoMs += tickMs) {
      const x = this.#width * (1 - agoMs / SPAN_MS);
      pen.textAlign = agoMs === 0 ? "right" : agoMs === SPAN_MS ? "left" : "center";
      pen.fillText(agoMs === 0 ? "now" : `−${agoMs / 1000} s`, x, y);
    }
  }

  #span(from, to, top, color, opacity) {
    const left = Math.max(0, from);
    const pen = this.#pen;
    if (to <= left) return;
    pen.globalAlpha = opacity;
    pen.fillStyle = this.#color[color];
    pen.beginPath();
    pen.roundRect(left, top + 2, Math.max(2, to - left), LANE_PX - 4, 6);
    pen.fill();
    pen.globalAlpha = 1;
  }

  #levels(levels, x, side, top) {
    const pen = this.#pen;
    const middle = top + LANE_PX / 2;
    pen.fillStyle = this.#color[side];
    for (const level of levels) {
      const half = (level[side] * (LANE_PX - 10)) / 2;
      if (half > 0.5) pen.fillRect(x(level.atMs), middle - half, 1.5, 2 * half);
    }
  }

  #marks(marks, x) {
    const visible = marks.filter(({ atMs }) => x(atMs) >= 0);
    for (const mark of visible) this.#stroke(mark, x(mark.fromMs), x(mark.atMs));
    const rowsLeft = Array(LABEL_ROWS).fill(Infinity); // where the labels begin in each row, newest placed first
    for (const mark of visible.reverse()) {
      const width = this.#pen.measureText(mark.label).width + 10;
      const center = mark.kind === "latency" ? (x(mark.fromMs) + x(mark.atMs)) / 2 : x(mark.atMs);
      const left = Math.min(Math.max(0, center - width / 2), this.#width - width);
      const fits = rowsLeft.map((taken) => Math.min(left, taken - width)); // moved to the left where there is no room
      const row = fits.findIndex((start) => start >= 0 && start + width >= center);
      if (row < 0) continue;
      rowsLeft[row] = fits[row] - 4;
      this.#label(mark, fits[row], width, row);
    }
  }

  #stroke({ kind }, from, at) {
    const pen = this.#pen;
    const middle = STRIP_TOP + STRIP_PX / 2;
    pen.strokeStyle = kind === "latency" ? this.#color.muted : this.#color[kind];
    pen.lineWidth = 1.5;
    if (kind === "latency") {
      // From the end of the caller's speech, down to the first sound of the answer.
      this.#line(from, YOU_TOP + LANE_PX - 6, from, middle);
      this.#line(from, middle, at, middle);
      this.#line(at, middle, at, AGENT_TOP + 6);
      return;
    }
    pen.setLineDash(kind === "duck" ? [3, 3] : []);
    this.#line(at, YOU_TOP + 4, at, AGENT_TOP + LANE_PX - 4);
    pen.setLineDash([]);
  }

  #label({ kind, label }, left, width, row) {
    const pen = this.#pen;
    const top = STRIP_TOP + (STRIP_PX - LABEL_ROWS * ROW_PX) / 2 + row * ROW_PX + 1;
    pen.fillStyle = this.#color.card;
    pen.beginPath();
    pen.roundRect(left, top, width, LABEL_PX, LABEL_PX / 2);
    pen.fill();
    pen.strokeStyle = kind === "latency" ? this.#color.muted : this.#color[kind];
    pen.lineWidth = 1;
    pen.stroke();
    pen.fillStyle = this.#color.ink;
    pen.textAlign = "center";
    pen.fillText(label, left + width / 2, top + LABEL_PX / 2 + 0.5);
  }

  #laneNames() {
    const pen = this.#pen;
    pen.textAlign = "left";
    pen.fillStyle = this.#color.muted;
    pen.fillText("You", 2, YOU_TOP + 9);
    pen.fillText("Agent", 2, AGENT_TOP + 9);
  }

  #line(x1, y1, x2, y2) {
    this.#pen.beginPath();
    this.#pen.moveTo(x1, y1);
    this.#pen.lineTo(x2, y2);
    this.#pen.stroke();
  }
}
