"""The files around the package agree with each other, and the notebooks are committed as one clean run."""

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED_EXTRAS = ("notebooks", "test")  # [gpu] needs a CUDA compiler
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}
TORCH_PINS_ITSELF = re.compile("nvidia|cuda|triton")  # and only on Linux
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(name):
    return (ROOT / name).read_text()


def test_the_conda_environment_installs_extras_that_exist_on_a_python_that_is_accepted():
    *conda, pip = yaml.safe_load(read("environment.yml"))["dependencies"]
    versions = dict(entry.split("=") for entry in conda if "=" in entry)
    assert versions["python"] in SpecifierSet(PROJECT["requires-python"])
    assert "pip" in conda
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{','.join(INSTALLED_EXTRAS)}]"]}
    assert set(INSTALLED_EXTRAS) <= set(EXTRAS)


def test_every_declared_dependency_is_pinned_to_a_version_it_allows():
    declared = [*PROJECT["dependencies"], *(entry for extra in INSTALLED_EXTRAS for entry in EXTRAS[extra])]
    for requirement in map(Requirement, declared):
        version = PINS.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in constraints.txt"
        assert version in requirement.specifier, f"{requirement} excludes the pinned {version}"


def test_everything_that_the_dependencies_bring_along_is_pinned_too():
    todo = [("varlite", extra) for extra in ("", *INSTALLED_EXTRAS)]
    seen, unpinned = set(), set()
    while todo:
        name, extra = todo.pop()
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            found = {(canonicalize_name(requirement.name), e) for e in ("", *requirement.extras)}
            if wanted and not TORCH_PINS_ITSELF.match(requirement.name) and not found <= seen:
                seen |= found
                todo += found
                unpinned |= {name for name, _ in found} - set(PINS)
    assert not unpinned


def test_the_pinned_packages_run_on_the_oldest_python_that_the_project_accepts():
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    for distribution in importlib.metadata.distributions():
        if canonicalize_name(distribution.name) in PINS:
            accepted = distribution.metadata.get("Requires-Python") or ""
            assert oldest in SpecifierSet(accepted), f"{distribution.name} needs Python {accepted}"


def test_the_commit_hooks_use_the_pinned_ruff():
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    assert {entry for hook in hooks for entry in hook["additional_dependencies"]} == {f"ruff=={PINS['ruff']}"}


def test_the_readme_names_the_commands_that_the_makefile_has_and_ci_runs():
    for target in ("lab", "test"):
        assert f"make {target}" in read("README.md")
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE)
    assert read(".ci/run").rstrip().endswith("make test")
    assert ".ci/run" in read(".github/workflows/ci.yml")


def test_there_are_notebooks():
    assert NOTEBOOKS  # the tests below check nothing otherwise


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    cells = json.loads(path.read_text())["cells"]
    return [cell | {"source": "".join(cell["source"]), "tags": cell["metadata"].get("tags", [])} for cell in cells]


def outputs_of(cells, *unless_tagged):
    for cell in cells:
        if not set(unless_tagged) & set(cell["tags"]):
            yield from cell.get("outputs", [])


def test_every_cell_of_a_notebook_was_run(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code" and "skip-execution" not in cell["tags"]]
    # A cell that was never run has no output, and nbval would compare nothing.
    assert [cell["source"] for cell in code if cell["execution_count"] is None] == []
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "not one run from top to bottom"


def test_no_cell_of_a_notebook_failed_or_complained(cells):
    assert [o["evalue"] for o in outputs_of(cells, "raises-exception") if o["output_type"] == "error"] == []
    assert ["".join(o["text"]) for o in outputs_of(cells) if o.get("name") == "stderr"] == []


def test_no_line_of_a_notebook_ends_with_a_semicolon(cells):
    # It hides a cell's value in JupyterLab but not from nbval, so that the two would differ.
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in cell["source"].splitlines()]
    assert [line for line in lines if line.rstrip().endswith(";")] == []


def test_a_notebook_is_small_enough_to_read_on_the_web(path):
    assert path.stat().st_size < 1_500_000


def test_a_notebook_shows_no_path_of_the_machine_it_was_run_on(cells):
    texts = [cell["source"] for cell in cells]
    for output in outputs_of(cells):
        data = output.get("data", {}) | {"stream": output.get("text", "")}
        texts += ["".join(v) for kind, v in data.items() if isinstance(v, str | list) and not kind.startswith("image/")]
    assert re.findall(r"(?<![\w.])/(?:work|home|tmp|root|Users)\b.*", "\n".join(texts)) == []
