"""Keys pressed on a control of a widget stay there: to a notebook they are commands, and d d deletes the cell."""

import anywidget


class KeepKeys(anywidget.AnyWidget):
    """An invisible child of a box of controls, which keeps the keys of all of them from the page.

    JupyterLab looks for shortcuts when a key comes up to the document, and asks only the focused element itself whether
    they are to be suppressed; so the box stops the key on its way. Control, Alt and Command still reach the page.
    """

    _esm = """
    function render({ el }) {
      el.style.display = "none";
      const stop = (event) => {
        if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
      };
      const find = () => {
        const box = el.parentElement?.closest(".widget-box");
        if (box) box.addEventListener("keydown", stop);
        else waiting = requestAnimationFrame(find); // until it is put into the box
      };
      let waiting = requestAnimationFrame(find);
      return () => cancelAnimationFrame(waiting);
    }
    export default { render };
    """
