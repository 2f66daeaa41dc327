"""A small data set in colour: emoji in three styles, Google's, Twitter's and Microsoft's, nine groups of each.

The style is a second condition beside the group, and each pair of the two is a class of its own: `food-drink-google`,
`food-drink-twitter`. So the class table of a model takes them as they are. A sum of two embeddings, one of the group
and one of the style, would need 12 vectors instead of 27 and could be asked for a pair that was never shown. But every
pair has pictures here, and a label of two numbers would need its own way through label dropout, guidance, sampling and
checkpoints. The price: that two classes share a style is learned from the pictures, and guidance strengthens group and
style together.

The pictures come out on white, 72 x 72: with a margin, so that what every folder of images gets, resizing to 1.125
times the model's size and a crop, leaves each emoji whole, and at 64 pixels as Google's and Twitter's were drawn.

Fetched from the npm registry (npm_config_registry names another) and checked against checksums kept here; nothing of
it lies in the repository. Whose the pictures are: `Style.notice`, and the file NOTICE beside them.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from PIL import Image, ImageOps
from tqdm import tqdm

from varlite.io.files import write_json
from varlite.io.records import read_object


@dataclass(frozen=True)
class Style:
    """A package of pictures, one file an emoji, named by its code points."""

    package: str
    version: str
    sha512: str  # in base64, as the registry writes it
    folder: str  # of the pictures in the package
    suffix: str
    notice: str  # whose the pictures are, and under which licence
    without: tuple[str, ...] = ()  # beginnings of the names of pictures that are left out


STYLES = {
    "google": Style(
        "emoji-datasource-google", "16.0.0",
        "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A==",
        "package/img/google/64/", ".png",
        """Google's Noto Emoji, available under the Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0, https://github.com/googlefonts/noto-emoji).
The package and its data are Cal Henderson's, under the MIT licence in the file LICENSE beside this one.""",
    ),
    "twitter": Style(
        "emoji-datasource-twitter", "16.0.0",
        "7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ==",
        "package/img/twitter/64/", ".png",
        """Twemoji, Copyright Twitter, Inc and other contributors, licensed under CC-BY 4.0
(https://creativecommons.org/licenses/by/4.0/, https://github.com/twitter/twemoji).
The package and its data are Cal Henderson's, under the same MIT licence as the first.""",
    ),
    "fluent": Style(
        "@lobehub/fluent-emoji-3d", "1.1.0",
        "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
        "package/assets/", ".webp",
        """Fluent Emoji, Copyright Microsoft Corporation, under the MIT licence
(https://github.com/microsoft/fluentui-emoji). The package is LobeHub's, Copyright 2023, under the MIT licence
(https://github.com/lobehub/fluent-emoji). Its national flags are left out: Microsoft draws none, and the package does
not say whose they are.""",
        without=("1f1e", "1f1f"),
    ),
}  # fmt: skip
SIDE, MARGIN = 64, 4
NOTICE = """Emoji in three styles, {side} x {side} pixels, on white and with a margin of {margin} pixels.

Folders are named by group and style, groups by the categories of {data}. Larger pictures
were reduced, pictures that occur twice were left out, and every tenth emoji, in all its styles and variants, is in
`test`.

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
    """Write OUT/{train,test}/GROUP-STYLE/CODEPOINTS.png with NOTICE, LICENSE and counts.json; returns the counts.

    OUT appears when it is complete. Interrupted, the same command goes on with the download; done, it does nothing.
    Raises ValueError if OUT is something else or a download is not the pinned file, OSError without a network.
    """
    packages = {name: f"{style.package} {style.version}" for name, style in STYLES.items()}
    if (out / "counts.json").is_file():
        counts = read_object(out / "counts.json")
        if counts.get("packages") != packages:
            raise ValueError(f"out: {out} holds emoji of other packages: remove it, or name another folder")
        return counts
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out: {out} exists and holds something else: name a folder that does not exist yet")
    out.parent.mkdir(parents=True, exist_ok=True)
    archives = {name: out.with_name(f"{out.name}.{name}.tgz.partial") for name in STYLES}
    size = sum(download(style, archives[name]) for name, style in STYLES.items())
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    counts = unpack(archives, partial) | {"packages": packages, "bytes_fetched": size}
    write_json(partial / "counts.json", counts)
    if out.exists():
        out.rmdir()
    os.replace(partial, out)
    for archive in archives.values():
        archive.unlink()
    return counts


def download(style: Style, path: Path) -> int:
    """Fetch a style's package to `path`, after the bytes that are there already; returns the size of the whole file.

    Raises OSError if it cannot be fetched, and ValueError, removing the file, if its checksum is another.
    """
    url = f"{registry()}/{style.package}/-/{style.package.rpartition('/')[2]}-{style.version}.tgz"
    have = path.stat().st_size if path.exists() else 0
    try:
        with urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=60) as reply:
            resumed = reply.status == 206  # a server may ignore Range and send all of it
            total = int(reply.headers.get("Content-Length") or 0) + have * resumed
            with (
                open(path, "ab" if resumed else "wb") as file,
                tqdm(total=total or None, initial=have * resumed, unit="B", unit_scale=True, desc=style.package) as bar,
            ):
                while piece := reply.read(1 << 20):
                    file.write(piece)
                    bar.update(len(piece))
            if path.stat().st_size < total:  # `read` takes an early end for the end
                raise ConnectionError(f"the connection ended after {path.stat().st_size} of {total} bytes")
    except (OSError, HTTPException) as error:
        if not (isinstance(error, HTTPError) and error.code == 416):  # 416: there was nothing left to send
            raise OSError(
                f"{style.package} {style.version} cannot be fetched from {url}: {error}; the same command goes on from "
                f"{path}, and npm_config_registry names another registry"
            ) from None
    with open(path, "rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != style.sha512:
        size = path.stat().st_size
        path.unlink()
        raise ValueError(
            f"{style.package} {style.version}: {url} gave {size} bytes of SHA-512 {found}, expected {style.sha512}; "
            "removed, try again"
        )
    return path.stat().st_size


def unpack(archives: dict[str, Path], out: Path) -> dict[str, Any]:
    """The images of the packages as an image folder at `out`; returns how many there are.

    archives: the package of each style. Names and groups of the emoji are those of the first, for all styles.
    """
    files = {style: read_archive(path, STYLES[style].folder) for style, path in archives.items()}
    first = files[next(iter(files))]
    splits = split(json.loads(first["package/emoji.json"]))
    written: set[bytes] = set()
    images: dict[str, Counter[str]] = {"train": Counter(), "test": Counter()}
    twice = 0
    for (code, group), where in splits.items():
        for name, style in STYLES.items():
            content = files[name].get(f"{style.folder}{code}{style.suffix}")
            if content is None or code.startswith(style.without):
                continue
            if content in written:  # the flags of Norway and Bouvet Island, say
                twice += 1
                continue
            written.add(content)
            path = out / where / f"{group}-{name}" / f"{code}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            on_white(content).save(path)
            images[where][path.parent.name] += 1
    (out / "LICENSE").write_bytes(first["package/LICENSE"])
    notices = [f"{name}: {style.package} {style.version}\n{style.notice}\n" for name, style in STYLES.items()]
    head = NOTICE.format(side=SIDE, margin=MARGIN, data=STYLES[next(iter(files))].package)
    (out / "NOTICE").write_text(head + "\n".join(notices))
    return {"images": {where: dict(sorted(found.items())) for where, found in images.items()}, "left_out_twice": twice}


def read_archive(path: Path, folder: str) -> dict[str, bytes]:
    """The files in a folder of a package, and those at its top, by their paths."""
    with tarfile.open(path) as tar:
        wanted = (x for x in tar if x.isfile() and (x.name.startswith(folder) or x.name.count("/") == 1))
        return {member.name: file.read() for member in wanted if (file := tar.extractfile(member))}


def on_white(content: bytes) -> Image.Image:
    """A transparent picture, reduced to SIDE, in the middle of a white one, MARGIN pixels larger on each side."""
    with Image.open(io.BytesIO(content)) as picture:
        drawn = ImageOps.contain(picture.convert("RGBA"), (SIDE, SIDE), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (SIDE + 2 * MARGIN, SIDE + 2 * MARGIN), "white")
    page.paste(drawn, ((page.width - drawn.width) // 2, (page.height - drawn.height) // 2), drawn)
    return page


def split(emoji: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """(code points, group) -> "train" or "test", for every picture's name and in the order of the emoji.

    Variants of one emoji look alike: skin tones, man and woman, families, and so do its styles. All go to the same
    split, else the test images would have been seen in training.
    """
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in sorted(emoji, key=lambda row: row["sort_order"]):
        if row["category"] == "Component":  # hair and skin as such
            continue
        group = row["category"].lower().replace(" & ", "-").replace(" ", "-")
        for image in (row, *row.get("skin_variations", {}).values()):
            members[base(row["unified"])].append((image["image"].removesuffix(".png"), group))
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
