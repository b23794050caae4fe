// The time line: sound, faces and the shares of every window over one axis of seconds.

import { MISSING_TEXTS, STREAM_NAMES, byId, makeSvg, make, share, sorted } from "./dom.js";
import { patterns } from "./patterns.js";
import { SoundView } from "./sound.js";
import { windowCells, faceSource, labelTexts, describeWindow } from "./windows.js";

const HEIGHTS_PX = { answer: 132, audio: 88, video: 88, text: 88 };
const FACE_PX = 52;
// Columns narrower than that have no lines between them.
const DENSE_PX = 6;
const TICK_PX = 50;
// From here on the axis tells minutes.
const LONG_S = 180;
const TICKS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300];

export class TimeLine {
  // onShow(index or -1): its values are wanted; onPlay(seconds or null): play from there, or pause.
  constructor({ onShow, onPlay }) {
    this.onShow = onShow;
    this.onPlay = onPlay;
    this.slider = byId("windows");
    this.sound = new SoundView(byId("wave"), byId("spectrogram"));
    this.reset([], []);
    this.#listen();
    new ResizeObserver(() => this.schedule()).observe(byId("chart"));
  }

  reset(labels, streams) {
    this.labels = labels;
    this.streams = streams.length > 1 ? streams : [];
    this.windows = [];
    this.cells = [];
    this.faces = new Map();
    this.durationS = 0;
    this.selected = -1;
    this.shown = -1;
    this.sound.reset();
    for (const id of ["wave-lane", "spectrogram-lane", "faces-lane", "span", "playhead", "tip"]) {
      byId(id).hidden = true;
    }
    byId("rows").replaceChildren();
    byId("legend").replaceChildren();
    this.slider.setAttribute("aria-valuetext", "no window yet");
    this.slider.setAttribute("aria-valuemax", 1);
    this.slider.setAttribute("aria-valuenow", 1);
  }

  begin(event) {
    this.durationS = event.duration_s ?? 0;
    this.#makeRows();
    this.schedule();
  }

  addSound(event) {
    this.sound.add(event);
    byId("wave-lane").hidden = false;
    byId("spectrogram-lane").hidden = !this.sound.pieces.some((piece) => piece.picture);
    this.schedule();
  }

  addWindow(window) {
    if (!this.labels.length) this.labels = Object.keys(window.probabilities);
    this.windows.push(window);
    this.cells = windowCells(this.windows);
    if (window.face_jpeg) byId("faces-lane").hidden = false;
    this.slider.setAttribute("aria-valuemax", this.windows.length);
    if (this.selected < 0) this.select(0);
    else {
      // Both say of how many windows it is one.
      this.#tellSelected();
      this.show(this.shown);
    }
    this.schedule();
  }

  describe() {
    this.sound.describe();
  }

  get endS() {
    const last = this.windows.length ? this.windows.at(-1).end_s : 0;
    return Math.max(this.durationS, this.sound.endS, last, 0.1);
  }

  indexAt(time) {
    const index = this.cells.findIndex((cell) => time < cell.to);
    return index < 0 ? this.cells.length - 1 : index;
  }

  select(index) {
    if (!this.windows.length) return;
    this.selected = Math.min(this.windows.length - 1, Math.max(0, index));
    this.slider.setAttribute("aria-valuenow", this.selected + 1);
    this.#tellSelected();
    this.show(this.selected);
  }

  #tellSelected() {
    const text = describeWindow(this.windows[this.selected], this.selected, this.windows.length);
    this.slider.setAttribute("aria-valuetext", text);
  }

  show(index) {
    this.shown = index;
    this.#placeSpan();
    this.onShow(index);
  }

  // null: nothing is played.
  playAt(time, playing) {
    const head = byId("playhead");
    head.hidden = time === null || !this.windows.length;
    if (head.hidden) return;
    head.style.left = this.#percent(time);
    if (playing && this.indexAt(time) !== this.shown) this.show(this.indexAt(time));
  }

  schedule() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    this.sound.draw(this.endS);
    this.#drawAxis();
    this.#drawFaces();
    for (const row of this.rows ?? []) this.#drawRow(row);
    this.#placeSpan();
  }

  // === Drawing ===

  #percent(time) {
    return `${(100 * Math.min(1, Math.max(0, time / this.endS))).toFixed(3)}%`;
  }

  #makeRows() {
    const pictures = patterns(this.labels.length);
    this.rows = ["answer", ...this.streams].map((name) => {
      const picture = makeSvg("svg", { class: "row-picture", height: HEIGHTS_PX[name], "aria-hidden": "true" });
      return { name, picture };
    });
    const lanes = this.rows.map(({ name, picture }) => make(
      "div", { class: "lane", "data-row": name }, make("span", { class: "lane-name" }, STREAM_NAMES[name]), picture,
    ));
    byId("rows").replaceChildren(pictures, ...lanes);
    byId("legend").replaceChildren(...this.labels.map((label, i) => make("li", {},
      makeSvg("svg", { width: 18, height: 14, "aria-hidden": "true" },
        makeSvg("rect", { width: 18, height: 14, rx: 3, fill: `url(#pattern-${i})` })),
      label,
    )));
  }

  #drawRow({ name, picture }) {
    const width = picture.getBoundingClientRect().width;
    const height = HEIGHTS_PX[name];
    picture.classList.toggle("dense", width / this.cells.length < DENSE_PX);
    const valuesOf = (window) => (name === "answer" ? window.probabilities : window.streams[name]);
    const paths = this.labels.map(() => "");
    const tops = [];
    let gaps = "";
    this.cells.forEach(({ from, to }, i) => {
      const [x, right] = [from, to].map((time) => (time / this.endS) * width);
      const values = valuesOf(this.windows[i]);
      if (!values) {
        gaps += `M${x.toFixed(1)} 0H${right.toFixed(1)}V${height}H${x.toFixed(1)}Z`;
        tops.push({ x, right, label: MISSING_TEXTS[name], middle: height / 2, room: height });
        return;
      }
      let base = height;
      this.labels.forEach((label, k) => {
        const top = base - values[label] * height;
        paths[k] += `M${x.toFixed(1)} ${base.toFixed(1)}V${top.toFixed(1)}H${right.toFixed(1)}V${base.toFixed(1)}Z`;
        if (values[label] * height >= 15) {
          tops.push({ x, right, label, middle: (base + top) / 2, room: base - top });
        }
        base = top;
      });
    });
    picture.replaceChildren(
      ...paths.map((path, k) => makeSvg("path", {
        d: path, fill: `url(#pattern-${k})`, class: "share", "data-label": this.labels[k],
      })),
      makeSvg("path", { d: gaps, class: "gap", fill: "url(#pattern-gap)" }),
      ...labelTexts(tops),
    );
  }

  #drawAxis() {
    const axis = byId("axis");
    const stepS = TICKS_S.find((step) => (step / this.endS) * axis.clientWidth >= TICK_PX) ?? 600;
    const ticks = [];
    // The last one must have room for its words.
    const endS = this.endS * (1 - 30 / Math.max(60, axis.clientWidth));
    for (let time = 0; time <= endS; time += stepS) {
      const tick = make("span", { class: "tick" }, this.endS < LONG_S
        ? `${Number(time.toFixed(1))} s`
        : `${Math.floor(time / 60)}:${String(time % 60).padStart(2, "0")}`);
      tick.style.left = this.#percent(time);
      ticks.push(tick);
    }
    axis.replaceChildren(...ticks);
  }

  #drawFaces() {
    const strip = byId("faces");
    const width = strip.clientWidth;
    let free = 0;
    const pictures = [];
    this.cells.forEach(({ from, to }, i) => {
      const left = ((from + to) / 2 / this.endS) * width - FACE_PX / 2;
      if (!this.windows[i].face_jpeg || left < free - 0.5) return;
      const face = this.faces.get(i)
        ?? make("img", { src: faceSource(this.windows[i]), alt: "", width: FACE_PX, height: FACE_PX });
      this.faces.set(i, face);
      face.style.left = `${Math.min(width - FACE_PX, Math.max(0, left)).toFixed(1)}px`;
      free = left + FACE_PX + 4;
      pictures.push(face);
    });
    strip.replaceChildren(...pictures);
  }

  #placeSpan() {
    const span = byId("span");
    const window = this.windows[this.shown];
    span.hidden = !window;
    if (!window) return;
    const { from, to } = this.cells[this.shown];
    span.style.left = this.#percent(from);
    span.style.width = this.#percent(to - from);
  }

  // === Pointer and keys ===

  #timeOf(event) {
    const box = this.slider.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * this.endS;
  }

  #listen() {
    const tip = byId("tip");
    this.slider.addEventListener("pointermove", (event) => {
      const index = this.indexAt(this.#timeOf(event));
      if (index < 0) return;
      if (index !== this.shown) this.show(index);
      const best = sorted(this.windows[index].probabilities).slice(0, 3);
      tip.replaceChildren(...best.map(([label, p]) => make("div", {}, `${label} ${share(p)}`)));
      const box = this.slider.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      tip.hidden = false;
      tip.style.left = `${x < box.width / 2 ? x + 14 : x - 14 - tip.offsetWidth}px`;
      tip.style.top = `${Math.min(y, box.height - tip.offsetHeight)}px`;
    });
    this.slider.addEventListener("pointerleave", () => {
      tip.hidden = true;
      if (this.selected >= 0) this.show(this.selected);
    });
    this.slider.addEventListener("click", (event) => {
      const index = this.indexAt(this.#timeOf(event));
      if (index < 0) return;
      this.select(index);
      this.onPlay(this.cells[index].from);
    });
    this.slider.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const last = this.windows.length - 1;
    const targets = {
      ArrowRight: this.selected + 1, ArrowUp: this.selected + 1, ArrowLeft: this.selected - 1,
      ArrowDown: this.selected - 1, PageDown: this.selected - 10, PageUp: this.selected + 10,
      Home: 0, End: last,
    };
    if (event.altKey || event.ctrlKey || event.metaKey || last < 0) return;
    if (event.key === "Escape") byId("tip").hidden = true;
    else if (event.key === "Enter") this.onPlay(this.cells[this.selected].from, true);
    else if (event.key === " ") this.onPlay(null);
    else if (event.key in targets) this.select(targets[event.key]);
    else return;
    event.preventDefault();
  }
}
