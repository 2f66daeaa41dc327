import io
import struct
import zlib

import messy
import numpy as np
import pytest
import torch
from PIL import Image

from varlite.datasets import pixels
from varlite.datasets.pixels import chance, crop, read_image, view

COLOUR = (200, 100, 50)
GREY = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
RGB = Image.new("RGB", (45, 31), COLOUR)


def read(tmp_path, image, suffix, channels=3, **how):
    image.save(tmp_path / f"x{suffix}", **how)
    return read_image(tmp_path / f"x{suffix}", (8, 8), channels)


def shown(image):
    return np.asarray(image).reshape(-1, len(image.getbands())).mean(0).round().astype(int).tolist()


# Kinds of files


@pytest.mark.parametrize(
    ("mode", "suffix", "expected"),
    [
        ("RGB", ".png", COLOUR),
        ("RGB", ".webp", COLOUR),
        ("RGB", ".ppm", COLOUR),
        ("RGB", ".bmp", COLOUR),
        ("RGB", ".jpg", COLOUR),
        ("CMYK", ".jpg", COLOUR),
        ("CMYK", ".tif", COLOUR),
        ("L", ".png", (GREY,) * 3),
        ("1", ".png", None),  # dithered: only its mean is about right
        ("YCbCr", ".jpg", COLOUR),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_of_any_mode_becomes_grey_or_rgb(tmp_path, mode, suffix, expected, channels):
    image = read(tmp_path, RGB.convert(mode), suffix, channels)
    assert image.mode == {1: "L", 3: "RGB"}[channels] and image.size == (45, 31)
    grey = channels == 1 or expected is None
    np.testing.assert_allclose(shown(image), [GREY] * channels if grey else expected, atol=3)


@pytest.mark.parametrize(
    ("dtype", "suffix"), [(np.uint16, ".png"), (np.uint16, ".tif"), (np.uint16, ".pgm"), (np.int32, ".tif")]
)
def test_16_bit_grey_keeps_its_range(tmp_path, dtype, suffix):
    ramp = np.linspace(0, 65535, 40).astype(np.uint16)
    image = Image.fromarray(np.tile(ramp, (5, 1)).astype(dtype))
    image = read(tmp_path, image, suffix, 1)
    np.testing.assert_allclose(np.asarray(image)[0], ramp / 257, atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_becomes_white(tmp_path, mode, channels):
    """Not the black, or whatever else, that lies beneath."""
    image = Image.new("RGBA", (20, 10), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (10, 0, 20, 10))
    pixels = np.asarray(read(tmp_path, image.convert(mode), ".tif" if mode == "PA" else ".png", channels))
    assert (pixels[:, :10] == 0).all() and (pixels[:, 10:] == 255).all()
    half = read(tmp_path, Image.new("RGBA", (4, 4), (0, 0, 0, 128)), ".png", channels)
    np.testing.assert_allclose(shown(half), [127] * channels, atol=1)


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: rotate by a quarter
    image = read(tmp_path, RGB, ".jpg", exif=exif.tobytes())
    assert image.size == (31, 45)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_of_an_animation_the_first_frame_counts(tmp_path, suffix):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, {".png": "PNG"}.get(suffix, suffix[1:]), save_all=True, append_images=frames[1:])
    (tmp_path / f"x{suffix}").write_bytes(buffer.getvalue())
    np.testing.assert_allclose(shown(read_image(tmp_path / f"x{suffix}", (8, 8), 3)), (255, 0, 0), atol=4)


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same(tmp_path):
    y, x = np.mgrid[:600, :900]
    waves = 127 + 60 * np.sin(x / 40) + 60 * np.cos(y / 25)
    Image.fromarray(waves.astype(np.uint8)).save(tmp_path / "x.jpg", quality=95)
    part, whole = read_image(tmp_path / "x.jpg", (32, 32), 1), Image.open(tmp_path / "x.jpg")
    assert part.size == (113, 75)  # still twice the 36 x 36 that are cropped
    a, b = (np.asarray(crop(image, (32, 32))).astype(int) for image in (part, whole))
    assert abs(a - b).max() <= 5


# Size


def ramp(h, w):
    """Grey that tells where a pixel was, from 0 at the left to 1 at the right."""
    return Image.fromarray(np.tile((np.arange(w) + 0.5) / w * 255, (h, 1)).astype(np.uint8))


def columns(image):
    return torch.from_numpy(np.asarray(image).astype(np.float32)).mean(0) / 255


def test_a_crop_keeps_the_proportions_and_loses_a_margin():
    # 16 of 18 columns of a square image: the margin is a ninth. Of one twice as wide, 16 of 36.
    torch.testing.assert_close(columns(crop(ramp(90, 90), (16, 16))), (torch.arange(16) + 1.5) / 18, atol=0.02, rtol=0)
    torch.testing.assert_close(
        columns(crop(ramp(90, 180), (16, 16))), (torch.arange(16) + 10.5) / 36, atol=0.02, rtol=0
    )
    torch.testing.assert_close(columns(crop(ramp(90, 90), (8, 16))), (torch.arange(16) + 1.5) / 18, atol=0.02, rtol=0)


def test_an_image_of_the_size_asked_for_is_taken_as_it_is_unless_it_is_to_be_enlarged():
    image = ramp(16, 16)
    assert crop(image, (16, 16)) is image
    # Of the 18 columns that it becomes, the middle 16.
    enlarged = columns(crop(image, (16, 16), enlarge=True))
    torch.testing.assert_close(enlarged[2:-2], (torch.arange(16)[2:-2] + 1.5) / 18, atol=0.02, rtol=0)
    corners = [crop(image, (16, 16), u, enlarge=True) for u in ((0, 0), (0.99, 0))]
    assert columns(corners[0]).mean() < columns(corners[1]).mean() - 0.05


def texture(h, w, seed=0):
    """Noise over smooth shades, in three colours."""
    r = np.random.RandomState(seed)
    coarse = Image.fromarray(r.randint(0, 256, (5, 7, 3), np.uint8)).resize((w, h), Image.Resampling.BICUBIC)
    return Image.fromarray((np.asarray(coarse) * 0.8 + r.uniform(0, 50, (h, w, 3))).astype(np.uint8))


@pytest.mark.parametrize("shape", [(375, 500), (499, 333), (64, 64), (72, 91), (61, 40), (751, 1000)])
def test_the_cut_is_that_of_the_published_pipeline(shape):
    """Resize of the shorter edge to 1.125 times the size, then CenterCrop or RandomCrop, as torchvision does them."""
    from torchvision.transforms import functional as T

    image, (across, down) = texture(*shape), (0.83, 0.31)
    resized = T.resize(image, 72, T.InterpolationMode.LANCZOS)
    middle, (height, width) = T.center_crop(resized, [64, 64]), resized.size[::-1]
    somewhere = T.crop(resized, int(down * (height - 63)), int(across * (width - 63)), 64, 64)
    for ours, theirs in (
        (crop(image, (64, 64), enlarge=True), middle),
        (crop(image, (64, 64), (across, down), enlarge=True), somewhere),
    ):
        difference = np.abs(np.asarray(ours).astype(int) - np.asarray(theirs))
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_a_cut_begins_at_any_whole_pixel_from_the_first_to_the_last():
    image = ramp(40, 36)  # becomes 40 x 36: no resampling
    cuts = {tuple(np.asarray(crop(image, (32, 32), ((i + 0.5) / 5, 0)))[0]) for i in range(5)}
    whole = np.asarray(image)[0]
    assert cuts == {tuple(whole[start : start + 32]) for start in range(5)}


def test_a_jpeg_can_be_decoded_in_full(tmp_path):
    texture(600, 900).save(tmp_path / "x.jpg", quality=95)
    part, whole = (read_image(tmp_path / "x.jpg", (32, 32), 3, in_full=full) for full in (False, True))
    assert part.size == (113, 75) and whole.size == (900, 600)


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 5000), (5000, 1), (3, 2), (17, 16), (16, 17)])
def test_an_image_of_any_proportions_can_be_cropped_anywhere(h, w):
    for u in ((0, 0), (0.5, 0.5), (1 - 2**-53, 1 - 2**-53)):
        assert crop(Image.new("L", (w, h), 99), (16, 16), u).getextrema() == (99, 99)


def test_a_random_view_depends_on_seed_and_index_alone_and_reaches_everywhere():
    image = ramp(90, 180)
    first = [view(image, (16, 16), i, 5, True) for i in range(60)]
    again = [view(image, (16, 16), i, 5, True) for i in reversed(range(60))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = [view(image, (16, 16), i, 6, True) for i in range(60)]
    assert sum(torch.equal(a, b) for a, b in zip(first, other, strict=True)) < 6
    mirrored = torch.tensor([bool(x[0, 0, 0] > x[0, 0, -1]) for x in first])
    assert 15 < mirrored.sum() < 45
    centres = torch.stack([x.float().mean() / 255 for x in first])  # 16 of 36 columns: from 8/36 to 28/36
    assert 0.2 < centres.min() < 0.3 and 0.7 < centres.max() < 0.8
    assert not any(x[0, 0, 0] > x[0, 0, -1] for x in (view(image, (16, 16), i, 5, False) for i in range(20)))


def test_chances_are_uniform_and_independent():
    across, down, mirrored = torch.tensor([chance(-3, i, True) for i in range(2000)]).T
    for u in (across, down, mirrored):
        assert abs(u.mean() - 0.5) < 0.04
    assert abs(torch.corrcoef(torch.stack([across, down, mirrored])) - torch.eye(3)).max() < 0.08


# Numbers of more than 8 bits


@pytest.fixture
def unwarned(monkeypatch):
    monkeypatch.setattr(pixels, "_warned", set())


def numbers(white, dtype):
    return Image.fromarray((messy.RAMP * white).astype(dtype))


@pytest.mark.parametrize(
    ("white", "dtype", "suffix", "word"),
    [
        (1, np.float32, ".tif", None),
        (255, np.float32, ".tif", "fractions that reach up to 255: 255"),
        (65535, np.float32, ".tif", "fractions that reach up to 65535: 65535"),
        (4095, np.uint16, ".png", "16 bits that reach up to 4095: 4095"),
        (4000, np.uint16, ".tif", "16 bits that reach up to 4000: 4095"),
        (255, np.uint16, ".png", "16 bits that reach up to 255: 255"),
        (255, np.int32, ".tif", "32 bits that reach up to 255: 255"),
        (2**31 - 1, np.int32, ".tif", "32 bits that reach up to 2.14748e+09: 4.29497e+09"),
        (65535, np.uint16, ".png", None),
    ],
)
def test_a_ramp_stays_a_ramp_and_what_was_guessed_is_said(tmp_path, unwarned, recwarn, white, dtype, suffix, word):
    image = read(tmp_path, numbers(white, dtype), suffix, 1)
    whole = 127.5 if white == 2**31 - 1 else 255 * (4000 / 4095 if white == 4000 else 1)
    np.testing.assert_allclose(np.asarray(image)[0], messy.RAMP[0] * whole, atol=1)
    assert [str(w.message).partition(" pixels are ")[2].partition(" is taken")[0] for w in recwarn] == [word] * bool(
        word
    )
    assert ("scaled" in image.info) == bool(word)
    read(tmp_path, numbers(white, dtype), suffix, 3)
    assert len(recwarn) <= 1  # once for each kind


def test_what_the_file_says_is_white_counts(tmp_path, recwarn):
    image = read(tmp_path, numbers(2000, np.uint16), ".tif", 1, tiffinfo={281: 2000})
    np.testing.assert_allclose(np.asarray(image)[0], messy.RAMP[0] * 255, atol=1)
    assert not recwarn.list


def test_white_may_be_zero(tmp_path):
    image = read(tmp_path, numbers(65535, np.uint16), ".tif", 1, tiffinfo={262: 0})
    np.testing.assert_allclose(np.asarray(image)[0], (1 - messy.RAMP[0]) * 255, atol=1)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (messy.RAMP * 2 - 1, "pixels range from -1 to 1, and nothing says what is black"),
        (np.where(messy.RAMP > 0.5, np.nan, 0), "not all numbers"),
        (np.where(messy.RAMP > 0.5, np.inf, 0), "not all numbers"),
    ],
)
def test_numbers_without_a_meaning_are_refused_by_name(tmp_path, array, reason):
    with pytest.raises(ValueError, match=rf"x\.tif cannot be read: .*{reason}"):
        read(tmp_path, Image.fromarray(array.astype(np.float32)), ".tif")


def png_of_16_bits(path, array):
    """Colours of 16 bits, which Pillow reads but cannot write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    h, w, _ = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    parts = (b"IHDR", struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def test_colours_of_16_bits_come_out_right_or_are_refused(tmp_path):
    ramp = np.repeat(messy.RAMP[..., None], 3, 2)
    png_of_16_bits(tmp_path / "a.png", ramp * 65535)
    np.testing.assert_allclose(np.asarray(read_image(tmp_path / "a.png", (8, 8), 1))[0], messy.RAMP[0] * 255, atol=1)
    for white in (255, 4095):
        png_of_16_bits(tmp_path / "a.png", ramp * white)
        with pytest.raises(ValueError, match=r"a\.png cannot be read: 16 bits a channel, of which the upper"):
            read_image(tmp_path / "a.png", (8, 8), 3)


def test_a_dark_bitmap_of_16_bits_a_pixel_is_no_picture_of_16_bits_a_channel(tmp_path):
    dark = struct.pack("<2sIHHI", b"BM", 54 + 8, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 2, 2, 1, 16, 0, 8, 0, 0, 0, 0
    )
    (tmp_path / "a.bmp").write_bytes(dark + struct.pack("<4H", *[1 << 10] * 4))
    assert np.asarray(read_image(tmp_path / "a.bmp", (8, 8), 3)).max() == 8
