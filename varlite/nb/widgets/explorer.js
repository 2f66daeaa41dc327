// The pyramid of one sample: tokens to click, what the chosen one looks at, the picture after each scale, other codes.
// `model` is anywidget's, or on a page without a kernel the stand-in of explorer_still.js.

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function render({ model, el }) {
  const frame = model.get("frame");
  el.classList.add("varlite-explorer");
  // Else JupyterLab takes letters for commands to the notebook: d d deletes the cell.
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  el.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });
  const make = (tag, parent, properties = {}, attributes = {}) => {
    const node = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    parent.append(node);
    return node;
  };
  const percent = (p) => (p >= 0.0995 ? `${Math.round(100 * p)} %` : p >= 0.001 ? `${(100 * p).toFixed(1)} %` : p > 0 ? "< 0.1 %" : "0 %");

  // One question at a time; of those asked meanwhile the last.
  let [waiting, next] = [false, null];
  const ask = (message) => {
    if (waiting) return void (next = message);
    waiting = true;
    el.setAttribute("aria-busy", "true");
    model.send(message);
  };
  const answered = () => {
    waiting = false;
    el.removeAttribute("aria-busy");
    const message = next;
    next = null;
    if (message) ask(message);
  };

  // Controls

  const bar = make("div", el, { className: "bar" }, { role: "toolbar", "aria-label": "Sample" });
  const labelled = (name, tag, properties, options = []) => {
    const label = make("label", bar, { textContent: `${name} ` });
    const control = make(tag, label, properties);
    options.forEach((text, value) => make("option", control, { textContent: text, value }));
    return control;
  };
  const draw = () => ask({ do: "draw", label: Number(kind.value), seed: seed.value.trim() });
  let kind = null, seed = null;
  if (!frame.still) {
    kind = labelled("class", "select", { onchange: draw }, frame.classes);
    seed = labelled("seed", "input", { type: "number", min: 0, step: 1, onchange: draw });
  }
  const layers = Array.from({ length: frame.layers }, (_, i) => `layer ${i + 1}`);
  const layer = labelled("attention of", "select", { onchange: () => look() }, layers);
  layer.value = frame.layers - 1;
  const again = make("button", bar, { onclick: () => ask({ do: "redraw", k: model.get("detail").k }) });
  const undo = make("button", bar, { textContent: "Undo", onclick: () => ask({ do: "undo" }) });

  // The scales, and the chosen token

  const body = make("div", el, { className: "body" });
  const pyramid = make("div", body, { className: "pyramid" });
  const choose = (k, row, column, focus) => {
    const [h, w] = frame.shapes[k];
    const place = Math.max(0, Math.min(h - 1, row)) * w + Math.max(0, Math.min(w - 1, column));
    if (focus) cards[k].cells[place].focus();
    ask({ do: "choose", k, place });
  };
  const cards = frame.shapes.map(([h, w], k) => {
    const card = make("div", pyramid, { className: "card" });
    card.style.setProperty("--scale", frame.palette[k][Math.floor(0.6 * frame.palette[k].length)]);
    card.style.setProperty("--side", `${Math.max(112, 9 * Math.max(h, w))}px`);
    make("div", card, { className: "name", textContent: frame.names[k] });
    const grid = make("div", card, { className: "grid" }, { role: "grid", "aria-label": `tokens of ${frame.names[k]}` });
    grid.style.aspectRatio = `${w} / ${h}`;
    const cells = [];
    for (let i = 0; i < h; i++) {
      const row = make("div", grid, {}, { role: "row" });
      for (let j = 0; j < w; j++)
        cells.push(make("button", row, { onclick: () => choose(k, i, j) }, { role: "gridcell" }));
    }
    grid.addEventListener("keydown", (event) => {
      const at = cells.indexOf(event.target);
      if (!(event.key in MOVES) || at < 0) return;
      event.preventDefault();
      const [down, right] = MOVES[event.key];
      choose(k, Math.floor(at / w) + down, (at % w) + right, true);
    });
    const share = make("div", card, { className: "note" });
    const looks = make("canvas", card, { width: w, height: h }, { role: "img" });
    looks.style.aspectRatio = `${w} / ${h}`;
    make("div", card, { className: "note", textContent: "picture so far" });
    const picture = make("img", card, { alt: `the picture after ${frame.names[k]}` });
    return { cells, share, looks, picture };
  });
  const choice = make("div", body, { className: "choice" });
  const title = make("div", choice, { className: "title" }, { "aria-live": "polite" });
  const codes = make("div", choice, { className: "codes" }, { role: "group", "aria-label": "likeliest codes" });
  const note = make("div", choice, { className: "note" });
  const ends = make("div", choice, { className: "ends" });
  const words = make("div", el, { className: "words" }, { "aria-live": "polite" });

  // What is on the screen

  let before = null; // the sample shown before this one
  let shown = null;
  const look = () => {
    const { k, place, attention } = model.get("detail");
    const row = attention[layer.value];
    const [top, all] = [Math.max(...row), row.reduce((a, b) => a + b, 0)];
    let start = 0;
    cards.forEach(({ share, looks }, i) => {
      const part = row.slice(start, start + looks.width * looks.height);
      start += looks.width * looks.height;
      const mass = percent(part.reduce((a, b) => a + b, 0) / all);
      share.textContent = i > k ? "finer: hidden" : `attention: ${mass}`;
      looks.setAttribute("aria-label", i > k ? "hidden" : `${mass} of the attention goes to ${frame.names[i]}`);
      looks.classList.toggle("hidden", i > k);
      const context = looks.getContext("2d");
      part.forEach((weight, at) => {
        context.fillStyle = frame.heat[Math.min(frame.heat.length - 1, Math.floor((weight / top) * frame.heat.length))];
        const spot = [at % looks.width, Math.floor(at / looks.width), 1, 1];
        i > k ? context.clearRect(...spot) : context.fillRect(...spot);
      });
    });
  };
  const paint = () => {
    const [view, detail] = [model.get("view"), model.get("detail")];
    if (view !== shown) [before, shown] = [view.fresh ? null : shown, view];
    cards.forEach(({ cells, picture }, k) => {
      picture.src = view.pictures[k];
      const [, w] = frame.shapes[k];
      cells.forEach((cell, at) => {
        const code = view.tokens[k][at];
        const chosen = k === detail.k && at === detail.place;
        const changed = before !== null && before.tokens[k][at] !== code;
        cell.style.backgroundColor = frame.palette[k][frame.shades[code]];
        cell.classList.toggle("changed", changed);
        cell.setAttribute("aria-selected", chosen);
        const name = `row ${Math.floor(at / w) + 1}, column ${(at % w) + 1}: code ${code}${changed ? ", changed" : ""}`;
        cell.setAttribute("aria-label", name);
        cell.title = name;
        cell.tabIndex = chosen || (k !== detail.k && at === 0) ? 0 : -1; // one stop for Tab; arrow keys go on
      });
    });
    if (kind) [kind.value, seed.value] = [view.label, view.seeds[0]];
    again.textContent = `Re-draw from ${frame.names[detail.k]} on`;
    undo.disabled = !view.undo;
    look();
    candidates(view, detail);
    words.textContent = detail.error || view.words;
    words.classList.toggle("error", Boolean(detail.error));
  };
  const candidates = (view, { k, place, codes: offered }) => {
    const [, w] = frame.shapes[k];
    const own = view.tokens[k][place];
    title.textContent = `${frame.names[k]}, row ${Math.floor(place / w) + 1}, column ${(place % w) + 1}: code ${own}`;
    const focused = [...codes.children].indexOf(document.activeElement);
    codes.replaceChildren();
    const most = Math.max(...offered.map(({ p }) => p));
    for (const { code, p, after, end } of offered) {
      const button = make("button", codes, { onclick: () => ask({ do: "swap", k, place, code }) }, {
        "aria-pressed": code === own,
        "aria-label": `code ${code}, ${percent(p)}${code === own ? ", in use" : ""}`,
      });
      make("img", button, { src: after, alt: "" });
      if (after !== end) make("img", button, { src: end, alt: "" });
      make("span", button, { textContent: `${code}` });
      make("b", button, { textContent: percent(p) });
      make("i", button).style.width = `${Math.round((100 * p) / most)}%`;
    }
    if (focused >= 0) codes.children[Math.min(focused, offered.length - 1)].focus();
    const last = k === frame.shapes.length - 1;
    note.textContent = `Its likeliest codes, and the picture with each: ${last ? "the last scale has no finer one." : `after ${frame.names[k]}, and in the end.`} A click swaps the code.${before ? " Blue corners above: tokens that changed." : ""}`;
    ends.replaceChildren();
    for (const [name, from] of [["before", before], ["now", view]])
      if (from) {
        const figure = make("figure", ends);
        make("img", figure, { src: from.pictures.at(-1), alt: `the whole picture ${name}` });
        make("figcaption", figure, { textContent: name });
      }
  };
  const listeners = [["change:view", paint], ["change:detail", () => { paint(); answered(); }]];
  for (const [event, update] of listeners) model.on(event, update);
  paint();
  return () => {
    for (const [event, update] of listeners) model.off(event, update);
  };
}
export default { render };
