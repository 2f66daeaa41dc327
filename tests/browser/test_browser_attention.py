"""The picker of notebook 04 in JupyterLab in a real browser: the notebook as far as that. nbval runs all of it."""

from pathlib import Path

import pytest
from jupyter_server import NotebookPage

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04_attention_maps.ipynb"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_position_chosen_by_mouse_or_keyboard_changes_the_map(lab, page):
    notebook = NotebookPage(page, lab.as_far_as(NOTEBOOK, r"\nattention_explorer\("))
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.command("notebook:run-all-cells", seconds=240)
    errors = [o for cell in notebook.cells() for o in cell["outputs"] if o["output_type"] == "error"]
    assert [f"{o['ename']}: {o['evalue']}" for o in errors] == []

    grid, screen = page.get_by_role("grid", name="position"), page.locator("img.widget-image")
    cells, words = grid.get_by_role("gridcell"), page.locator(".widget-html-content", has_text="looks most at")
    assert cells.count() == 49
    chosen = grid.locator('[aria-selected="true"]')
    assert chosen.get_attribute("aria-label") == "row 4, column 4"

    def changed_by(action):
        """The map that `action` leads to: another picture than before, as the browser shows it."""
        before = screen.get_attribute("src")
        action()
        page.wait_for_function("old => document.querySelector('img.widget-image').src !== old", arg=before)
        return notebook.pixels("img.widget-image")

    first = notebook.pixels("img.widget-image")
    clicked = changed_by(lambda: cells.nth(8).click())
    assert clicked != first
    assert chosen.get_attribute("aria-label") == "row 2, column 2"
    words.get_by_text("Row 2, column 2").wait_for()

    # Focus is on the chosen position; the arrows must move it, and not take JupyterLab to another cell.
    right = changed_by(lambda: page.keyboard.press("ArrowRight"))
    down = changed_by(lambda: page.keyboard.press("ArrowDown"))
    assert chosen.get_attribute("aria-label") == "row 3, column 3" == page.evaluate("document.activeElement.ariaLabel")
    assert len({first, clicked, right, down}) == 4
    changed_by(lambda: [page.keyboard.press("ArrowUp"), page.keyboard.press("ArrowLeft")])
    page.wait_for_function("document.activeElement.ariaLabel === 'row 2, column 2'")

    # The two lists have labels, and Tab leaves the grid in one step.
    for name, option in (("picture", "3"), ("layer", "levels.2.attentions.0")):
        before = notebook.pixels("img.widget-image")
        assert changed_by(lambda: page.get_by_label(name, exact=True).select_option(option)) != before  # noqa: B023
    cells.nth(8).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") != "gridcell"
