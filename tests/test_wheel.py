"""`pip install .`: the wheel holds what ships, and `varlite` runs from any folder and writes nothing into itself."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A fresh environment with the wheel; the other packages are those of the tests, except an editable varlite."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    # Folders named by a .pth count, but the .pth files within them do not: an editable installation is not seen.
    (site_packages / "tests.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--no-cache-dir", "--force-reinstall"]
    subprocess.run([sys.executable, "-m", "pip", "--python", folder, "install", *options, wheel], check=True)
    return folder


def test_the_wheel_holds_all_that_ships_and_is_below_100_mb(wheel):
    listed = subprocess.run(
        ["git", "ls-files", "data", "varlite"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    there = listed.stdout.splitlines()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert len(there) > 200 and {name.replace("data/", "varlite/data/") for name in there} <= names
    assert wheel.stat().st_size < 100e6


def test_an_installed_varlite_samples_from_an_empty_folder_and_writes_nowhere_else(environment, tmp_path):
    package = next(environment.glob("lib/python*/site-packages/varlite"))
    contents = {path: path.stat().st_mtime_ns for path in package.rglob("*")}
    home, here = tmp_path / "home", tmp_path / "empty"
    home.mkdir(), here.mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("VARLITE", "PYTHON", "XDG"))}
    variables |= {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(program, *arguments):
        return subprocess.run(
            [environment / "bin" / program, *arguments], cwd=here, env=variables, capture_output=True, text=True
        )

    assert Path(run("python", "-c", "import varlite; print(varlite.__file__)").stdout).parent == package
    done = run("varlite", "sample", "--classes", "sneaker", "--num-per-class", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (here / "out" / "samples").iterdir()) == [
        "0007_00000.png", "0007_00001.png", "samples.json",
    ]  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in package.rglob("*")} == contents
    assert [path for path in home.rglob("*") if path.is_file()] == []
