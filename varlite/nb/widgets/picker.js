// A grid of buttons over a picture; the row and column of the chosen one go to Python.

function render({ model, el }) {
  const grid = document.createElement("div");
  grid.className = "varlite-picker";
  grid.setAttribute("role", "grid");
  el.append(grid);

  const cell = (row, column) => grid.children[row].children[column];
  const choose = (row, column) => {
    const [height, width] = [model.get("height"), model.get("width")];
    model.set("row", Math.max(0, Math.min(height - 1, row)));
    model.set("column", Math.max(0, Math.min(width - 1, column)));
    model.save_changes();
    cell(model.get("row"), model.get("column")).focus();
  };
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  grid.addEventListener("keydown", (event) => {
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [down, right] = moves[event.key];
    choose(model.get("row") + down, model.get("column") + right);
  });

  const mark = () => {
    for (const [i, row] of [...grid.children].entries())
      for (const [j, button] of [...row.children].entries()) {
        const chosen = i === model.get("row") && j === model.get("column");
        button.setAttribute("aria-selected", chosen);
        button.tabIndex = chosen ? 0 : -1;  // one stop for Tab; the arrow keys go on from there
      }
  };
  for (let i = 0; i < model.get("height"); i++) {
    const row = grid.appendChild(document.createElement("div"));
    row.setAttribute("role", "row");
    for (let j = 0; j < model.get("width"); j++) {
      const button = row.appendChild(document.createElement("button"));
      button.setAttribute("role", "gridcell");
      button.setAttribute("aria-label", `row ${i + 1}, column ${j + 1}`);
      button.onclick = () => choose(i, j);
    }
  }
  const paint = () => { grid.style.backgroundImage = `url(${model.get("picture")})`; };
  const label = () => grid.setAttribute("aria-label", model.get("label"));
  const listeners = [["change:row", mark], ["change:column", mark], ["change:picture", paint], ["change:label", label]];
  for (const [event, update] of listeners) { model.on(event, update); update(); }
  return () => { for (const [event, update] of listeners) model.off(event, update); };
}
export default { render };
