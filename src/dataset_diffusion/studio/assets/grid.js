// The pictures as tiles. Only those near the screen exist, however many there are.

import { colourTable, paintLabel } from "./labels.js";

const GAP = 12;
const CAPTION = 24;
export const SIDE = 160;

export class Grid {
  #tiles = new Map();
  #indices = [];
  #active = 0;
  #columns = 1;
  #tile = SIDE;

  constructor(list, state, open) {
    Object.assign(this, { list, state, open });
    this.colours = colourTable(state.dataset.palette);
    addEventListener("scroll", () => this.#render(), { passive: true });
    new ResizeObserver(() => this.#layOut()).observe(list);
    list.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** Show these samples, in this order. */
  show(indices) {
    this.#indices = indices;
    this.#active = 0;
    this.#tiles.forEach((tile) => this.#remove(tile));
    this.#layOut();
  }

  /** Draw the labels anew, of one sample or of all: at once, where what they are made from is here. */
  redraw(index = null) {
    this.#tiles.forEach((tile) => {
      if (index === null || tile.index === index) this.#draw(tile);
    });
  }

  focus(index) {
    const position = this.#indices.indexOf(index);
    if (position >= 0) this.#move(position);
  }

  #layOut() {
    const width = this.list.clientWidth;
    if (!width) return;
    this.#columns = Math.max(2, Math.floor((width + GAP) / (SIDE + GAP)));
    this.#tile = Math.floor((width - GAP * (this.#columns - 1)) / this.#columns);
    const rows = Math.ceil(this.#indices.length / this.#columns);
    this.list.style.height = `${rows * this.#pitch}px`;
    this.#tiles.forEach((tile) => this.#place(tile));
    this.#render();
  }

  get #pitch() { return this.#tile + CAPTION + GAP; }

  #render() {
    if (!this.list.clientWidth) return;
    const top = -this.list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / this.#pitch) - 1) * this.#columns;
    const last = Math.min(this.#indices.length, (Math.ceil((top + innerHeight) / this.#pitch) + 1) * this.#columns);
    this.#tiles.forEach((tile, position) => {
      const hasFocus = tile.button === document.activeElement;
      if ((position < first || position >= last) && !hasFocus) this.#remove(tile);
    });
    for (let position = first; position < last; position += 1) {
      if (!this.#tiles.has(position)) this.#add(position);
    }
  }

  #add(position) {
    const index = this.#indices[position];
    const item = document.createElement("li");
    const [button, picture, label, caption] = ["button", "img", "canvas", "span"].map((name) => document.createElement(name));
    Object.assign(button, { type: "button", className: "tile", tabIndex: position === this.#active ? 0 : -1 });
    Object.assign(picture, { alt: "", src: `samples/${index}/image?side=${SIDE}`, width: SIDE, height: SIDE });
    button.append(picture, label, caption);
    button.addEventListener("click", () => this.open(index));
    button.addEventListener("focus", () => this.#activate(position));
    item.append(button);
    item.setAttribute("aria-setsize", this.#indices.length);
    item.setAttribute("aria-posinset", position + 1);
    const tile = { index, position, item, button, label, caption, asked: new AbortController() };
    this.#tiles.set(position, tile);
    this.#place(tile);
    this.#draw(tile);
    // In the order of the samples, which is that of the tab key and of a screen reader.
    const next = [...this.list.children].find((other) => Number(other.getAttribute("aria-posinset")) > position + 1);
    this.list.insertBefore(item, next ?? null);
  }

  #remove(tile) {
    tile.asked.abort();
    tile.item.remove();
    this.#tiles.delete(tile.position);
  }

  #place({ item, position }) {
    const row = Math.floor(position / this.#columns);
    const column = position % this.#columns;
    Object.assign(item.style, {
      width: `${this.#tile}px`,
      height: `${this.#tile + CAPTION}px`,
      transform: `translate(${column * (this.#tile + GAP)}px, ${row * this.#pitch}px)`,
    });
  }

  async #draw(tile) {
    const { state } = this;
    const { index, button, label, caption } = tile;
    const decision = state.decision(index);
    const names = state.samples.classes[index].map((id) => state.classNames.get(id)).join(", ");
    const word = decision.keep === null ? "" : decision.keep ? "kept" : "dropped";
    const decided = [word, decision.corrected ? "corrected" : ""].filter(Boolean).join(", ");
    caption.textContent = decided ? `${index} · ${decided}` : `${index} · ${names}`;
    button.setAttribute("aria-label", [`${index}`, decided, names, state.samples.prompts[index]].filter(Boolean).join(": "));
    button.classList.toggle("kept", decision.keep === true);
    button.classList.toggle("dropped", decision.keep === false);
    const atHand = state.labelAtHand(index, SIDE);
    if (atHand) {
      paintLabel(label, atHand, this.colours);
      return;
    }
    tile.asked.abort();
    tile.asked = new AbortController();
    const { signal } = tile.asked;
    try {
      const found = await state.label(index, SIDE, signal);
      if (!signal.aborted) paintLabel(label, state.labelAtHand(index, SIDE) ?? found, this.colours);
    } catch (error) {
      if (!signal.aborted) state.dispatchEvent(new CustomEvent("problem", { detail: error.message }));
    }
  }

  #activate(position) {
    const former = this.#tiles.get(this.#active);
    if (former) former.button.tabIndex = -1;
    this.#active = position;
    this.#tiles.get(position).button.tabIndex = 0;
  }

  #move(position) {
    const row = Math.floor(position / this.#columns);
    const top = this.list.getBoundingClientRect().top + row * this.#pitch;
    if (top < 0) scrollBy(0, top - GAP);
    else if (top + this.#pitch > innerHeight) scrollBy(0, top + this.#pitch + GAP - innerHeight);
    this.#render();
    this.#tiles.get(position)?.button.focus({ preventScroll: true });
  }

  #onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns };
    const last = this.#indices.length - 1;
    const ends = { Home: 0, End: last };
    const index = this.#indices[this.#active];
    if (event.key in steps || event.key in ends) {
      event.preventDefault();
      const target = event.key in ends ? ends[event.key] : this.#active + steps[event.key];
      if (target >= 0 && target <= last) this.#move(target);
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey && "kdu".includes(event.key.toLowerCase())) {
      const keep = { k: true, d: false, u: null }[event.key.toLowerCase()];
      this.state.decide(index, { keep });
      if (this.#active < last && keep !== null) this.#move(this.#active + 1);
    }
  }
}
