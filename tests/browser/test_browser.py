from pathlib import Path

import pytest
from jupyter_server import NotebookPage

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "00_quickstart.ipynb"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_first_notebook_runs_in_jupyterlab_and_draws_its_pictures(lab, page):
    notebook = NotebookPage(page, lab.copy_of(NOTEBOOK))
    notebook.command("notebook:clear-all-cell-outputs")
    assert notebook.pictures() == []  # else the committed pictures would pass for new ones

    notebook.command("notebook:run-all-cells", seconds=240)

    cells = notebook.cells()
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"] == []
    assert [c["source"] for c in cells if c["execution_count"] is None] == []
    drawn = sum("image/png" in output.get("data", {}) for output in outputs)
    assert drawn, "no output is a picture"
    colours = notebook.pictures(at_least=drawn)
    assert min(colours) >= 8, f"a picture is blank: {colours} distinct colours"
