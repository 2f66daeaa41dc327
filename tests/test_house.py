"""The house keeps its order: arrows between rooms run one way, names mean one thing, files stay short."""

import ast
import re
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "varlite"
FILES = sorted(PACKAGE.rglob("*.py"))
# Each room may import those after it, itself and io. The reading path is the top level and models/.
ORDER = ["nb", "commands", "experiments", "speed", "training", "evaluation", "export", "checkpoints", "datasets"]
ORDER += ["hooks", "reading path"]
BESIDE = {"nb": {"commands"}, "commands": {"nb"}, "checkpoints": {"datasets"}, "datasets": {"checkpoints"}}
FREE = {"cli", "__main__", "__init__"}  # the table of commands, and the names that `varlite` offers


def room(module: str) -> str:
    parts = module.split(".")[1:]
    if len(parts) > 1 or (parts and (PACKAGE / parts[0]).is_dir()):
        return "reading path" if parts[0] == "models" else parts[0]
    return "free" if not parts or parts[0] in FREE else "reading path"


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("varlite"):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (
                name if (PACKAGE.parent / (name.replace(".", "/") + ".py")).exists() else node.module for name in whole
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("varlite."))


def test_rooms_import_only_what_lies_below_them():
    wrong = []
    for path in FILES:
        mine = room(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"))
        if mine == "free":
            continue
        below = set(ORDER[ORDER.index(mine) + 1 :]) - BESIDE.get(mine, set()) if mine in ORDER else set()
        allowed = below | {mine, "io", "free"}
        wrong += [f"{path.relative_to(PACKAGE)} imports {name}" for name in imports(path) if room(name) not in allowed]
    assert wrong == []


def test_nobody_outside_models_asks_which_kind_a_model_is():
    kinds = r"\b(?:VAR|MVAR|Raster|MaskGIT|DiT|Markov|FlexVAR)(?:Config)?\b"
    asks = re.compile(rf"isinstance\([^)]*{kinds}|type\([^)]*\)\s*(?:is|==|in)\s*[^\n]*{kinds}|\bis (?:not )?{kinds}")
    found = [f"{path.relative_to(PACKAGE)}: {line.strip()}" for path in FILES if path.parent.name != "models"
             for line in path.read_text().splitlines() if asks.search(line)]  # fmt: skip
    assert found == []


def test_no_two_modules_have_one_name():
    names = Counter(path.stem for path in FILES if path.stem not in ("__init__", "__main__"))
    assert [name for name, n in names.items() if n > 1] == []


def test_files_are_short_enough_to_read_and_the_top_level_is_the_reading_path():
    assert [f"{p.relative_to(PACKAGE)}: {n}" for p in FILES if (n := len(p.read_text().splitlines())) > 320] == []
    top = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert len(top) <= 13
