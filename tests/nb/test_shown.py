"""Figures are shown in notebooks, whatever a server has set."""

import nbformat
from nbclient import NotebookClient


def test_a_notebook_shows_its_figures_where_the_environment_asks_for_none(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    cell = nbformat.v4.new_code_cell(
        "from varlite.nb import plots\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)
