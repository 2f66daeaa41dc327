import numpy as np
import pytest
import torch
from PIL import Image

from varlite.io import pictures
from varlite.io.pictures import save_png, tile


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_the_same_in_its_file(tmp_path, channels):
    img = torch.randint(256, (channels, 4, 6), dtype=torch.uint8)
    save_png(tmp_path / "new" / "a.png", img)
    found = np.asarray(Image.open(tmp_path / "new" / "a.png")).reshape(4, 6, channels)
    assert (found == img.permute(1, 2, 0).numpy()).all()


def test_images_are_laid_out_in_rows_on_white():
    grid = tile([[torch.zeros(1, 2, 3, dtype=torch.uint8)] * 2, [torch.ones(1, 2, 3, dtype=torch.uint8)]], gap=1)
    assert grid.shape == (1, 7, 9)
    assert not grid[0, 1:3, 1:4].any() and (grid[0, 4:6, 1:4] == 1).all()
    assert (grid[0, 4:6, 5:] == 255).all() and (grid[0, 3] == 255).all()


def test_an_interrupted_write_leaves_the_picture_that_was_there(tmp_path, monkeypatch):
    def save(image, file, kind):
        file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "a.png"
    path.write_text("before")
    monkeypatch.setattr(pictures.Image.Image, "save", save)
    with pytest.raises(OSError, match="disk full"):
        save_png(path, torch.zeros(1, 2, 2, dtype=torch.uint8))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
