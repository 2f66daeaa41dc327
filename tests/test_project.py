"""The files around the package agree with each other, and the notebooks are committed as one clean run."""

import importlib.metadata
import itertools
import json
import re
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED_EXTRAS = ("notebooks", "test", "site")  # [gpu] needs a CUDA compiler
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
LOCKED = {package["name"]: package for package in LOCK["package"] if package["name"] in PINS}
TORCH_PINS_ITSELF = re.compile("nvidia|cuda|triton")  # and only on Linux
NOTEBOOKS = sorted(
    path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)  # fmt: skip


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


def test_uv_and_pip_install_the_same_versions():
    """`make lock` writes both files."""
    assert {name: package["version"] for name, package in LOCKED.items()} == PINS
    packages = {package["name"]: package for package in LOCK["package"]}
    extras = packages[PROJECT["name"]]["optional-dependencies"]
    todo, found = [(PROJECT["name"], extra) for extra in ("", *extras) if extra != "gpu"], set()
    while todo:
        if (entry := todo.pop()) in found or TORCH_PINS_ITSELF.match(entry[0]):
            continue
        found.add(entry)
        name, extra = entry
        needs = packages[name]["optional-dependencies"][extra] if extra else packages[name].get("dependencies", [])
        todo += [(need["name"], e) for need in needs for e in ("", *need.get("extra", []))]
    assert {name for name, _ in found} == set(PINS) | {PROJECT["name"]}


def test_the_lock_is_of_this_pyproject_and_names_the_public_index_alone():
    (ours,) = [package for package in LOCK["package"] if package["name"] == PROJECT["name"]]
    declared = {(canonicalize_name(r.name), str(r.specifier), "") for r in map(Requirement, PROJECT["dependencies"])}
    for extra, entries in EXTRAS.items():
        declared |= {(canonicalize_name(r.name), str(r.specifier), extra) for r in map(Requirement, entries)}
    locked = {
        (
            entry["name"],
            entry.get("specifier", ""),
            (re.findall(r"extra == '(\w+)'", entry.get("marker", "")) or [""])[0],
        )
        for entry in ours["metadata"]["requires-dist"]
    }
    assert locked == declared, "pyproject.toml has changed: run `make lock`"
    urls = re.findall(r'https?://[^/"]+', read("uv.lock"))
    assert set(urls) == {"https://pypi.org", "https://files.pythonhosted.org"}


def test_every_locked_package_has_a_wheel_for_each_python_on_linux_macos_and_windows():
    platforms = (r"manylinux\w*x86_64", r"manylinux\w*aarch64", r"macosx\w*arm64|universal2", r"win_amd64")
    missing = []
    for name, package in LOCKED.items():
        tags = [tag for wheel in package["wheels"] for tag in parse_wheel_filename(unquote(Path(wheel["url"]).name))[3]]
        for minor, platform in itertools.product((11, 12, 13, 14), platforms):
            if name in ("appnope", "pywinpty") and {"appnope": "mac", "pywinpty": "win"}[name] not in platform:
                continue
            fits = any(runs_on(tag, minor) and re.search(f"any|{platform}", tag.platform) for tag in tags)
            missing += [] if fits else [f"{name} on Python 3.{minor}, {platform}"]
    assert missing == []


def runs_on(tag, minor):
    """Whether a wheel's tag accepts CPython 3.`minor`."""
    found = re.fullmatch(r"(?:cp|py)3(\d*)", tag.interpreter)  # PyPy's begin with pp
    version = int(found[1] or 0) if found else 99
    return version <= minor if tag.abi in ("none", "abi3") else tag.abi == f"cp3{minor}"


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


@pytest.mark.parametrize(("variables", "command"), [
    (["UV=uv"], r"uv sync .*--locked .*--extra notebooks --extra test --extra site"),
    (["UV=uv", "TORCH=cpu"], r"uv pip install .*--torch-backend cpu -c constraints.txt -e '\.\[notebooks,test,site\]'"),
    (["UV="], r"pip install .*-c constraints.txt +-e '\.\[notebooks,test,site\]'"),
])  # fmt: skip
def test_make_installs_with_uv_where_it_is_and_with_pip_elsewhere(variables, command):
    planned = subprocess.run(
        ["make", "--dry-run", "VENV=there-is-none", "there-is-none/stamp-test", *variables],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert re.search(command, planned.stdout), planned.stdout + planned.stderr


def test_the_container_runs_as_a_user_and_has_the_extras_that_it_asks_for():
    lines = [line for line in read("Dockerfile").splitlines() if line and not line.startswith("#")]
    version = re.fullmatch(r"FROM python:(3\.\d+)-slim", lines[0])[1]
    assert version in SpecifierSet(PROJECT["requires-python"])
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users and users[-1] not in ("root", "0") and f"--uid 1000 {users[-1]}" in read("Dockerfile")
    assert set(re.search(r"-e '\.\[([\w,]+)\]'", read("Dockerfile"))[1].split(",")) <= set(EXTRAS)
    assert "token" not in lines[-1] and "127.0.0.1:8888:8888" in read("Dockerfile")
    assert "-p 127.0.0.1:$(PORT):8888" in read("Makefile")
    copied = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied) and {"varlite", "data", "notebooks"} <= copied


def test_the_workflows_build_the_container_and_the_devcontainer():
    jobs = yaml.safe_load(read(".github/workflows/container.yml"))["jobs"]
    assert any("docker build -t varlite ." in step.get("run", "") for step in jobs["image"]["steps"])
    assert any(step.get("uses", "").startswith("devcontainers/ci@") for step in jobs["devcontainer"]["steps"])
    target = json.loads(read(".devcontainer/devcontainer.json"))["postCreateCommand"].split()[-1]
    assert re.search(rf"^{re.escape(target.replace('.venv', '$(VENV)'))}:", read("Makefile"), re.MULTILINE)


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


def not_one_run(cells):
    """What shows that the code cells are not the result of one run from top to bottom: [] if they are.

    nbval lets a cell pass that was never run, whatever it would print, since it has no output to be compared with.
    """
    code = [cell for cell in cells if cell["cell_type"] == "code" and "skip-execution" not in cell["tags"]]
    never = [f"never run: {cell['source']}" for cell in code if cell["execution_count"] is None]
    return never or [
        f"run as {cell['execution_count']}, not {number}: {cell['source']}"
        for number, cell in enumerate(code, 1)
        if cell["execution_count"] != number
    ]


def test_every_cell_of_a_notebook_was_run_in_order(cells):
    assert not_one_run(cells) == []


@pytest.mark.parametrize(("counts", "complaint"), [
    ([1, 2, 3], None), ([1, None, 2], "never run: 1"), ([2, 3, 4], "run as 2, not 1: 0"),
    ([1, 3, 2], "run as 3, not 2: 1"),
])  # fmt: skip
def test_a_cell_that_was_never_run_or_run_out_of_order_is_found(counts, complaint):
    cells = [{"cell_type": "code", "execution_count": count, "tags": [], "source": f"{i}"}
             for i, count in enumerate(counts)]  # fmt: skip
    assert next(iter(not_one_run(cells)), None) == complaint
    left_out = {"cell_type": "code", "execution_count": None, "tags": ["skip-execution"], "source": ""}
    assert not_one_run([{"cell_type": "markdown"}, left_out]) == []


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
