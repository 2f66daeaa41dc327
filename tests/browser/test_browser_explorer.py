"""The pyramid explorer in a real browser, by mouse and keyboard: in JupyterLab, and as a page without a kernel."""

import pytest
import torch
from jupyter_server import NotebookPage

from varlite.checkpoints.load import load
from varlite.datasets.fashion import FASHION_CLASSES
from varlite.nb.pyramid import sample_pyramid
from varlite.nb.pyramid_page import explorer_html

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import torch
import varlite
from varlite.datasets.fashion import FASHION_CLASSES
from varlite.nb.widgets.explorer import PyramidExplorer

torch.set_num_threads(1)
explorer = PyramidExplorer(*varlite.load("fashion-var-d4"), FASHION_CLASSES, label=9)
explorer
"""


def state(page):
    """Codes and pictures of all scales, as the page has them."""
    return page.evaluate("""() => [...document.querySelectorAll('.varlite-explorer .card')].map(card => [
        [...card.querySelectorAll('[role=gridcell]')].map(cell => cell.ariaLabel.match(/code \\d+/)[0]),
        card.querySelector('img').src,
    ])""")


def settled(page):
    page.wait_for_function("() => !document.querySelector('.varlite-explorer[aria-busy]')")
    return state(page)


def token(page, side, place):
    return page.get_by_role("grid", name=f"tokens of {side} x {side}").get_by_role("gridcell").nth(place)


def swap_and_redraw(page):
    """By mouse and keyboard: the same in a notebook and on a page."""
    first = settled(page)
    words, codes = page.locator(".varlite-explorer .words"), page.locator(".varlite-explorer .codes button")
    token(page, 3, 4).click()
    page.get_by_text("3 x 3, row 2, column 2: code").wait_for()
    assert settled(page) == first  # a look changes nothing
    assert codes.count() in (5, 6) and page.get_by_text("finer: hidden").count() == 2

    codes.locator("visible=true").and_(page.locator("[aria-pressed=false]")).first.click()
    words.get_by_text("in place of").wait_for()
    swapped = settled(page)
    differ = [sum(a != b for a, b in zip(x[0], y[0], strict=True)) for x, y in zip(first, swapped, strict=True)]
    assert differ[:3] == [0, 0, 1] and differ[3] > 0 and differ[4] > 0
    assert [a[1] == b[1] for a, b in zip(first, swapped, strict=True)] == [True, True, False, False, False]
    assert page.locator(".varlite-explorer .changed").count() == sum(differ)
    page.get_by_role("button", name="Undo").press("Enter")
    page.wait_for_function("() => !document.querySelector('.varlite-explorer .changed')")
    assert settled(page) == first

    token(page, 5, 0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.get_by_text("5 x 5, row 2, column 2: code").wait_for()
    assert page.evaluate("document.activeElement.ariaLabel").startswith("row 2, column 2")
    page.get_by_role("button", name="Re-draw from 5 x 5 on").press("Enter")
    words.get_by_text("Drawn again from 5 x 5 on, with seed 1").wait_for()
    again = settled(page)
    assert again[:3] == first[:3] and again[3][0] != first[3][0] and again[4] != first[4]

    looks = page.locator(".varlite-explorer canvas").nth(3)
    before = looks.evaluate("canvas => canvas.toDataURL()")
    page.get_by_label("attention of").select_option("layer 1")
    assert looks.evaluate("canvas => canvas.toDataURL()") != before
    return first


def test_a_token_can_be_looked_at_swapped_and_drawn_on_from_in_jupyterlab(lab, page):
    notebook = NotebookPage(page, lab.with_cells(SETUP))
    notebook.command("notebook:run-all-cells", seconds=120)
    page.wait_for_selector(".varlite-explorer .codes button")
    first = swap_and_redraw(page)
    assert "image/png" in notebook.cells()[0]["outputs"][0]["data"]  # for pages that show no widgets

    page.get_by_label("class").select_option("bag")
    page.get_by_text("bag, seed 0").wait_for()
    assert settled(page)[0] != first[0]
    page.get_by_label("seed").fill("1.5")
    page.keyboard.press("Enter")
    page.get_by_text("seed: type a whole number from 0 on").wait_for()
    page.get_by_label("seed").fill("3")
    page.keyboard.press("Enter")
    page.get_by_text("bag, seed 3").wait_for()
    assert len(notebook.cells()) == 1


def test_the_page_needs_no_kernel_and_asks_no_host(tmp_path, page):
    torch.set_num_threads(1)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    model, tokenizer = load("fashion-var-d4")
    (tmp_path / "page.html").write_text(explorer_html(model, tokenizer, FASHION_CLASSES, label=9))
    page.goto((tmp_path / "page.html").as_uri())
    first = swap_and_redraw(page)
    sample = sample_pyramid(model, tokenizer, 9)
    assert [codes for codes, _ in first] == [[f"code {v}" for v in idx_l.tolist()] for idx_l in sample.idx]
    assert errors == [] and all(url.startswith(("file:", "data:")) for url in asked)
    page.set_viewport_size({"width": 420, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
