"""`make badges`: every notebook opens on Colab, Binder and Kaggle, and there begins by installing varlite.

A line of badges below the title, and one cell that does nothing where varlite is installed. The address of the
repository is the one in pyproject.toml.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

from varlite.io.files import atomic

ROOT = Path(__file__).resolve().parents[2]
SET_UP = """\
from importlib.util import find_spec

if find_spec("varlite") is None:  # on Colab or Kaggle: a minute
    %pip install --quiet "varlite[notebooks] @ git+{repository}"
"""
CELL_ID = "set-up"


def repository(root: Path = ROOT) -> str:
    """The address of the repository, https://github.com/OWNER/NAME."""
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def badges(path: str, repository: str) -> str:
    """The line of badges for the notebook at `path` in the repository; the pictures lie beside the notebooks."""
    name = repository.removeprefix("https://github.com/")
    places = {
        "Open in Colab": ("colab", f"https://colab.research.google.com/github/{name}/blob/main/{path}"),
        "Launch Binder": ("binder", f"https://mybinder.org/v2/gh/{name}/main?urlpath=lab/tree/{path}"),
        "Open in Kaggle": ("kaggle", f"https://kaggle.com/kernels/welcome?src={repository}/blob/main/{path}"),
    }
    folder = "badges" if Path(path).parent.name == "notebooks" else "../badges"
    return " ".join(f"[![{text}]({folder}/{image}.svg)]({url})" for text, (image, url) in places.items())


def add_badges(notebook: dict[str, Any], path: str, repository: str) -> dict[str, Any]:
    """The notebook with badges and set-up cell, each once however often this is called. Other cells stay as they are.

    The set-up cell counts as the first that was run, as it is in a run from top to bottom, so the others count one up.
    Raises ValueError unless the notebook begins with a title.
    """
    title, *text = "".join(notebook["cells"][0]["source"]).split("\n")
    if notebook["cells"][0]["cell_type"] != "markdown" or not title.startswith("# "):
        raise ValueError(f"{path}: the first cell must be text that begins with a title, '# ...'")
    if len(text) > 1 and text[1].startswith("[!["):
        text = text[2:]
    source = "\n".join([title, "", badges(path, repository), *text])
    first = notebook["cells"][0] | {"source": source.splitlines(keepends=True)}
    cells = [cell for cell in notebook["cells"][1:] if cell.get("id") != CELL_ID]
    if len(cells) == len(notebook["cells"]) - 1:
        cells = [one_later(cell) for cell in cells]
    set_up = {
        "cell_type": "code", "execution_count": 1, "id": CELL_ID, "metadata": {}, "outputs": [],
        "source": SET_UP.format(repository=repository).rstrip().splitlines(keepends=True),
    }  # fmt: skip
    return notebook | {"cells": [first, set_up, *cells]}


def one_later(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell as it would be if one more had been run before it."""
    if cell.get("execution_count") is None:
        return cell
    outputs = [
        output | {"execution_count": output["execution_count"] + 1} if output.get("execution_count") else output
        for output in cell["outputs"]
    ]
    return cell | {"execution_count": cell["execution_count"] + 1, "outputs": outputs}


def main(root: Path = ROOT) -> None:
    for file in sorted((root / "notebooks").glob("**/*.ipynb")):
        path = file.relative_to(root).as_posix()
        before = file.read_text(encoding="utf-8")
        notebook = add_badges(json.loads(before), path, repository(root))
        after = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"  # as nbformat writes
        if after != before:
            with atomic(file) as temporary:
                temporary.write_text(after, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
