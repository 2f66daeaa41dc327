// Cells to choose by mouse, finger or keyboard: one Tab stop, from where the arrow keys lead to the other cells.

export function makeGrid(box, [rows, columns], nameOf) {
  box.style.gridTemplate = `repeat(${rows}, 1fr) / repeat(${columns}, 1fr)`;
  const cells = Array.from({ length: rows * columns }, (_, i) => {
    const cell = document.createElement("button");
    cell.type = "button";
    cell.tabIndex = i ? -1 : 0;
    cell.setAttribute("aria-pressed", "false");
    cell.setAttribute("aria-label", nameOf(Math.floor(i / columns) + 1, (i % columns) + 1));
    return cell;
  });
  box.replaceChildren(...cells);
  box.addEventListener("focusin", ({ target }) => cells.forEach((cell) => (cell.tabIndex = cell === target ? 0 : -1)));
  box.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
    if (down === undefined) return;
    event.preventDefault();
    const i = cells.indexOf(event.target);
    const [row, column] = [Math.floor(i / columns) + down, (i % columns) + right];
    if (row >= 0 && row < rows && column >= 0 && column < columns) cells[row * columns + column].focus();
  });
  return cells;
}

export const isPressed = (cell) => cell.getAttribute("aria-pressed") === "true";
export const press = (cell, pressed) => cell.setAttribute("aria-pressed", String(pressed));

/** Cells that a pointer paints by dragging: the first one touched decides whether it paints or wipes. */
export function makePaintable(box, cells, onChange) {
  let painting = null;
  const paint = (cell) => {
    if (painting === null || !cells.includes(cell) || isPressed(cell) === painting) return;
    press(cell, painting);
    onChange();
  };
  box.addEventListener("pointerdown", (event) => {
    if (event.button || !cells.includes(event.target)) return;
    event.preventDefault();
    event.target.focus({ preventScroll: true });
    event.target.releasePointerCapture?.(event.pointerId);
    painting = !isPressed(event.target);
    paint(event.target);
  });
  addEventListener("pointermove", (event) => {
    if (painting !== null) paint(document.elementFromPoint(event.clientX, event.clientY));
  });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (painting = null));
  box.addEventListener("click", (event) => {
    if (event.detail || !cells.includes(event.target)) return; // a click of the keyboard: the pointer has painted already
    press(event.target, !isPressed(event.target));
    onChange();
  });
}
