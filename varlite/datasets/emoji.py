"""A small data set in colour: the Noto emoji of the npm package emoji-datasource-google, categories as classes.

They come out on white, 72 x 72: with a margin, so that what every folder of images gets, resizing to 1.125 times the
model's size and a crop, leaves each emoji whole and its pixels as they were drawn.

Fetched from the npm registry (npm_config_registry names another) and checked against a checksum kept here; nothing of
it lies in the repository.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections import Counter, defaultdict
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from PIL import Image
from tqdm import tqdm

from varlite.io.files import write_json
from varlite.io.records import read_object

NAME, VERSION = "emoji-datasource-google", "16.0.0"
# Base64, as the registry writes it.
SHA512 = "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A=="
MARGIN = 4
FOLDER = "package/img/google/64/"
NOTICE = f"""Noto emoji, 64 x 64 pixels, from the npm package {NAME} {VERSION}.

The images are Google's Noto Emoji, available under the Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0, https://github.com/googlefonts/noto-emoji).
The package and its data are Cal Henderson's, under the MIT licence in the file LICENSE beside this one.
The emoji stand on white, with a margin of 4 pixels; folders are the package's categories. Pictures that occur twice
were left out, and every tenth emoji, with all its variants, is in `test`.
"""
# What variants of one emoji differ in: skin tone, sex, age, and the joiners between.
VARIANT = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF", "2640", "2642", "FE0F", "200D"} | {
    "1F466", "1F467", "1F468", "1F469", "1F9D1", "1F9D2",
}  # fmt: skip


def registry() -> str:
    """The npm registry that npm would ask, by the environment, in either case."""
    named = {name.lower(): value for name, value in os.environ.items()}
    return named.get("npm_config_registry", "https://registry.npmjs.org").rstrip("/")


def fetch_emoji(out: Path) -> dict[str, Any]:
    """Write OUT/{train,test}/CATEGORY/CODEPOINTS.png with NOTICE, LICENSE and counts.json; returns the counts.

    OUT appears when it is complete. Interrupted, the same command goes on with the download; done, it does nothing.
    Raises ValueError if OUT is something else or the download is not the pinned file, OSError without a network.
    """
    if (out / "counts.json").is_file():
        return read_object(out / "counts.json")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out: {out} exists and holds something else: name a folder that does not exist yet")
    out.parent.mkdir(parents=True, exist_ok=True)
    archive = out.with_name(out.name + ".tgz.partial")
    size = download(f"{registry()}/{NAME}/-/{NAME}-{VERSION}.tgz", archive, SHA512)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    counts = unpack(archive, partial) | {"package": f"{NAME} {VERSION}", "bytes_fetched": size}
    write_json(partial / "counts.json", counts)
    if out.exists():
        out.rmdir()
    os.replace(partial, out)
    archive.unlink()
    return counts


def download(url: str, path: Path, sha512: str) -> int:
    """Fetch `url` to `path`, after the bytes that are there already; returns the size of the whole file.

    Raises OSError if it cannot be fetched, and ValueError, removing the file, if its checksum is another.
    """
    have = path.stat().st_size if path.exists() else 0
    try:
        with urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=60) as reply:
            resumed = reply.status == 206  # a server may ignore Range and send all of it
            total = int(reply.headers.get("Content-Length") or 0) + have * resumed
            with (
                open(path, "ab" if resumed else "wb") as file,
                tqdm(total=total or None, initial=have * resumed, unit="B", unit_scale=True, desc=NAME) as bar,
            ):
                while piece := reply.read(1 << 20):
                    file.write(piece)
                    bar.update(len(piece))
            if path.stat().st_size < total:  # `read` takes an early end for the end
                raise ConnectionError(f"the connection ended after {path.stat().st_size} of {total} bytes")
    except (OSError, HTTPException) as error:
        if not (isinstance(error, HTTPError) and error.code == 416):  # 416: there was nothing left to send
            raise OSError(f"{url}: {error}; the same command goes on from {path}") from None
    with open(path, "rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != sha512:
        size = path.stat().st_size
        path.unlink()
        raise ValueError(f"{url}: got {size} bytes of SHA-512 {found}, expected {sha512}; removed, try again")
    return path.stat().st_size


def unpack(archive: Path, out: Path) -> dict[str, Any]:
    """The images of the package as an image folder at `out`; returns how many there are."""
    files: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and (member.name.startswith(FOLDER) or member.name.count("/") == 1):
                files[member.name] = tar.extractfile(member).read()
    splits = split(json.loads(files["package/emoji.json"]))
    written: set[bytes] = set()
    images: dict[str, Counter[str]] = {"train": Counter(), "test": Counter()}
    for (name, category), where in splits.items():
        content = files[FOLDER + name]
        if content in written:  # the flags of Norway and Bouvet Island, say
            continue
        written.add(content)
        path = out / where / category / name
        path.parent.mkdir(parents=True, exist_ok=True)
        on_white(content).save(path)
        images[where][category] += 1
    (out / "LICENSE").write_bytes(files["package/LICENSE"])
    (out / "NOTICE").write_text(NOTICE)
    return {"images": images, "duplicates_left_out": len(splits) - len(written)}


def on_white(png: bytes) -> Image.Image:
    """A transparent picture in the middle of a white one, MARGIN pixels larger on each side."""
    with Image.open(io.BytesIO(png)) as picture:
        drawn = picture.convert("RGBA")
    page = Image.new("RGB", (drawn.width + 2 * MARGIN, drawn.height + 2 * MARGIN), "white")
    page.paste(drawn, (MARGIN, MARGIN), drawn)
    return page


def split(emoji: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """(file name, category) -> "train" or "test", for every image and in the order of the emoji.

    Variants of one emoji look alike: skin tones, man and woman, families. They go to the same split, else the test
    images would have been seen in training.
    """
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in sorted(emoji, key=lambda row: row["sort_order"]):
        if row["category"] == "Component":  # hair and skin as such
            continue
        category = row["category"].lower().replace(" & ", "-")
        for image in (row, *row.get("skin_variations", {}).values()):
            if image["has_img_google"]:
                members[base(row["unified"])].append((image["image"], category.replace(" ", "-")))
    seen: Counter[str] = Counter()
    splits: dict[tuple[str, str], str] = {}
    for images in members.values():
        seen[images[0][1]] += 1
        splits |= dict.fromkeys(images, "test" if seen[images[0][1]] % 10 == 0 else "train")
    return splits


def base(unified: str) -> str:
    """What is common to the variants of an emoji, from its code points: "1F469-200D-1F373" -> "1F373", cooking."""
    parts = unified.split("-")
    rest = [part for part in parts if part not in VARIANT]
    return "person" if not rest else rest[0] if "200D" in parts else "-".join(rest)
