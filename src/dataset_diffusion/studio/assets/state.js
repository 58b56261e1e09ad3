// What the page knows and what was decided, and how both reach the server. Nothing here touches the page.

import { UNCERTAIN, labelOf } from "./labels.js";

export const nameOf = (index) => String(index).padStart(8, "0");
const UNDECIDED = { keep: null, label: null, corrected: false };
const KEPT_IN_MEMORY = 400;

async function ask(address, options) {
  const answer = await fetch(address, options);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

const askJson = async (address) => (await ask(address)).json();

async function askMaps(address, signal) {
  const answer = await ask(address, { signal });
  return { shape: JSON.parse(answer.headers.get("x-shape")), buffer: await answer.arrayBuffer() };
}

export class State extends EventTarget {
  #cache = new Map();
  #sending = Promise.resolve();
  #timer = null;
  #waiting = null;

  /** Everything about the dataset but its pictures. */
  static async load() {
    const state = new State();
    const addresses = ["dataset.json", "samples.json", "decisions.json"];
    [state.dataset, state.samples, state.decisions] = await Promise.all(addresses.map(askJson));
    state.disagreement = [];
    state.classNames = new Map(state.dataset.classes.map(({ id, name }) => [id, name]));
    state.classNames.set(0, "background").set(UNCERTAIN, "uncertain");
    return state;
  }

  get count() { return this.samples.prompts.length; }

  decision(index) { return this.decisions.samples[nameOf(index)] ?? UNDECIDED; }

  /** How a sample is to be labelled: its own way or that of all; null where nobody said. */
  #decided(index) { return this.decision(index).label ?? this.decisions.label; }

  /** The same, or how the dataset was labelled. */
  settingsOf(index) {
    return this.#decided(index) ?? this.dataset.own_labels[nameOf(index)] ?? this.dataset.label;
  }

  /** A sample's label map as it stands: {shape, label}, corrected by hand, stored, or made from its evidence here. */
  async label(index, side, signal) {
    if (this.decision(index).corrected) return this.labelOfKind("corrected", index, side, signal);
    const settings = this.#decided(index);
    if (!settings) return this.labelOfKind("stored", index, side, signal);
    const evidence = await this.#evidence(index, settings, side, signal);
    return this.#compared(evidence, settings);
  }

  /** The same without waiting; null where something has to be asked for first. */
  labelAtHand(index, side) {
    const settings = this.#decided(index);
    if (this.decision(index).corrected || !settings) return null;
    const evidence = this.#cache.get(this.#evidenceAddress(index, settings, side));
    return evidence === undefined ? null : this.#compared(evidence, settings);
  }

  #compared(evidence, { threshold, uncertainty_threshold: band }) {
    return { shape: evidence.shape, label: labelOf(evidence, threshold, band) };
  }

  async labelOfKind(kind, index, side, signal) {
    const small = side ? `&side=${side}` : "";
    const { shape, buffer } = await askMaps(`samples/${index}/label?of=${kind}${small}`, signal);
    return { shape, label: new Uint8Array(buffer) };
  }

  async heatmaps(index, exponent) {
    const { shape: [count, ...shape], buffer } = await askMaps(`samples/${index}/heatmaps?exponent=${exponent}`);
    const size = shape[0] * shape[1];
    return Array.from({ length: count }, (_, map) => ({ shape, values: new Uint8Array(buffer, map * size, size) }));
  }

  #evidenceAddress(index, { exponent, refine }, side) {
    return `samples/${index}/evidence?exponent=${exponent}&refine=${refine}${side ? `&side=${side}` : ""}`;
  }

  async #evidence(index, settings, side, signal) {
    const address = this.#evidenceAddress(index, settings, side);
    if (!this.#cache.has(address)) {
      const { shape, buffer } = await askMaps(address, signal);
      const size = shape[0] * shape[1];
      this.#cache.set(address, {
        shape, highest: new Float32Array(buffer, 0, size), ids: new Uint8Array(buffer, 4 * size, size),
      });
      if (this.#cache.size > KEPT_IN_MEMORY) this.#cache.delete(this.#cache.keys().next().value);
    }
    return this.#cache.get(address);
  }

  /** Have the library load what it makes evidence with, so that the first slider need not wait for it. */
  async warmUp() {
    if (this.dataset.exponents.length) await this.#evidence(0, { ...this.dataset.label, refine: "none" }, 1).catch(() => {});
  }

  /** Keep, drop or leave a sample undecided; or give it a labelling of its own. */
  decide(index, change) {
    const decision = { ...this.decision(index), ...change };
    this.decisions.samples[nameOf(index)] = decision;
    this.#send(`samples/${index}/decision`, JSON.stringify({ keep: decision.keep, label: decision.label }));
    this.dispatchEvent(new CustomEvent("decided", { detail: index }));
  }

  /** Label one sample (or all, where none is named) in another way; null takes it back. Saved when the hand rests. */
  relabel(settings, index = null) {
    if (index === null) this.decisions.label = settings;
    else this.decisions.samples[nameOf(index)] = { ...this.decision(index), label: settings };
    this.dispatchEvent(new CustomEvent("relabelled", { detail: index }));
    clearTimeout(this.#timer);
    this.#waiting = () => {
      if (index === null) this.#send("label", JSON.stringify(settings));
      else this.decide(index, { label: settings });
    };
    this.#timer = setTimeout(() => this.flush(), 250);
  }

  /** Send what waits for the hand to rest: the page may be about to close. */
  flush() {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.();
  }

  async correct(index, label) {
    await this.#send(`samples/${index}/correction`, label);
    this.decisions.samples[nameOf(index)] = { ...this.decision(index), corrected: true };
    this.dispatchEvent(new CustomEvent("decided", { detail: index }));
  }

  async forget(index) {
    await this.#send(`samples/${index}/correction`, null, "DELETE");
    this.decisions.samples[nameOf(index)] = { ...this.decision(index), corrected: false };
    this.dispatchEvent(new CustomEvent("decided", { detail: index }));
  }

  async compareWithSegmenter() {
    this.disagreement = await askJson("disagreement.json");
    return this.disagreement.length < this.count;
  }

  /** One change after the other, so that the last one stays. */
  #send(address, body, method = "PUT") {
    const sent = this.#sending.then(() => ask(address, { method, body, keepalive: typeof body === "string" }));
    this.#sending = sent.then(
      () => this.dispatchEvent(new Event("saved")),
      (error) => this.dispatchEvent(new CustomEvent("problem", { detail: error.message })),
    );
    return sent.catch(() => {});
  }
}

/** The samples that a filter lets through, in its order. */
export function select(state, filter) {
  const { scores, classes, prompts } = state.samples;
  const own = (index, name) => (filter.class ? scores[index][`${name}.${filter.class}`] : undefined);
  const presence = (index) => own(index, "presence") ?? scores[index].presence ?? 1;
  const area = (index) => own(index, "area") ?? scores[index].foreground ?? 0;
  const wanted = filter.search.trim().toLowerCase();
  const inState = {
    "": () => true,
    open: (decision) => decision.keep === null,
    kept: (decision) => decision.keep === true,
    dropped: (decision) => decision.keep === false,
    corrected: (decision) => decision.corrected,
    own: (decision) => decision.label !== null,
  }[filter.state];
  const chosen = [];
  for (let index = 0; index < state.count; index += 1) {
    if (filter.class && !classes[index].includes(filter.class)) continue;
    if (wanted && !prompts[index].toLowerCase().includes(wanted)) continue;
    if (filter.presence > 0 && presence(index) < filter.presence) continue;
    if (filter.uncertain < 1 && (scores[index].uncertain ?? 0) > filter.uncertain) continue;
    if (filter.disagreement > 0 && !(state.disagreement[index] >= filter.disagreement)) continue;
    if (inState(state.decision(index))) chosen.push(index);
  }
  const key = {
    presence,
    uncertain: (index) => -(scores[index].uncertain ?? 0),
    small: area,
    large: (index) => -area(index),
    disagreement: (index) => -(state.disagreement[index] ?? -1),
  }[filter.order];
  if (!key) return chosen;
  const keys = new Map(chosen.map((index) => [index, key(index)]));
  return chosen.sort((one, other) => keys.get(one) - keys.get(other) || one - other);
}
