"""From an image file of any kind to bytes of the size and channels that a model wants."""

import hashlib
import io
import os
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, features

# Of damaged camera data, which do not matter here.
warnings.filterwarnings("ignore", module=r"PIL\.")

T = TypeVar("T")
MODES = {1: "L", 3: "RGB"}
MARGIN = 1.125  # of VAR's training code: images are resized to this much more than is then cropped
# What Pillow may try, by content. Of the others some run programs (EPS starts Ghostscript) and none holds photographs.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM"]
SUFFIXES: tuple[str, ...] = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
if "avif" in features.modules and features.check_module("avif"):
    FORMATS.append("AVIF")
    SUFFIXES += (".avif",)
ORIENTATION = 0x0112  # of EXIF; its values say how to turn the image upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
MAX_SAMPLE_VALUE = (281, 341)  # tags of TIFF: what counts as white, of integers and of other numbers
BITS = (8, 10, 12, 14, 16, 24, 32)  # that cameras and scanners deliver


class Unreadable(ValueError):
    """A file that is no picture, or not one that can be shown; `reason` says why, without the path."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path} cannot be read: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason)


class Threads:
    """As many threads as there are cores. They start at first use and anew in every forked process, where the threads
    of the parent do not exist. Pillow decodes and resizes without holding Python's lock."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def map(self, function: Callable[..., T], *items: Any) -> Iterator[T]:
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = ThreadPoolExecutor(os.cpu_count()), os.getpid()
        return self._pool.map(function, *items)


POOL = Threads()


def to_float(img: torch.Tensor) -> torch.Tensor:
    """Bytes -> [-1, 1]."""
    return img.float() / 127.5 - 1


def to_bytes(img: torch.Tensor) -> torch.Tensor:
    """Images in [0, 1] -> bytes, rounded to nearest."""
    return (img * 255).round().clamp(0, 255).to(torch.uint8)


@contextmanager
def open_picture(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """An image file, opened as `Image.open` does but for known formats and regular files only: a pipe would hang.

    With the `content` of a file, which may lie in an archive or a table, `path` is only what it is called.
    Raises FileNotFoundError, and Unreadable for whatever else goes wrong, inside the block too: a damaged file may make
    Pillow raise nearly anything.
    """
    try:
        if content is None and not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable(path, "not a regular file")
        with Image.open(path if content is None else io.BytesIO(content), formats=FORMATS) as file:
            yield file
    except (FileNotFoundError, Unreadable):
        raise
    except Image.UnidentifiedImageError:
        empty = os.path.getsize(path) == 0 if content is None else not content
        raise Unreadable(path, "the file is empty" if empty else f"not an image ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as error:
        raise Unreadable(path, f"too large: {error}".removesuffix(".")) from None
    except Exception as error:
        told = isinstance(error, OSError | ValueError) and str(error)  # others speak of the inside of Pillow
        reason = getattr(error, "strerror", None) or told or f"damaged ({type(error).__name__})"
        raise Unreadable(path, reason.splitlines()[0]) from None


def read_image(
    path: str | Path, size: tuple[int, int], channels: int, in_full: bool = False, content: bytes | None = None
) -> Image.Image:
    """The first frame of a file, upright, as grey or RGB, in no less than twice the size that `crop` needs.

    A large JPEG is decoded at a half, quarter or eighth, unless it is wanted `in_full`. What is transparent becomes
    white. For numbers of more than 8 bits see `convert`, for `content` `open_picture`, which raises what is raised.
    """
    with open_picture(path, content) as file:
        if not in_full:
            file.draft(None, (round(2 * MARGIN * max(size)),) * 2)
        return convert(file, channels)


def convert(image: Image.Image, channels: int) -> Image.Image:
    """Upright grey or RGB, on white.

    Numbers of more than 8 bits are divided by what the file says is white, else by the least white that fits them: that
    of 8, 10, 12, 14 or 16 bits, or 1 for fractions. A guess that makes pictures brighter is warned about once for each
    kind, and noted in `info["scaled"]`. Raises ValueError where no guess is right.
    """
    layout = str(getattr(image, "tile", ""))  # says how numbers lie in the file, until they are read
    upper_byte_only = ";16" in layout and "BGR" not in layout and not image.mode.startswith("I")
    turn = UPRIGHT.get(orientation(image))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = to_8_bits(image)
    if upper_byte_only and np.asarray(image.convert("RGB")).max() < 64:  # Pillow drops the lower
        raise ValueError("16 bits a channel, of which the upper ones are not used: save it with 8 bits a channel")
    if image.has_transparency_data:  # Pillow would show what lies under it
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(MODES[channels])
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """What EXIF says, 1 for upright; damaged camera data say nothing."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


_warned: set[str] = set()


def to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or of fractions, as `convert` says."""
    numbers, name = np.asarray(image), getattr(image, "filename", "") or "picture"
    tags = getattr(image, "tag_v2", {})
    if not np.isfinite(numbers).all():
        raise ValueError("its pixels are not all numbers (NaN or infinite)")
    low, high = float(numbers.min()), float(numbers.max())
    if low < 0:
        raise ValueError(f"its pixels range from {low:g} to {high:g}, and nothing says what is black and what is white")
    said = next((float(np.max(tags[tag])) for tag in MAX_SAMPLE_VALUE if tag in tags), 0.0)
    kind = "fractions" if image.mode == "F" else "32 bits" if image.mode == "I" else "16 bits"
    if said >= max(high, 1e-30):
        white, guessed = said, False
    else:
        whites = [1.0] * (image.mode == "F") + [2.0**bits - 1 for bits in BITS]
        slack = 1.1 if image.mode == "F" else 1  # resampling overshoots
        white = next((white for white in whites if high <= slack * white), high)
        guessed = white != (1 if image.mode == "F" else 65535) and high > 0
    scaled = f"{kind} that reach up to {high:g}: {white:g} is taken as white"
    if guessed and (key := f"{kind} {white}") not in _warned:
        _warned.add(key)
        warnings.warn(f"{name}: pixels are {scaled}. Others like it are treated alike.", stacklevel=2)
    if image.mode.startswith("I;16") and tags.get(262) == 0:  # PhotometricInterpretation: 0 is white
        numbers = white - numbers
    exact = numbers // 257 if white == 65535 and image.mode != "F" else (numbers * (255 / white)).round()
    eight = Image.fromarray(exact.clip(0, 255).astype(np.uint8))
    if guessed:
        eight.info["scaled"] = scaled
    return eight


def crop(
    image: Image.Image, size: tuple[int, int], u: tuple[float, float] | None = None, enlarge: bool = False
) -> Image.Image:
    """Resize so that `size` (H, W) with a margin of an eighth just fits, then cut `size` out of it.

    The sizes, the filter and the places are those of VAR's training code: for 256 pixels the shorter edge becomes 288,
    the longer one as many as the proportions give, rounded down, and the cut begins at a whole pixel. `u` in [0, 1)
    chooses it, across and down; None is the middle. An image that has `size` already is taken as it is, which the
    published code does not do, unless `enlarge`.
    """
    h, w = size
    if image.size == (w, h) and not enlarge:
        return image
    tall, wide = round(MARGIN * h), round(MARGIN * w)
    if tall * image.width >= wide * image.height:  # the edge that needs the larger factor is met, the other follows
        wide = tall * image.width // image.height
    else:
        tall = wide * image.height // image.width
    if u is None:
        left, top = round((wide - w) / 2), round((tall - h) / 2)
    else:
        left, top = int(u[0] * (wide - w + 1)), int(u[1] * (tall - h + 1))
    # Resizing only the cut: the whole of a very long image may be too large for memory. The filter looks beyond it.
    x, y = image.width / wide, image.height / tall
    box = (left * x, top * y, min((left + w) * x, image.width), min((top + h) * y, image.height))
    return image.resize((w, h), Image.Resampling.LANCZOS, box)


def chance(crop_seed: int | None, i: int, flip: bool) -> tuple[float, float, bool]:
    """Where to crop image `i`, across and down, and whether to mirror it: a function of the arguments alone.

    None is the middle, not mirrored. Raises ValueError for `flip` without a seed.
    """
    if crop_seed is None:
        if flip:
            raise ValueError("flip mirrors at random and needs a crop_seed")
        return 0.5, 0.5, False
    digest = hashlib.blake2b(f"{crop_seed} {i}".encode(), digest_size=24).digest()  # a new generator costs more
    across, down, mirrored = (u / 2**64 for u in struct.unpack("<3Q", digest))
    return across, down, flip and mirrored < 0.5


def view(
    image: Image.Image, size: tuple[int, int], i: int, crop_seed: int | None, flip: bool, enlarge: bool = False
) -> torch.Tensor:
    """(channels, H, W) bytes of image `i`, cut and mirrored as `chance` says."""
    across, down, mirrored = chance(crop_seed, i, flip)
    image = crop(image, size, None if crop_seed is None else (across, down), enlarge)
    if mirrored:
        image = ImageOps.mirror(image)
    return torch.from_numpy(np.array(image)).reshape(*size, -1).permute(2, 0, 1)
