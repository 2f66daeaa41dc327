// The page: dials on the left, the picture that can be painted on, token maps to choose from.

import { likeliest } from "./drawing.js";
import { keepTokens, swapToken } from "./editing.js";
import { isPressed, makeGrid, makePaintable, press } from "./grid.js";
import { imageSeed } from "./hash.js";
import { openModel } from "./model.js";
import { codeColour, scaleColour, show } from "./pictures.js";
import { sample } from "./sampling.js";

const CHOICES = 5;
const find = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

let model;
let cells = { mask: [], scales: [] }; // buttons
let picture = null; // what is shown: {request, steps: what `sample` gave}
let pictures = 0; // drawn since the page was opened
let label = 9;

// One thing at a time: the graphs cannot be run twice at once. Of what is asked for meanwhile only the last is done.

let turn = 0;
let atWork = Promise.resolve();

function ask(job) {
  const mine = ++turn;
  const isOld = () => mine !== turn;
  atWork = atWork.then(() => (isOld() ? null : job(isOld))).catch((error) => say(`That failed: ${error.message}`));
  return atWork;
}

const say = (text) => (find("status").textContent = text);

// Drawing

/** The dials as they are now. */
const dials = () => ({
  label,
  cfg: Number(find("cfg").value),
  topP: Number(find("topp").value),
  seed: BigInt(find("seed").value),
});

/** Draws, shows each scale as it comes, and keeps the result. `request` is `dials()`, and perhaps `replace`. */
function drawPicture(request, done) {
  return ask(async (isOld) => {
    find("scales").classList.add("waiting");
    const start = performance.now();
    const seed = imageSeed(request.seed, request.label);
    const steps = [];
    for await (const step of sample(model, { ...request, seed })) {
      steps.push(step);
      showStep(step);
      await new Promise((seen) => setTimeout(seen));
      if (isOld()) return;
    }
    picture = { request, steps };
    find("scales").classList.remove("waiting");
    say(`${done} in ${((performance.now() - start) / 1000).toFixed(2)} s.`);
    find("status").dataset.pictures = ++pictures;
    updateButtons();
  });
}

function drawNew() {
  if (!model || !find("dials").reportValidity()) return;
  const request = dials();
  closeToken();
  find("fill").value = label;
  const { cfg, topP, seed } = request;
  find("command").textContent =
    `varlite sample --classes ${label} --num-per-class 1 --seed ${seed} --cfg ${cfg} --top-p ${topP}`;
  history.replaceState(null, "", `#class=${label}&seed=${seed}&cfg=${cfg}&topp=${topP}`);
  return drawPicture(request, `Drawn: ${model.classes[label]}`);
}

const tokensOf = ({ steps }) => steps.map((step) => step.tokens);

function inPaint() {
  const { request } = picture;
  const fill = { ...request, label: Number(find("fill").value), seed: request.seed + 1n };
  find("mask").classList.add("done"); // thin frames, so that what is drawn can be seen
  fill.replace = keepTokens(tokensOf(picture), cells.mask.map((cell) => !isPressed(cell)), model.scales);
  closeToken();
  return drawPicture(fill, `In-painted as ${model.classes[fill.label]} with seed ${fill.seed}`);
}

function swap(k, i, code) {
  const keepFiner = find("token").querySelector("input:checked").value === "kept";
  const request = { ...picture.request, replace: swapToken(tokensOf(picture), k, i, code, keepFiner) };
  return drawPicture(request, `Swapped for code ${code}, and drawn`);
}

// Showing

function showStep({ k, tokens, image }) {
  show(find("picture").querySelector("canvas"), image, model.about.image);
  const { canvas, buttons } = cells.scales[k];
  show(canvas, image, model.about.image);
  for (const [i, button] of buttons.entries()) {
    button.style.setProperty("--code", codeColour(tokens[i], model.vocab));
    button.dataset.code = tokens[i];
    button.title = `code ${tokens[i]}`;
  }
}

/** The five likeliest codes of a token, each with the picture up to its scale. */
function showChoices(k, i) {
  const [, w] = model.scales[k];
  return ask(async (isOld) => {
    if (!picture) return;
    const { tokens, rows, before } = picture.steps[k];
    const choices = likeliest(rows[i], CHOICES);
    const maps = choices.map(({ code }) => tokens.map((old, place) => (place === i ? code : old)));
    const images = await model.decode((await model.add(k, before, ...maps)).fHat);
    if (isOld()) return;
    const place = `row ${Math.floor(i / w) + 1}, column ${(i % w) + 1}`;
    find("token-title").textContent = `${model.scales[k].join(" × ")}, ${place}: code ${tokens[i]}`;
    find("choices").replaceChildren(...choices.map(({ code, p }, n) => choice(code, p, images[n], tokens[i], k, i)));
    find("token").hidden = false;
    markToken(k, i);
  });
}

function markToken(k, i) {
  for (const [scale, { buttons }] of cells.scales.entries())
    buttons.forEach((button, place) => press(button, scale === k && place === i));
}

function closeToken() {
  find("token").hidden = true;
  markToken(-1);
}

function choice(code, p, image, now, k, i) {
  const canvas = make("canvas");
  show(canvas, image, model.about.image);
  const button = make("button", { type: "button" }, canvas, `${code}: ${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`);
  button.dataset.code = code;
  press(button, code === now);
  button.addEventListener("click", async () => {
    await swap(k, i, code);
    await showChoices(k, i);
  });
  return button;
}

function updateButtons() {
  const painted = cells.mask.some(isPressed);
  find("inpaint").disabled = !painted || !picture;
  find("clear").disabled = !painted;
}

// Building the page

function buildScales() {
  const boxes = model.scales.map((shape, k) => {
    const canvas = make("canvas", { ariaLabel: `the picture after scale ${k + 1}` });
    const grid = make("div", { className: "grid", ariaLabel: `tokens of scale ${k + 1}` });
    grid.setAttribute("role", "group");
    const buttons = makeGrid(grid, shape, (row, column) => `scale ${k + 1}, row ${row}, column ${column}`);
    buttons.forEach((button, i) => button.addEventListener("click", () => showChoices(k, i)));
    cells.scales.push({ canvas, buttons });
    const box = make("div", { className: "scale" }, make("h3", { textContent: shape.join(" × ") }), canvas, grid);
    box.style.setProperty("--colour", scaleColour(k));
    return box;
  });
  find("scales").replaceChildren(...boxes);
}

function buildMask() {
  const last = model.scales[model.scales.length - 1];
  cells.mask = makeGrid(find("mask"), last, (row, column) => `redraw row ${row}, column ${column}`);
  makePaintable(find("mask"), cells.mask, () => {
    find("mask").classList.remove("done");
    updateButtons();
  });
  find("clear").addEventListener("click", () => {
    cells.mask.forEach((cell) => press(cell, false));
    updateButtons();
  });
  find("inpaint").addEventListener("click", inPaint);
}

function buildClasses() {
  const buttons = model.classes.map((name, i) => {
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => choose(i));
    return button;
  });
  const choose = (i) => {
    label = i;
    buttons.forEach((button, other) => press(button, other === i));
    drawNew();
  };
  find("classes").append(...buttons);
  find("fill").append(...model.classes.map((name, i) => make("option", { value: i, textContent: name })));
  choose(label);
}

function connectDials() {
  const showDials = () => {
    find("cfg-shown").textContent = find("cfg").value;
    find("topp-shown").textContent = find("topp").value;
  };
  for (const id of ["cfg", "topp"]) {
    find(id).addEventListener("input", showDials);
    find(id).addEventListener("change", drawNew);
  }
  find("dials").addEventListener("submit", (event) => {
    event.preventDefault();
    drawNew();
  });
  find("next").addEventListener("click", () => {
    if (!find("seed").reportValidity()) return;
    find("seed").value = BigInt(find("seed").value || 0) + 1n;
    drawNew();
  });
  find("theme").addEventListener("click", () => {
    const { style } = document.documentElement;
    const dark = style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    style.colorScheme = dark === "dark" ? "light" : "dark";
  });
  showDials();
}

/** Takes the dials from the address, so that a link leads to a picture. */
function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const id of ["seed", "cfg", "topp"]) if (asked.has(id)) find(id).value = asked.get(id);
  if (!find("seed").checkValidity()) find("seed").value = "0";
  if (Number(asked.get("class")) in model.classes && asked.get("class")) label = Number(asked.get("class"));
}

async function main() {
  model = await openModel("model", (share) => say(`Loading the model: ${Math.round(100 * share)} %`));
  find("model").textContent = model.about.model;
  readAddress();
  connectDials();
  buildScales();
  buildMask();
  find("draw").disabled = false;
  buildClasses();
}

main().catch((error) => say(`The model could not be opened: ${error.message}`));
