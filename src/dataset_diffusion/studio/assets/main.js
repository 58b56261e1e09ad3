// Brings the parts together: controls, the address (#sample=3), keys and messages.

import { Detail } from "./detail.js";
import { Grid } from "./grid.js";
import { State, select } from "./state.js";

const element = (id) => document.getElementById(id);
const state = await State.load();
const { dataset } = state;
const filter = { class: 0, order: "index", state: "", search: "", presence: 0, uncertain: 1, disagreement: 0 };
let chosen = [];

const grid = new Grid(element("grid"), state, (index) => { location.hash = `sample=${index}`; });
const detail = new Detail(state, (step) => {
  const place = chosen.indexOf(detail.index) + step;
  if (place >= 0 && place < chosen.length) location.hash = `sample=${chosen[place]}`;
});
const isOpen = () => !element("detail-view").hidden;

function showChosen() {
  chosen = select(state, filter);
  grid.show(chosen);
  const name = filter.class ? state.classNames.get(filter.class) : "All pictures";
  element("grid-title").textContent = name;
  const mean = (score) => {
    const found = chosen.map((index) => state.samples.scores[index][score]).filter((value) => value !== undefined && value !== null);
    return found.length ? (found.reduce((sum, value) => sum + value, 0) / found.length).toFixed(3) : null;
  };
  const facts = [`${chosen.length.toLocaleString("en")} of ${state.count.toLocaleString("en")} pictures`];
  for (const [what, score] of [["mean presence", "presence"], ["mean area", "area"]]) {
    const value = filter.class ? mean(`${score}.${filter.class}`) : null;
    if (value) facts.push(`${what} ${value}`);
  }
  element("grid-about").textContent = facts.join(" · ");
}

function showCounts() {
  const decisions = Object.values(state.decisions.samples);
  const count = (test) => decisions.filter(test).length;
  const words = [["kept", (one) => one.keep === true], ["dropped", (one) => one.keep === false], ["corrected", (one) => one.corrected]];
  element("counts").textContent = words.map(([word, test]) => `${count(test)} ${word}`).join(" · ");
}

// Controls

function outputs() {
  const exponent = dataset.exponents[element("exponent").value];
  for (const output of document.querySelectorAll("output")) {
    const input = element(output.htmlFor[0]);
    output.textContent = input.id === "exponent" ? exponent : input.step === "1" ? input.value : Number(input.value).toFixed(2);
  }
}

const forOne = () => isOpen() && document.querySelector('input[name="scope"]:checked').value === "one";

function showSettings() {
  const settings = forOne() ? state.settingsOf(detail.index) : state.decisions.label ?? dataset.label;
  element("threshold").value = settings.threshold;
  element("band").value = settings.uncertainty_threshold;
  element("exponent").value = dataset.exponents.indexOf(settings.exponent);
  element("refine").value = settings.refine;
  outputs();
}

function changeSettings(event) {
  const [threshold, band] = [element("threshold"), element("band")];
  if (Number(band.value) > Number(threshold.value)) {
    if (event.target === band) threshold.value = band.value;
    else band.value = threshold.value;
  }
  const settings = {
    exponent: dataset.exponents[element("exponent").value],
    threshold: Number(threshold.value),
    uncertainty_threshold: Number(band.value),
    refine: element("refine").value,
  };
  outputs();
  state.relabel(settings, forOne() ? detail.index : null);
}

for (const { id, name } of dataset.classes) element("class").append(new Option(name, id));
element("exponent").max = Math.max(0, dataset.exponents.length - 1);
element("labelling").disabled = !dataset.exponents.length;
element("name").textContent = dataset.name;
document.title = `${dataset.name} · studio`;
if (matchMedia("(max-width: 860px)").matches) element("controls").open = false;

element("class").addEventListener("change", ({ target }) => {
  filter.class = Number(target.value);
  if (filter.class && filter.order === "index") element("order").value = filter.order = "presence";
  location.hash = filter.class ? `class=${filter.class}` : "";
  showChosen();
});
for (const name of ["order", "state"]) {
  element(name).addEventListener("change", ({ target }) => { filter[name] = target.value; showChosen(); });
}
for (const name of ["search", "presence", "uncertain", "disagreement"]) {
  element(name).addEventListener("input", ({ target }) => {
    filter[name] = name === "search" ? target.value : Number(target.value);
    outputs();
    showChosen();
  });
}
for (const name of ["threshold", "band", "exponent", "refine"]) element(name).addEventListener("input", changeSettings);
element("reset").addEventListener("click", () => {
  state.relabel(null, forOne() ? detail.index : null);
  showSettings();
});
element("scope").addEventListener("change", showSettings);
element("overlay").addEventListener("input", ({ target }) => {
  document.documentElement.style.setProperty("--overlay", target.value);
  outputs();
});
element("brush-size").addEventListener("input", outputs);
document.querySelector("aside form").addEventListener("submit", (event) => event.preventDefault());

// What happens to decisions

state.addEventListener("decided", ({ detail: index }) => {
  grid.redraw(index);
  if (isOpen() && index === detail.index) detail.redraw();
  showCounts();
});
state.addEventListener("relabelled", ({ detail: index }) => {
  if (!isOpen()) grid.redraw(index);
  else {
    detail.redraw();
    detail.showHeatmaps();
  }
});
state.addEventListener("problem", ({ detail: message }) => {
  element("problem").textContent = message;
  element("problem").hidden = false;
});
state.addEventListener("saved", () => {
  element("problem").hidden = true;
  document.body.dataset.saved = Number(document.body.dataset.saved ?? 0) + 1;
});

// Views by address

async function route() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const index = asked.has("sample") ? Number(asked.get("sample")) : null;
  const open = Number.isInteger(index) && index >= 0 && index < state.count;
  const former = detail.index;
  const closes = isOpen() && !open;
  element("grid-view").hidden = open;
  element("detail-view").hidden = !open;
  element("scope").hidden = !open;
  if (!open) document.querySelector('input[name="scope"][value="all"]').checked = true;
  const wanted = Number(asked.get("class"));
  if (state.classNames.has(wanted) && wanted && wanted !== filter.class) {
    element("class").value = filter.class = wanted;
    element("order").value = filter.order = "presence";
    showChosen();
  }
  if (open) {
    scrollTo(0, 0);
    const shown = detail.show(index);
    showSettings();
    await shown;
  } else if (closes) {
    showSettings();
    grid.redraw();
    grid.focus(former);
  }
}

const closeDetail = () => { location.hash = filter.class ? `class=${filter.class}` : ""; };
addEventListener("hashchange", route);
element("back").addEventListener("click", closeDetail);

addEventListener("keydown", (event) => {
  if (!isOpen() || event.ctrlKey || event.metaKey || event.altKey || element("steps").open) return;
  const key = event.key.toLowerCase();
  const typing = event.target.matches("select, [type=search]");
  const sliding = event.target.matches("input") && key.startsWith("arrow");
  if ((typing || sliding) && key !== "escape") return;
  const actions = {
    escape: closeDetail,
    arrowleft: () => detail.go(-1),
    arrowright: () => detail.go(1),
    k: () => state.decide(detail.index, { keep: true }),
    d: () => state.decide(detail.index, { keep: false }),
    u: () => state.decide(detail.index, { keep: null }),
    b: () => element("brush").click(),
    z: () => detail.undo(),
    s: () => detail.save(),
  };
  if (!(key in actions)) return;
  event.preventDefault();
  actions[key]();
});

addEventListener("pagehide", () => state.flush());

// What to do with it

const quoted = (path) => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);
element("open-steps").addEventListener("click", () => {
  const { folder, dataset: source } = dataset.paths;
  const decided = Object.values(state.decisions.samples);
  const names = { relabel: "relabelled", "import-labels": "corrected", filter: "kept" };
  const steps = [];
  if (state.decisions.label || decided.some((one) => one.label)) steps.push("relabel");
  if (decided.some((one) => one.corrected)) steps.push("import-labels");
  if (decided.some((one) => one.keep === false)) steps.push("filter");
  let from = source;
  const lines = steps.map((step) => {
    const out = `${source}-${names[step]}`;
    const words = { relabel: `--decisions ${quoted(folder)}`, "import-labels": quoted(folder), filter: `--decisions ${quoted(folder)}` };
    const line = `dataset-diffusion ${step} ${quoted(from)} ${words[step]} --out ${quoted(out)}`;
    from = out;
    return line;
  });
  element("folder").textContent = folder;
  element("commands").textContent = lines.join("\n") || "Nothing is decided yet.";
  element("steps").showModal();
});
element("close-steps").addEventListener("click", () => element("steps").close());

// The segmenter's opinion comes in as it is computed.

async function watchSegmenter() {
  const goesOn = await state.compareWithSegmenter();
  if (goesOn) setTimeout(watchSegmenter, 3000);
  else if (filter.order === "disagreement" || filter.disagreement > 0) showChosen();
}
if (dataset.has_segmenter) {
  element("disagreement-row").hidden = false;
  element("order").querySelector('[value="disagreement"]').hidden = false;
  watchSegmenter();
}

showSettings();
showCounts();
showChosen();
await route();
document.body.dataset.ready = "yes";
setTimeout(() => state.warmUp(), 1500);
