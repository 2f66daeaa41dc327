"""What holds for every widget, in JupyterLab in a real browser: keys stay in it, it fits a window, it replays."""

import pytest
from jupyter_server import NotebookPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import torch
import varlite
from varlite.datasets.fashion import FASHION_CLASSES, FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.nb.order_films import side_by_side
from varlite.nb.widgets.explorer import PyramidExplorer
from varlite.nb.widgets.painter import Painter
from varlite.nb.widgets.panel import SamplingPanel
from varlite.nb.widgets.picker import attention_explorer
from varlite.nb.widgets.player import player

torch.set_num_threads(1)
model, tokenizer = varlite.load("fashion-var-d4")
image = to_float(FashionMNIST("test").images(torch.arange(1)))[0]
film = side_by_side(torch.rand(4, 2, 1, 28, 28), torch.rand(4, 2, 1, 28, 28))
"""
WIDGETS = [
    "SamplingPanel(model, tokenizer, FASHION_CLASSES, images=2)",
    "Painter(model, tokenizer, image, FASHION_CLASSES)",
    "attention_explorer([(image + 1) / 2], {'one': torch.rand(1, 49, 49).softmax(-1)}, (7, 7))",
    "player(film, milliseconds=100)",
    "PyramidExplorer(model, tokenizer, FASHION_CLASSES, label=9)",
]
FOCUSABLE = ":is(button, select, input, [tabindex='0'], .noUi-handle):not(:disabled):not([tabindex='-1'])"


@pytest.fixture(scope="module")
def address(lab):
    return lab.with_cells(SETUP, *WIDGETS)


@pytest.fixture
def notebook(address, page):
    notebook = NotebookPage(page, address)
    notebook.command("notebook:run-all-cells", seconds=120)
    errors = [o for cell in notebook.cells() for o in cell["outputs"] if o["output_type"] == "error"]
    assert [f"{o['ename']}: {o['evalue']}" for o in errors] == []
    page.wait_for_selector(".varlite-explorer .codes button")
    page.wait_for_selector(".varlite-painter canvas")
    page.get_by_text("2 images in").wait_for()
    return notebook


def test_d_d_on_a_focused_control_deletes_no_cell(notebook):
    page = notebook.page
    outputs = page.locator(".jp-OutputArea-output")
    assert outputs.count() == len(WIDGETS)
    for i in range(len(WIDGETS)):
        controls = outputs.nth(i).locator(FOCUSABLE).all()
        assert len(controls) >= 3
        for control in controls[:3] + controls[3::6]:  # of many tokens and buttons of a kind some
            control.evaluate("node => node.focus()")
            page.keyboard.press("d")
            page.keyboard.press("d")
            assert len(notebook.cells()) == 1 + len(WIDGETS), control.evaluate("node => node.outerHTML")
    # On a button beside the widgets the same keys do delete: so the notebook was listening all the time.
    page.evaluate("""() => {
        const button = document.createElement('button');
        document.querySelector('.jp-OutputArea').append(button);
        button.focus();
    }""")
    page.keyboard.press("d")
    page.keyboard.press("d")
    page.wait_for_timeout(500)
    assert len(notebook.cells()) == len(WIDGETS)


def test_nothing_is_cut_off_in_a_narrow_window(notebook):
    page = notebook.page
    page.evaluate("jupyterapp.shell.collapseLeft()")
    page.set_viewport_size({"width": 700, "height": 800})
    page.wait_for_timeout(1000)
    widths = page.evaluate(
        "[...document.querySelectorAll('.jp-OutputArea-output')].map(node => [node.scrollWidth, node.clientWidth])"
    )
    assert len(widths) == len(WIDGETS) and all(needed <= there for needed, there in widths), widths


def test_a_film_has_its_own_size_and_can_be_played_again(notebook):
    page = notebook.page
    output = page.locator(".jp-OutputArea-output", has=page.locator(".widget-play"))
    screen, slider = output.locator("img"), output.locator(".noUi-handle")
    natural, drawn = screen.evaluate("img => [[img.naturalWidth, img.naturalHeight], [img.width, img.height]]")
    assert drawn == natural  # not as wide as the page, so that both rows are seen at once
    for _ in range(2):
        output.get_by_role("button", name="Replay").click()
        page.wait_for_function("handle => handle.getAttribute('aria-valuenow') !== '0.0'", arg=slider.element_handle())
        page.wait_for_function("handle => handle.getAttribute('aria-valuenow') === '3.0'", arg=slider.element_handle())
        page.wait_for_timeout(1000)  # until it has told the kernel that it stopped
