"""The live page: the files in live/, the exported model, the runtime. Static, and of one folder."""

import gzip
import hashlib
import shutil
from pathlib import Path

from npm_packages import ONNXRUNTIME, take

import varlite
from varlite.checkpoints.load import weights_file
from varlite.export.exporting import MANIFEST, export
from varlite.io.files import sha256

HERE = Path(__file__).parent
ROOT = HERE.parent
EXPORTS = ROOT / "build" / "live-model"
MODEL, TOKENIZER = "fashion-var-d4", "fashion-vq"
GRAPHS = ("scales", "autoencoder", "quantizer", "tokenizer", "transformer", "mamba2")  # what is in the graphs


def build_live(out: Path) -> None:
    """Write the live page into the folder `out`. Raises OSError where the runtime cannot be fetched."""
    shutil.rmtree(out, ignore_errors=True)
    take(ONNXRUNTIME, out / "ort")
    for path in (out / "ort").glob("*.wasm"):  # packed here, as not every server packs what it sends
        path.with_name(f"{path.name}.packed").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    for path in (HERE / "live").iterdir():
        shutil.copy(path, out)
    shutil.copytree(exported(), out / "model", dirs_exist_ok=True)


def exported() -> Path:
    """The folder of the exported model. Exported anew where the weights, or the code that decides on the graphs, are
    others than last time: that takes most of a minute."""
    folder = EXPORTS / export_key()
    if not (folder / MANIFEST).exists():
        model, tokenizer = varlite.load(MODEL)
        export(model, tokenizer, folder, {"model": MODEL, "weights_sha256": sha256(weights_file(MODEL))})
    return folder


def export_key() -> str:
    code = [ROOT / "varlite" / f"{name}.py" for name in GRAPHS]
    code += [path for room in ("models", "export") for path in sorted((ROOT / "varlite" / room).glob("*.py"))]
    digest = hashlib.sha256()
    for path in [weights_file(MODEL), weights_file(TOKENIZER), *code]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
