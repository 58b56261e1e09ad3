// One picture, large: its heatmaps, its label map, and a brush to correct it.

import { UNCERTAIN, colourTable, paintHeat, paintLabel, stamp } from "./labels.js";

const element = (id) => document.getElementById(id);

export class Detail {
  index = null;
  #map = null; // {shape, label} on the canvas
  #undo = [];
  #heat = null; // position of the class whose heatmap is shown
  #cursor = [0, 0];
  #drawing = 0;

  constructor(state, go) {
    Object.assign(this, { state, go });
    this.colours = colourTable(state.dataset.palette);
    this.canvas = element("label");
    element("previous").addEventListener("click", () => go(-1));
    element("next").addEventListener("click", () => go(1));
    element("keep").addEventListener("click", () => this.#toggle(true));
    element("drop").addEventListener("click", () => this.#toggle(false));
    element("brush").addEventListener("click", () => this.#setBrush(!this.painting));
    element("undo").addEventListener("click", () => this.undo());
    element("save").addEventListener("click", () => this.save());
    element("forget").addEventListener("click", async () => { await state.forget(this.index); this.redraw(); });
    element("sources").addEventListener("change", () => this.redraw());
    element("brush-size").addEventListener("input", () => this.#showCursor());
    element("segmenter-source").hidden = !state.dataset.has_segmenter;
    this.canvas.addEventListener("pointerdown", (event) => this.#onPointer(event, true));
    this.canvas.addEventListener("pointermove", (event) => this.#onPointer(event, false));
    this.canvas.addEventListener("keydown", (event) => this.#onKey(event));
  }

  get painting() { return element("brush").getAttribute("aria-pressed") === "true"; }
  get source() { return document.querySelector('input[name="source"]:checked').value; }

  async show(index) {
    this.index = index;
    this.#heat = null;
    this.#undo = [];
    this.#setBrush(false);
    document.querySelector('input[name="source"][value="now"]').checked = true;
    const { samples, classNames } = this.state;
    element("detail-title").textContent = `Picture ${index}`;
    element("prompt").textContent = samples.prompts[index];
    Object.assign(element("picture"), { src: `samples/${index}/image`, alt: samples.prompts[index] });
    const choices = [...new Set([...samples.classes[index], 0, UNCERTAIN, ...this.state.dataset.classes.map(({ id }) => id)])];
    element("brush-class").replaceChildren(...choices.map((id) => new Option(classNames.get(id), id)));
    this.#showScores();
    await Promise.all([this.redraw(), this.showHeatmaps()]);
  }

  /** Draw the label map anew, unless strokes on it are not saved yet. */
  async redraw() {
    this.#showDecision();
    if (this.#undo.length) return;
    const drawing = ++this.#drawing;
    const { state, index, source } = this;
    let map = source === "now" ? state.labelAtHand(index) : null;
    try {
      map ??= await (source === "now" ? state.label(index) : state.labelOfKind(source, index));
    } catch (error) {
      state.dispatchEvent(new CustomEvent("problem", { detail: error.message }));
      return;
    }
    if (drawing !== this.#drawing || index !== this.index) return;
    this.#map = source === "now" ? state.labelAtHand(index) ?? map : map;
    const [height, width] = this.#map.shape;
    element("stage").style.aspectRatio = `${width} / ${height}`;
    element("brush-size").max = Math.max(8, Math.round(Math.min(height, width) / 4));
    paintLabel(this.canvas, this.#map, this.colours);
  }

  async showHeatmaps() {
    const { state, index } = this;
    const maps = await state.heatmaps(index, state.settingsOf(index).exponent);
    if (index !== this.index) return;
    const list = element("heatmaps");
    list.replaceChildren(...maps.map(({ shape, values }, position) => {
      const id = state.samples.classes[index][position];
      const button = document.createElement("button");
      const [canvas, name, swatch] = ["canvas", "span", "i"].map((tag) => document.createElement(tag));
      button.type = "button";
      swatch.className = "swatch";
      swatch.style.background = `rgb(${state.dataset.palette[id].join(" ")})`;
      name.append(swatch, state.classNames.get(id));
      button.append(canvas, name);
      button.setAttribute("aria-pressed", this.#heat === position);
      button.addEventListener("click", () => this.#showHeat(this.#heat === position ? null : position, maps));
      paintHeat(canvas, shape, values);
      return button;
    }));
    if (!maps.length) list.textContent = "None are stored: these labels are not from attention.";
    this.#showHeat(this.#heat, maps);
  }

  #showHeat(position, maps) {
    this.#heat = position;
    [...element("heatmaps").children].forEach((button, number) => button.setAttribute("aria-pressed", number === position));
    element("heat").hidden = position === null;
    this.canvas.hidden = position !== null;
    if (position !== null) paintHeat(element("heat"), maps[position].shape, maps[position].values);
  }

  #showScores() {
    const { samples, classNames, disagreement } = this.state;
    const rows = Object.entries(samples.scores[this.index]).map(([name, value]) => {
      const [score, id] = name.split(".");
      return [id ? `${score}, ${classNames.get(Number(id))}` : score, value];
    });
    if (disagreement[this.index] !== undefined) rows.push(["disagreement", disagreement[this.index]]);
    element("scores").tBodies[0].replaceChildren(...rows.map(([name, value]) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head);
      row.insertCell().textContent = Number.isInteger(value) ? value : value?.toFixed(3) ?? "–";
      return row;
    }));
  }

  #showDecision() {
    const { keep, corrected } = this.state.decision(this.index);
    element("keep").setAttribute("aria-pressed", keep === true);
    element("drop").setAttribute("aria-pressed", keep === false);
    element("forget").hidden = !corrected;
    element("undo").disabled = element("save").disabled = !this.#undo.length;
  }

  #toggle(keep) {
    const now = this.state.decision(this.index).keep;
    this.state.decide(this.index, { keep: now === keep ? null : keep });
  }

  #setBrush(on) {
    element("brush").setAttribute("aria-pressed", on);
    element("brush-help").hidden = !on;
    element("stage").classList.toggle("painting", on);
    element("cursor").hidden = true;
    if (on) {
      if (this.#map) this.#cursor = this.#map.shape.map((side) => Math.floor(side / 2));
      this.canvas.hidden = false;
      element("heat").hidden = true;
    }
  }

  #onPointer(event, begins) {
    if (!this.painting || !this.#map) return;
    const box = this.canvas.getBoundingClientRect();
    const [height, width] = this.#map.shape;
    this.#cursor = [
      Math.floor(((event.clientY - box.top) / box.height) * height),
      Math.floor(((event.clientX - box.left) / box.width) * width),
    ];
    this.#showCursor();
    if (begins) {
      this.canvas.setPointerCapture(event.pointerId);
      this.#remember();
    }
    if (event.buttons & 1) this.#paint();
  }

  #onKey(event) {
    if (!this.painting || !this.#map) return;
    const size = Number(element("brush-size").value);
    const steps = { ArrowUp: [-size, 0], ArrowDown: [size, 0], ArrowLeft: [0, -size], ArrowRight: [0, size] };
    if (event.key in steps) {
      this.#cursor = this.#cursor.map((place, axis) => Math.min(this.#map.shape[axis] - 1, Math.max(0, place + steps[event.key][axis])));
      this.#showCursor();
    } else if (event.key === " ") {
      this.#remember();
      this.#paint();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #showCursor() {
    if (!this.painting || !this.#map) return;
    const [height, width] = this.#map.shape;
    const scale = this.canvas.clientWidth / width;
    const across = `${(2 * Number(element("brush-size").value) + 1) * scale}px`;
    Object.assign(element("cursor").style, {
      top: `${((this.#cursor[0] + 0.5) / height) * 100}%`, left: `${((this.#cursor[1] + 0.5) / width) * 100}%`, width: across, height: across,
    });
    element("cursor").hidden = false;
  }

  #remember() {
    this.#undo.push(this.#map.label.slice());
    if (this.#undo.length > 50) this.#undo.shift();
  }

  #paint() {
    const [row, column] = this.#cursor;
    stamp(this.#map.label, this.#map.shape, row, column, Number(element("brush-size").value), Number(element("brush-class").value));
    paintLabel(this.canvas, this.#map, this.colours);
    this.#showDecision();
  }

  undo() {
    if (!this.#undo.length) return;
    this.#map.label = this.#undo.pop();
    paintLabel(this.canvas, this.#map, this.colours);
    this.#showDecision();
  }

  async save() {
    if (!this.#undo.length) return;
    this.#undo = [];
    await this.state.correct(this.index, this.#map.label);
    document.querySelector('input[name="source"][value="now"]').checked = true;
    await this.redraw();
  }
}
