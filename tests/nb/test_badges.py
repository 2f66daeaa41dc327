import copy
import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from varlite.nb import badges

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/somebody/varlite"


@pytest.fixture
def notebook():
    cells = [
        nbformat.v4.new_markdown_cell("# A title\n\nWhat it is about."),
        nbformat.v4.new_code_cell("1 + 1", execution_count=1, outputs=[
            nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)
        ]),
        nbformat.v4.new_code_cell("never run"),
    ]  # fmt: skip
    return json.loads(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))


def test_a_notebook_gets_badges_below_its_title_and_a_cell_that_counts_as_run_first(notebook):
    done = badges.add_badges(notebook, "notebooks/00_a.ipynb", REPOSITORY)
    nbformat.validate(done)
    title, _, line, _, text = "".join(done["cells"][0]["source"]).split("\n")
    assert (title, text) == ("# A title", "What it is about.")
    assert re.findall(r"\]\((https://[^/]+)", line) == [
        "https://colab.research.google.com", "https://mybinder.org", "https://kaggle.com",
    ]  # fmt: skip
    assert line.count("somebody/varlite") == line.count("notebooks/00_a.ipynb") == 3
    assert [cell["execution_count"] for cell in done["cells"][1:]] == [1, 2, None]
    assert done["cells"][2]["outputs"][0]["execution_count"] == 2
    assert done["cells"][2]["source"] == notebook["cells"][1]["source"]


def test_once_more_changes_nothing_and_another_address_replaces_the_first(notebook):
    done = badges.add_badges(notebook, "notebooks/00_a.ipynb", REPOSITORY)
    assert badges.add_badges(copy.deepcopy(done), "notebooks/00_a.ipynb", REPOSITORY) == done
    moved = badges.add_badges(done, "notebooks/00_a.ipynb", "https://github.com/else/where")
    assert moved == badges.add_badges(notebook, "notebooks/00_a.ipynb", "https://github.com/else/where")
    assert "somebody" not in json.dumps(moved)


def test_a_notebook_without_a_title_is_refused(notebook):
    with pytest.raises(ValueError, match=r"00_a.ipynb: the first cell must be text that begins with a title"):
        badges.add_badges(notebook | {"cells": notebook["cells"][1:]}, "notebooks/00_a.ipynb", REPOSITORY)


@pytest.mark.parametrize("installed", [True, False])
def test_the_set_up_cell_installs_varlite_exactly_where_it_is_not(notebook, monkeypatch, installed):
    cell = badges.add_badges(notebook, "notebooks/00_a.ipynb", REPOSITORY)["cells"][1]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    called = []

    class Shell:
        def run_line_magic(self, *words):
            called.append(words)

    exec(TransformerManager().transform_cell("".join(cell["source"])), {"get_ipython": Shell})
    assert called == [] if installed else called[0][0] == "pip" and f"git+{REPOSITORY}" in called[0][1]


def test_the_command_changes_only_what_lacks_something_and_writes_as_jupyter_does(notebook, tmp_path, capsys):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in ("notebooks", "notebooks/solutions"):
        (tmp_path / folder).mkdir()
        nbformat.write(nbformat.from_dict(notebook), tmp_path / folder / "00_a.ipynb")
    badges.main(tmp_path)
    assert capsys.readouterr().out == "notebooks/00_a.ipynb\nnotebooks/solutions/00_a.ipynb\n"
    for path in (tmp_path / "notebooks").rglob("*.ipynb"):
        assert path.read_text() == nbformat.writes(nbformat.read(path, 4)) + "\n"
        images = re.findall(r"\]\(((?:\.\./)?badges/\w+\.svg)\)", path.read_text())
        assert len(images) == 3 and all(
            os.path.exists(os.path.normpath(ROOT / path.relative_to(tmp_path).parent / name)) for name in images
        )
    badges.main(tmp_path)
    assert capsys.readouterr().out == ""
