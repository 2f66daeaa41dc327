"""The sampling panel in JupyterLab in a real browser, by keyboard and mouse: the notebook as far as its panel."""

from pathlib import Path

import pytest
from jupyter_server import NotebookPage

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "06_sampling.ipynb"
PICTURE = "img.widget-image"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def notebook(lab, page):
    notebook = NotebookPage(page, lab.as_far_as(NOTEBOOK, r"\npanel$"))
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.command("notebook:run-all-cells", seconds=240)
    errors = [o for cell in notebook.cells() for o in cell["outputs"] if o["output_type"] == "error"]
    assert [f"{o['ename']}: {o['evalue']}" for o in errors] == []
    page.get_by_text("5 images in").wait_for()
    return notebook


def test_the_panel_answers_mouse_and_keyboard(notebook, lab):
    page = notebook.page

    def finished():
        """The picture once the run is over, as the browser shows it."""
        page.wait_for_timeout(300)  # a run that was only asked for shows the message of the one before
        page.wait_for_function("() => !document.body.innerText.includes('drawing ...')")
        return notebook.pixels(PICTURE)

    def changed_by(action):
        before = page.locator(PICTURE).first.get_attribute("src")
        action()
        page.wait_for_function(f"old => document.querySelector('{PICTURE}').src !== old", arg=before)
        return finished()

    first = finished()
    wait_until_shown_in_shape(page, pictures=1)

    # A slider, by keyboard; the arrows must not take JupyterLab to another cell.
    handle = page.locator(".widget-hslider", has_text="cfg").locator(".noUi-handle")
    handle.focus()
    by_key = changed_by(lambda: [page.keyboard.press("ArrowRight") for _ in range(12)])
    assert by_key != first and handle.get_attribute("aria-valuenow") == "4.5"
    assert page.evaluate("document.activeElement.classList.contains('noUi-handle')")
    by_mouse = changed_by(lambda: drag(page, handle, 80))
    assert by_mouse != by_key and float(handle.get_attribute("aria-valuenow")) > 5

    # Every control has its label, and Tab goes through them all.
    assert changed_by(lambda: page.get_by_label("class").select_option("bag")) != by_mouse
    pinned = finished()
    page.get_by_role("button", name="Pin as A").click()
    page.get_by_text("no setting differs").wait_for()
    wait_until_shown_in_shape(page, pictures=2)
    seed = page.get_by_label("seed")
    seed.focus()
    changed_by(lambda: [page.keyboard.press("ArrowUp"), page.keyboard.press("Enter")])
    page.get_by_text("seed 0 → 1").wait_for()
    page.get_by_role("button", name="Unpin A").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Pin as A").wait_for()
    assert changed_by(lambda: page.get_by_label("smooth").press(" ")) != pinned

    # A wrong number is answered in the panel, and the next change recovers.
    before = finished()
    page.get_by_label("top-k").fill("600")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("top-k must be an integer from 0 (off) to the codebook size 512").wait_for()
    assert notebook.pixels(PICTURE) == before
    assert changed_by(lambda: [page.get_by_label("top-k").fill("3"), page.keyboard.press("Enter")]) != before
    assert page.get_by_role("alert").count() == 0

    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("saved out/panel/class8").wait_for()
    saved = sorted(path.suffix for path in (lab.folder / "out" / "panel").iterdir())
    assert saved == [".json", ".png"]


def wait_until_shown_in_shape(page, pictures):
    """As many pictures as that, each as wide for its height as its file is."""
    page.wait_for_function(
        """([selector, count]) => {
            const imgs = [...document.querySelectorAll(selector)].filter(img => img.clientHeight);
            const off = img => Math.abs(img.clientWidth / img.clientHeight - img.naturalWidth / img.naturalHeight);
            return imgs.length === count && imgs.every(img => off(img) < 0.05);
        }""",
        arg=[PICTURE, pictures],
    )


def drag(page, handle, by):
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by, y, steps=10)  # many changes, faster than they can be drawn
    page.mouse.up()
