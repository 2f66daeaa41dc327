import shutil
from pathlib import Path

import pytest
from jupyter_server import NotebookPage, jupyterlab

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(tmp_path_factory, browser_type_launch_args):  # the latter first: without a browser there is nothing to start
    home = tmp_path_factory.mktemp("jupyter")
    # A copy: JupyterLab writes checkpoints, and a test must not change the committed outputs.
    folder = shutil.copytree(NOTEBOOKS, home / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    with jupyterlab(folder, home) as address:
        yield address


def test_the_first_notebook_runs_in_jupyterlab_and_draws_its_pictures(lab, page):
    notebook = NotebookPage(page, lab.format("00_quickstart.ipynb"))
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
