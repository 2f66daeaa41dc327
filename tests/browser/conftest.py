"""One JupyterLab for all the tests of a process: each file has a folder in it, and kernels that end with it."""

import re
import shutil

import nbformat
import pytest
from jupyter_server import JupyterLab, jupyterlab

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory, browser_type_launch_args):  # the latter first: without a browser nothing is started
    home = tmp_path_factory.mktemp("jupyter")
    (home / "notebooks").mkdir()
    with jupyterlab(home / "notebooks", home) as running:
        yield running


@pytest.fixture(scope="module")
def lab(jupyter, request):
    folder = jupyter.folder / request.path.stem
    folder.mkdir()
    yield Lab(jupyter, folder)
    jupyter.end_kernels()


class Lab:
    """JupyterLab, and the `folder` in it that is a test file's own."""

    def __init__(self, jupyter: JupyterLab, folder):
        self.jupyter, self.folder = jupyter, folder

    def with_cells(self, *sources) -> str:
        """The address of a new notebook with cells of these sources."""
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
        return self.holding(notebook)

    def holding(self, notebook) -> str:
        """The address of a notebook that is written here."""
        path = self.folder / f"notebook-{len(list(self.folder.glob('*.ipynb')))}.ipynb"
        nbformat.write(notebook, path)
        return self.jupyter.address(path)

    def as_far_as(self, path, last) -> str:
        """The address of a copy that ends with the first cell whose source has the pattern `last`."""
        notebook = nbformat.read(path, as_version=4)
        end = next(i for i, cell in enumerate(notebook.cells) if re.search(last, cell.source))
        notebook.cells = notebook.cells[: end + 1]
        return self.holding(notebook)

    def copy_of(self, path) -> str:
        """The address of a copy: JupyterLab writes checkpoints, and a test must not change the committed outputs."""
        return self.jupyter.address(shutil.copy(path, self.folder))
