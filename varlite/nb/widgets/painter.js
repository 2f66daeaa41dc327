// A picture to paint a mask on. The mask goes to Python as a string of 0 (keep) and 1 (repaint), row by row.

const TOOLS = { Brush: 1, Eraser: 0, Box: 1 };
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const SIDE = 336; // of the canvas on the screen, at least

function render({ model, el }) {
  const [H, W] = [model.get("height"), model.get("width")];
  const zoom = Math.ceil(SIDE / Math.max(H, W));
  // Else JupyterLab takes arrow keys and letters for commands to the notebook: d d deletes the cell.
  el.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });
  el.classList.add("varlite-painter");

  const make = (tag, parent, properties = {}, attributes = {}) => {
    const node = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    parent.append(node);
    return node;
  };
  const bar = make("div", el, {}, { role: "toolbar", "aria-label": "Tools of the mask" });
  const canvas = make("canvas", el, { width: W * zoom, height: H * zoom, tabIndex: 0 }, {
    role: "application",
    "data-lm-suppress-shortcuts": "true", // Control Z, too
    "aria-label": `Mask, ${H} by ${W} pixels. Arrow keys move, with Shift further; Space paints or erases; Control Z undoes.`,
  });
  const words = make("div", el, {}, { "aria-live": "polite" });
  const context = canvas.getContext("2d");
  const veil = new OffscreenCanvas(W, H);
  const picture = new Image();

  let mask = new Uint8Array(H * W);
  let tool = "Brush";
  let brush = Math.max(1, Math.round(Math.max(H, W) / 9));
  let cursor = [Math.floor(H / 2), Math.floor(W / 2)];
  let corner = null; // of a box under way
  let stroke = false;
  const past = [];

  // What is on the screen

  const draw = () => {
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (picture.complete && picture.naturalWidth) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const pixels = new ImageData(W, H);
    mask.forEach((on, i) => {
      const light = ((i % W) + Math.floor(i / W)) % 2; // chequered: it shows on any picture, printed in grey too
      if (on) pixels.data.set([255, light ? 150 : 110, 0, light ? 190 : 140], 4 * i);
    });
    veil.getContext("2d").putImageData(pixels, 0, 0);
    context.drawImage(veil, 0, 0, canvas.width, canvas.height);
    const [top, left, side] = tool === "Box" ? [...cursor, 1] : [...origin(cursor), brush];
    for (const [colour, width] of [["white", 4], ["#0072b2", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(left * zoom, top * zoom, side * zoom, side * zoom);
    }
    const share = mask.reduce((sum, on) => sum + on, 0) / mask.length;
    const here = mask[cursor[0] * W + cursor[1]] ? "repaint" : "keep";
    words.textContent =
      `row ${cursor[0] + 1}, column ${cursor[1] + 1}: ${here}; ${(100 * share).toFixed(1)} % to repaint` +
      (corner && !stroke ? "; Space sets the other corner" : "");
  };

  // Changes of the mask

  const origin = ([y, x]) => [y - Math.floor((brush - 1) / 2), x - Math.floor((brush - 1) / 2)];
  const rectangle = (top, left, bottom, right, value) => {
    for (let y = Math.max(0, top); y <= Math.min(H - 1, bottom); y++)
      mask.fill(value, y * W + Math.max(0, left), y * W + Math.min(W - 1, right) + 1);
  };
  const stamp = (at, value) => {
    const [top, left] = origin(at);
    rectangle(top, left, top + brush - 1, left + brush - 1, value);
  };
  const line = ([y0, x0], [y1, x1], value) => {
    const steps = Math.max(Math.abs(y1 - y0), Math.abs(x1 - x0), 1);
    for (let i = 0; i <= steps; i++)
      stamp([Math.round(y0 + ((y1 - y0) * i) / steps), Math.round(x0 + ((x1 - x0) * i) / steps)], value);
  };
  const box = ([y0, x0], [y1, x1]) =>
    rectangle(Math.min(y0, y1), Math.min(x0, x1), Math.max(y0, y1), Math.max(x0, x1), 1);
  const remember = () => {
    past.push(mask.slice());
    if (past.length > 100) past.shift();
  };
  const send = () => {
    model.set("mask", mask.join(""));
    model.save_changes();
    draw();
  };
  const undo = () => {
    if (!past.length) return;
    mask = past.pop();
    send();
  };
  const all = (value) => {
    remember();
    mask = mask.map(value);
    send();
  };

  // Mouse, pen, finger

  const at = (event) => {
    const frame = canvas.getBoundingClientRect();
    const clip = (value, end) => Math.max(0, Math.min(end - 1, Math.floor(value * end)));
    return [clip((event.clientY - frame.top) / frame.height, H), clip((event.clientX - frame.left) / frame.width, W)];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || stroke) return;
    canvas.setPointerCapture(event.pointerId); // a stroke may leave the canvas and come back
    remember();
    stroke = true;
    cursor = corner = at(event);
    tool === "Box" ? box(corner, cursor) : stamp(cursor, TOOLS[tool]);
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = cursor;
    cursor = at(event);
    if (stroke && tool === "Box") {
      mask = past.at(-1).slice();
      box(corner, cursor);
    } else if (stroke) line(before, cursor, TOOLS[tool]);
    draw();
  });
  const end = () => {
    if (!stroke) return;
    stroke = false;
    corner = null;
    send();
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);

  // Keyboard

  canvas.addEventListener("keydown", (event) => {
    if (stroke) return;
    if (event.key in MOVES) {
      const step = event.shiftKey ? Math.max(2, brush) : 1;
      const [down, right] = MOVES[event.key];
      cursor = [
        Math.max(0, Math.min(H - 1, cursor[0] + down * step)),
        Math.max(0, Math.min(W - 1, cursor[1] + right * step)),
      ];
      draw();
    } else if (event.key === " " && tool === "Box" && !corner) {
      corner = cursor;
      draw();
    } else if (event.key === " ") {
      remember();
      if (tool === "Box") box(corner, cursor);
      else stamp(cursor, tool === "Brush" && !mask[cursor[0] * W + cursor[1]] ? 1 : 0);
      corner = null;
      send();
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
    else if (event.key === "Escape") {
      corner = null;
      draw();
    } else return;
    event.preventDefault();
  });

  // Controls

  const buttons = Object.keys(TOOLS).map((name) =>
    make("button", bar, {
      textContent: name,
      onclick: () => {
        tool = name;
        corner = null;
        for (const button of buttons) button.setAttribute("aria-pressed", button.textContent === tool);
        draw();
      },
    }, { "aria-pressed": name === tool }));
  const size = make("label", bar, { textContent: "Brush size " });
  make("input", size, {
    type: "range",
    min: 1,
    max: Math.max(2, Math.round(Math.max(H, W) / 3)),
    value: brush,
    oninput: (event) => {
      brush = Number(event.target.value);
      draw();
    },
  });
  make("button", bar, { textContent: "Invert", onclick: () => all((on) => 1 - on) });
  make("button", bar, { textContent: "Clear", onclick: () => all(() => 0) });
  make("button", bar, { textContent: "Undo", onclick: undo });
  // The mask goes with the click: a change of it that was sent just before may still be on its way.
  const edit = make("button", bar, {
    textContent: "Edit",
    className: "edit",
    onclick: () => model.send({ do: "edit", mask: mask.join("") }),
  });

  // What Python changes

  const take = () => {
    const given = model.get("mask");
    if (given === mask.join("")) return;
    mask = Uint8Array.from(given, Number);
    draw();
  };
  const load = () => {
    picture.src = model.get("picture");
  };
  const busy = () => {
    edit.disabled = model.get("busy");
  };
  picture.onload = draw;
  const listeners = [["change:mask", take], ["change:picture", load], ["change:busy", busy]];
  for (const [event, update] of listeners) model.on(event, update);
  load();
  busy();
  take();
  draw();
  return () => {
    for (const [event, update] of listeners) model.off(event, update);
  };
}
export default { render };
