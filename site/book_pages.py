"""The sources of the book, from what the repository has: README, guides, notebooks, docstrings."""

import ast
import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "docs"
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
WIDGETS = "application/vnd.jupyter.widget-view+json"
PICTURES = {".png", ".svg", ".gif", ".jpg"}
# The rooms of the package in the order of the reference, and what each is about. The notebooks' figures are left out.
ROOMS = {
    "": "The reading path", "models": "Models", "hooks": "Hooks of sampling", "datasets": "Data sets",
    "checkpoints": "Checkpoints", "training": "Training", "evaluation": "Evaluation", "evaluation/judges": "Judges",
    "speed": "Speed", "experiments": "Experiments", "export": "Export", "nb/widgets": "Widgets",
    "io": "Files and checks", "commands": "Commands",
}  # fmt: skip


def write_book(folder: Path, notebooks: list[Path] | None = None, rooms: dict[str, str] = ROOMS) -> None:
    """Write the pages of the book into a new folder: of all notebooks, or of some."""
    shutil.rmtree(folder, ignore_errors=True)
    notebooks = all_notebooks() if notebooks is None else notebooks
    for path in notebooks:
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        notebook = readable(json.loads(path.read_text()))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = relinked("".join(cell["source"]), path.parent, folder)
        target.write_text(json.dumps(notebook))
    for path in sorted(GUIDES.glob("*.md")):
        (folder / "docs").mkdir(exist_ok=True)
        (folder / "docs" / path.name).write_text(relinked(path.read_text(), path.parent, folder))
    (folder / "index.md").write_text(f"{front(folder)}\n\n{contents(notebooks, rooms)}")
    (folder / "reference").mkdir()
    for room, title in rooms.items():
        (folder / "reference" / f"{page_name(room)}.rst").write_text(reference(room, title))


def all_notebooks() -> list[Path]:
    """The course in its order, then the solutions."""
    return [path for folder in ("", "solutions") for path in sorted((ROOT / "notebooks" / folder).glob("*.ipynb"))]


# Front


def front(folder: Path) -> str:
    """README as the first page, with the live page before all else."""
    title, _, rest = relinked((ROOT / "README.md").read_text(), ROOT, folder).partition("\n")
    return f"{title}\n\n{LIVE}\n{rest}"


def is_page(path: Path) -> bool:
    """Whether a file of the repository is a page of the book."""
    return path.suffix == ".ipynb" or path.parent == GUIDES


def relinked(text: str, base: Path, folder: Path) -> str:
    """Markdown of a file in `base` for the book in `folder`: pictures are copied there, and links to files that are no
    pages of the book lead to the repository."""

    def link(match: re.Match) -> str:
        before, target, after = match.groups()
        path, _, anchor = target.partition("#")
        source = (base / path).resolve()
        if re.match(r"[a-z]+:", target) or not path or not source.is_relative_to(ROOT) or is_page(source):
            return match[0]
        place = source.relative_to(ROOT)
        if source.suffix in PICTURES and source.exists():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / place)
            return match[0]
        kind = "tree" if source.is_dir() else "blob"
        return f"{before}{REPOSITORY}/{kind}/main/{place.as_posix()}{'#' * bool(anchor)}{anchor}{after}"

    return re.sub(r'((?:src|href)=")([^"]+)(")', link, re.sub(r"(\]\()([^)\s]+)(\))", link, text))


LIVE = """```{raw} html
<p class="live"><a href="live/index.html"><b>The live page</b>: the model draws in your browser, scale by scale. Choose
a class, swap tokens, paint a mask.</a></p>
```
"""


def contents(notebooks: list[Path], rooms: dict[str, str]) -> str:
    """The order of the pages, as Sphinx wants it."""
    guides = [f"docs/{path.stem}" for path in sorted(GUIDES.glob("*.md"))]
    parts: dict[str, list[str]] = {"The course": [], "Guides": guides, "Solutions": []}
    for path in notebooks:
        part = "Solutions" if path.parent.name == "solutions" else "The course"
        parts[part].append(path.relative_to(ROOT).with_suffix("").as_posix())
    parts["Reference"] = [f"reference/{page_name(room)}" for room in rooms]
    return "\n".join(
        f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
        for caption, pages in parts.items()
        if pages
    )


# Notebooks


def readable(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook for the book: widgets, which have a picture beside them, make way for a line."""
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if "outputs" in cell:
            cell["outputs"] = [NO_WIDGET if WIDGETS in out.get("data", {}) else out for out in cell["outputs"]]
    return notebook


NO_WIDGET = {
    "output_type": "display_data",
    "metadata": {},
    "data": {
        "text/markdown": "*A widget, which is alive in JupyterLab. What it first shows stands beside it as a picture.*"
    },
}


def anchor(title: str) -> str:
    """The anchor of a heading, as JupyterLab and GitHub's view of notebooks have it."""
    return re.sub(r"\s", "-", title.strip())


# Reference


def page_name(room: str) -> str:
    return room.replace("/", "-") or "reading-path"


def reference(room: str, title: str) -> str:
    """The page of a room: every module, its docstring and those of what it offers."""
    lines = [title, "=" * len(title), ""]
    folder = ROOT / "varlite" / room
    for path in sorted(folder.glob("*.py"), key=lambda path: (path.stem != "__init__", path.stem)):
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        if docstring is None or path.stem == "__main__":
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        lines += [
            name,
            "-" * len(name),
            "",
            f".. automodule:: {name}",
            "   :members:",
            "   :member-order: bysource",
            "",
        ]
    return "\n".join(lines)


def as_rst(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText: `code` in single backticks, lists of `name: what it is`, drawings kept as drawn.

    A paragraph is a list if its first line begins with names and a colon, and a drawing if it is indented.
    """
    text, result = "\n".join(lines).strip("\n"), list[str]()
    for paragraph in re.split(r"\n\s*\n", text):
        rows = paragraph.splitlines()
        if not rows:
            continue
        if rows[0].startswith("  ") or any(re.search(r"\S {3,}\S|-->", row) for row in rows):
            result += ["::", "", *(f"    {row}" for row in rows), ""]
        elif rows[0].startswith(">>>"):
            result += [*rows, ""]
        elif (re.match(r"(\w+, )*\w+: ", rows[0]) and len(rows) > 1) or re.match(r"(\w+, )*[a-z_]\w*: ", rows[0]):
            result += ["", *listed(rows), ""]
        else:
            result += [*(inline(row.strip()) for row in rows), ""]
    return result


def listed(rows: list[str]) -> list[str]:
    items = list[str]()
    for row in rows:
        found = re.match(r"((?:\w+, )*\w+): (.*)", row)
        if found:
            items += [f"* ``{found[1]}``: {inline(found[2])}"]
        else:
            items += [f"  {inline(row.strip())}"]
    return items


def inline(row: str) -> str:
    """Backticks doubled, and what reStructuredText would take for markup taken literally."""
    parts = re.split(r"(`[^`]*`)", row)
    return "".join(f"`{part}`" if i % 2 else re.sub(r"([*|_\\])", r"\\\1", part) for i, part in enumerate(parts))
