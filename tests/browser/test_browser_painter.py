"""The mask painter in JupyterLab in a real browser: painted with mouse and keyboard, edited on a click."""

import re

import pytest
from jupyter_server import NotebookPage
from PIL import Image

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import torch
import varlite
from varlite.datasets.fashion import FASHION_CLASSES, FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.nb.widgets.painter import Painter

torch.set_num_threads(1)
model, tokenizer = varlite.load("fashion-var-d4")
painter = Painter(model, tokenizer, to_float(FashionMNIST("test").images(torch.arange(1, 3))), FASHION_CLASSES)
painter
"""
MASK = "print(''.join('.#'[c == '1'] for c in painter.canvas.mask), painter.thread is None)"


@pytest.fixture(scope="module")
def address(lab):
    return lab.with_cells(SETUP, MASK)


@pytest.fixture
def notebook(address, page):
    """With a painter of the test's own: the kernel is that of the test before, which spares it the imports."""
    notebook = NotebookPage(page, address)
    notebook.command("notebook:run-all-cells", seconds=120)
    page.wait_for_selector(".varlite-painter canvas")
    return notebook


def mask(notebook):
    """What the kernel knows of the mask: 28 rows of . and #."""
    notebook.page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    notebook.command("notebook:run-cell")
    outputs = notebook.cells()[-1]["outputs"]
    text = "".join("".join(output.get("text", "")) for output in outputs)
    row = re.search(r"[.#]{784}", text)[0]
    return [row[28 * y : 28 * (y + 1)] for y in range(28)]


def wait_for_mask(notebook, *boxes):
    """A widget sends the next change only when the kernel has taken the last, so a look may come too early."""
    rows = expected(*boxes)
    for _ in range(20):
        if (found := mask(notebook)) == rows:
            return
        notebook.page.wait_for_timeout(200)
    assert found == rows


def expected(*boxes):
    rows = [["."] * 28 for _ in range(28)]
    for top, left, bottom, right, what in boxes:
        for y in range(top, bottom):
            rows[y][left:right] = what * (right - left)
    return ["".join(row) for row in rows]


def words(notebook):
    return notebook.page.locator(".varlite-painter [aria-live]").inner_text()


def drag(notebook, *points):
    """Through pixels (row, column) of the image."""
    page = notebook.page
    canvas = page.locator(".varlite-painter canvas")
    canvas.evaluate("canvas => canvas.scrollIntoView({block: 'center'})")
    frame = canvas.bounding_box()
    y, x = ([frame[side] + (p[i] + 0.5) * frame[length] / 28 for p in points]
            for i, (side, length) in enumerate([("y", "height"), ("x", "width")]))  # fmt: skip
    page.mouse.move(x[0], y[0])
    page.mouse.down()
    for a, b in zip(x[1:], y[1:], strict=True):
        page.mouse.move(a, b)
    page.mouse.up()


def press(notebook, *keys):
    for key in keys:
        notebook.page.keyboard.press(key)


def shown(notebook):
    """The pixels of the two pictures beside the canvas: mask by scale, and edited image."""
    return notebook.page.evaluate("""async () => {
        const images = [...document.querySelectorAll('.jp-OutputArea-output img')];
        return Promise.all(images.map(async img => {
            await img.decode();
            const [width, height] = [img.naturalWidth, img.naturalHeight];
            const canvas = new OffscreenCanvas(width, height).getContext('2d');
            canvas.drawImage(img, 0, 0);
            return canvas.getImageData(0, 0, width, height).data.join();
        }));
    }""")


def brush_of_one(notebook):
    slider = notebook.page.get_by_label("Brush size")
    slider.focus()
    press(notebook, "Home")


def test_painting_with_the_mouse_and_a_click_on_edit_change_the_pictures(notebook):
    page = notebook.page
    assert len(before := shown(notebook)) == 2

    page.get_by_role("button", name="Box").click()
    drag(notebook, (10, 8), (14, 12), (18, 19))
    box = (10, 8, 19, 20, "#")
    wait_for_mask(notebook, box)

    brush_of_one(notebook)
    page.get_by_role("button", name="Eraser").click()
    drag(notebook, (12, 4), (12, 25))  # two events, far apart: no pixel between them is left out
    wait_for_mask(notebook, box, (12, 8, 13, 20, "."))

    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Brush").click()
    drag(notebook, (2, 3), (2, 6))
    wait_for_mask(notebook, box, (2, 3, 3, 7, "#"))
    page.get_by_role("button", name="Undo").click()
    wait_for_mask(notebook, box)

    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_text("edited with seed 0").wait_for()
    page.wait_for_timeout(300)  # for the picture, which comes before the words, to be drawn
    after = shown(notebook)
    assert after[0] != before[0], "the mask by scale did not change"
    assert after[1] != before[1], "the edited picture did not change"

    page.get_by_label("seed").fill("5")
    press(notebook, "Tab")
    page.get_by_label("class").select_option("bag")
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_text("edited with seed 5").wait_for()
    page.wait_for_timeout(300)
    assert shown(notebook)[1] != after[1]


def test_everything_can_be_done_with_the_keyboard(notebook):
    page = notebook.page
    brush_of_one(notebook)
    press(notebook, "Shift+Tab", "Shift+Tab", "Shift+Tab")  # back to Brush
    assert page.evaluate("document.activeElement.textContent") == "Brush"
    page.locator(".varlite-painter canvas").focus()
    press(notebook, "ArrowUp", "ArrowLeft", "Space")  # from the middle, (14, 14)
    press(notebook, "Shift+ArrowDown", "Space")  # two further
    assert "row 16, column 14: repaint" in words(notebook)
    wait_for_mask(notebook, (13, 13, 14, 14, "#"), (15, 13, 16, 14, "#"))

    page.locator(".varlite-painter canvas").focus()
    press(notebook, "Space", "ArrowUp", "ArrowUp", "Space")  # toggles both off
    wait_for_mask(notebook)

    page.get_by_role("button", name="Box").focus()
    press(notebook, "Enter")
    page.locator(".varlite-painter canvas").focus()
    press(notebook, "Space", "ArrowRight", "ArrowRight", "ArrowDown", "Space")
    wait_for_mask(notebook, (13, 13, 15, 16, "#"))
    page.locator(".varlite-painter canvas").focus()
    press(notebook, "Control+z")
    wait_for_mask(notebook)

    page.get_by_role("button", name="Invert").press("Enter")
    wait_for_mask(notebook, (0, 0, 28, 28, "#"))
    page.get_by_role("button", name="Clear").press("Enter")
    wait_for_mask(notebook)
    page.get_by_role("button", name="Edit", exact=True).press("Enter")
    page.get_by_text("nothing to repaint").wait_for()
    assert len(notebook.cells()) == 2  # no key reached JupyterLab, where letters add and delete cells


def test_an_edit_is_with_the_mask_on_the_screen_however_fast_the_click_follows(notebook):
    page = notebook.page
    page.get_by_role("button", name="Box").click()
    drag(notebook, (10, 8), (14, 12))
    page.evaluate("""() => {
        const press = name => [...document.querySelectorAll('.varlite-painter button')]
            .find(button => button.textContent === name).click();
        for (const name of ['Clear', 'Invert', 'Clear', 'Invert', 'Edit']) press(name);
    }""")  # all in one turn of the page's loop
    page.get_by_text("edited with seed 0").wait_for()
    assert mask(notebook) == expected((0, 0, 28, 28, "#"))


def test_an_error_names_the_control_that_helps_and_hides_no_button(notebook):
    page = notebook.page
    assert page.get_by_label("class").evaluate("list => list.selectedOptions[0].text") == "none"
    brush_of_one(notebook)
    drag(notebook, (2, 3), (2, 20))
    page.set_viewport_size({"width": 900, "height": 700})
    page.get_by_role("button", name="Edit", exact=True).click()
    alert = page.get_by_role("alert").filter(has_text='tick "thin"')
    alert.wait_for()
    box, whole = alert.bounding_box(), page.locator(".jp-OutputArea-output").first.bounding_box()
    assert box["height"] > 25 and box["x"] + box["width"] <= whole["x"] + whole["width"]  # it wraps, within the output
    for name in ("Invert", "Clear", "Undo", "Edit"):
        assert seen_whole(page, page.get_by_role("button", name=name, exact=True)), name
    page.get_by_label("thin").check()
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_text("edited with seed 0").wait_for()


def seen_whole(page, control):
    control.scroll_into_view_if_needed()
    box = control.bounding_box()
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    return control.evaluate("(node, at) => node.contains(document.elementFromPoint(...at))", middle)


def test_another_picture_can_be_chosen_and_ones_own_uploaded(notebook, tmp_path):
    page = notebook.page
    first = shown(notebook)[1]
    page.get_by_label("picture").select_option("2")
    page.wait_for_timeout(500)
    second = shown(notebook)[1]
    assert second != first
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red.png")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Your own picture").click()
    chooser.value.set_files(tmp_path / "red.png")
    page.get_by_text("red.png, cut to 28 x 28 in grey").wait_for()
    page.wait_for_timeout(500)
    assert shown(notebook)[1] not in (first, second)
    assert page.get_by_label("picture").evaluate("list => list.value") == "red.png"
