"""Picture files that are damaged or not what they say, and threads that read them."""

import io
import subprocess
import sys
import warnings

import messy
import numpy as np
import pytest
from PIL import Image, ImageOps

from varlite.datasets.pixels import Unreadable, read_image

COLOUR = (200, 100, 50)
RGB = Image.new("RGB", (45, 31), COLOUR)


def assert_colour(image):
    np.testing.assert_allclose(np.asarray(image).reshape(-1, 3).mean(0), COLOUR, atol=4)


# Files that are not what they say


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_damaged_camera_data_are_no_reason_to_lose_a_picture(tmp_path, suffix):
    RGB.save(tmp_path / f"x{suffix}", exif=b"Exif\0\0garbage garbage")
    assert_colour(read_image(tmp_path / f"x{suffix}", (8, 8), 3))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_turned_upright(tmp_path, turn, channels):
    exif = Image.Exif()
    exif[0x0112] = turn
    messy.picture(3).save(tmp_path / "x.png", exif=exif.tobytes())
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "x.png")).convert({1: "L", 3: "RGB"}[channels])
    assert np.array_equal(np.asarray(read_image(tmp_path / "x.png", (8, 8), channels)), np.asarray(expected))


def test_avif_and_jfif_are_read(tmp_path):
    for name, kind in (("x.avif", "AVIF"), ("x.jfif", "JPEG")):
        RGB.save(tmp_path / name, kind)
        assert_colour(read_image(tmp_path / name, (8, 8), 3))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (messy.bomb, "too large: Image size .2500000000 pixels. exceeds limit"),
        (messy.fifo, "not a regular file"),
        (lambda path: path.mkdir(), "not a regular file"),
        (lambda path: path.touch(), "the file is empty"),
        (lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image"),
        (lambda path: path.write_bytes(b"<html>"), "not an image"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(tmp_path, make, reason):
    """A pipe is not waited for, and an EPS in disguise starts no Ghostscript."""
    make(tmp_path / "x.png")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/x\.png cannot be read: {reason}[^\n]*$"):
        read_image(tmp_path / "x.png", (8, 8), 3)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "y.png", (8, 8), 3)


def mutated(whole, rng):
    """Bytes changed, cut out, doubled or cut off."""
    data = bytearray(whole)
    for _ in range(rng.integers(1, 6)):
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 9))
        kind = rng.integers(4)
        if kind == 0:
            data[at : at + length] = rng.bytes(length)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length]
        else:
            data[at] = rng.choice([0, 1, 127, 128, 255])
    return bytes(data[: rng.integers(1, len(data))] if rng.integers(5) == 0 else data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "I;16", "F"])
def test_damaged_files_of_any_kind_are_read_or_refused_but_nothing_else_escapes(tmp_path, kind):
    buffer, rng = io.BytesIO(), np.random.default_rng(0)
    image = {
        "I;16": Image.fromarray((messy.RAMP * 65535).astype(np.uint16)),
        "F": Image.fromarray(messy.RAMP.astype(np.float32)),
    }.get(kind, messy.picture(1))
    exif = Image.Exif()
    exif[0x0112] = 6
    with_exif = {"exif": exif.tobytes()} if kind in ("PNG", "JPEG", "WEBP") else {}
    image.save(buffer, {"I;16": "PNG", "F": "TIFF"}.get(kind, kind), **with_exif)
    refused = 0
    for i in range(60):
        path = tmp_path / f"{i}.png"
        path.write_bytes(mutated(buffer.getvalue(), rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert read_image(path, (8, 8), 3).mode == "RGB"
        except Unreadable as error:
            assert error.reason and "\n" not in str(error)
            refused += 1
    assert refused or kind in ("BMP", "F", "PPM", "I;16")


# Threads


def test_datasets_work_in_a_forked_process_after_they_were_used(tmp_path):
    """Threads do not survive a fork: a pool of the parent's would wait for ever."""
    code = (
        "import os, sys, torch, signal, threading\n"
        "from varlite.datasets import open_dataset\n"
        "assert threading.active_count() == 1\n"
        "data = open_dataset(sys.argv[1], 'train', (8, 8), 3)\n"
        "a = data.images(torch.arange(6))\n"
        "if (child := os.fork()) == 0:\n"
        "    signal.alarm(20)\n"
        "    os._exit(0 if torch.equal(data.images(torch.arange(6)), a) else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    root = messy.folder(tmp_path, {"cats": 5, "dogs": 5})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, root], timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
