"""`make tour`: run the first notebook without a browser and put its pictures into out/tour.png."""

import base64
import io
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

from varlite.io.files import atomic

ROOT = Path(__file__).resolve().parents[2]


def pictures(notebook: nbformat.NotebookNode) -> list[Image.Image]:
    """The PNG outputs of a notebook, in order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    encoded = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB") for png in encoded]


def stack(images: list[Image.Image], gap: int = 12) -> Image.Image:
    """Pictures one below the other on white."""
    width, height = max(i.width for i in images), sum(i.height + gap for i in images) + gap
    page, top = Image.new("RGB", (width + 2 * gap, height), "white"), gap
    for image in images:
        page.paste(image, (gap, top))
        top += image.height + gap
    return page


def main(path: Path = ROOT / "notebooks" / "00_quickstart.ipynb", out: Path = Path("out/tour.png")) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    with atomic(out) as temporary:
        stack(pictures(notebook)).save(temporary, "PNG")
    print(f"{path.name} ran; its pictures are in {out.resolve()}")


if __name__ == "__main__":
    main()
