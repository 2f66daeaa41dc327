"""Fetching the emoji, from a registry of the test's own with three small packages."""

import base64
import hashlib
import io
import json
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image, ImageChops

from varlite.datasets import emoji, open_dataset

CATEGORIES = ("Smileys & Emotion", "Travel & Places")


def picture(colour, size=(64, 64), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGBA", size, (colour * 9 % 256, colour // 256, 77, 200)).save(buffer, kind, lossless=True)
    return buffer.getvalue()


def emoji_rows():
    """Forty emoji, every fourth with two skin tones, a component, a flag, and one that nobody draws."""
    rows = []
    for i in range(40):
        code = f"1F4{i:02X}"
        row = {"unified": code, "image": f"{code.lower()}.png", "category": CATEGORIES[i % 2], "sort_order": 100 - i}
        if i % 4 == 0:
            row["skin_variations"] = {
                tone: row | {"image": f"{code}-{tone}.png".lower(), "unified": f"{code}-{tone}"}
                for tone in ("1F3FB", "1F3FF")
            }
        rows.append(row)
    for code, category in (("1F9B0", "Component"), ("1F1F3-1F1EB", CATEGORIES[0]), ("1F999", CATEGORIES[0])):
        rows.append({"unified": code, "image": f"{code.lower()}.png", "category": category, "sort_order": 101})
    return rows


def package(style):
    """What the registry has of a style: fluent lacks every fifth emoji, and two of twitter's show the same picture."""
    rows = emoji_rows()
    images = [image for row in rows for image in (row, *row.get("skin_variations", {}).values())]
    codes = [image["image"].removesuffix(".png") for image in images if image["unified"] != "1F999"]
    if style == "fluent":
        drawn = {f"assets/{code}.webp": picture(2000 + i, (256, 264), "WEBP") for i, code in enumerate(codes) if i % 5}
        files = {"README.md": b"..."} | drawn
    else:
        first = 0 if style == "google" else 1000
        drawn = {f"img/{style}/64/{code}.png": picture(first + i) for i, code in enumerate(codes)}
        if style == "twitter":
            drawn[f"img/{style}/64/{codes[1]}.png"] = drawn[f"img/{style}/64/{codes[0]}.png"]
        files = {"LICENSE": b"of the package", f"img/{style}/sheets/all.png": bytes(3_000_000)} | drawn
        files["emoji.json"] = json.dumps(rows).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Registry(BaseHTTPRequestHandler):
    packages, cut, ranges, requests = {}, {}, True, []

    def do_GET(self):
        style = next(name for name, style in emoji.STYLES.items() if self.path == address(style))
        content = self.packages[style]
        start = self.headers.get("Range") if self.ranges else None
        first = int(start.removeprefix("bytes=").rstrip("-")) if start else 0
        self.requests.append((style, first))
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : self.cut.get(style)])  # cut: the connection ends there

    def log_message(self, *arguments):
        pass


def address(style):
    return f"/{style.package}/-/{style.package.split('/')[-1]}-{style.version}.tgz"


@pytest.fixture(scope="module")
def packages():
    return {name: package(name) for name in emoji.STYLES}


@pytest.fixture
def registry(monkeypatch, packages):
    handler = type("Handler", (Registry,), {"packages": packages, "requests": [], "cut": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name, style in emoji.STYLES.items():
        digest = base64.b64encode(hashlib.sha512(packages[name]).digest()).decode()
        monkeypatch.setitem(emoji.STYLES, name, replace(style, sha512=digest))
    yield handler
    server.shutdown()
    server.server_close()


def test_the_emoji_become_an_image_folder_with_their_licences(registry, tmp_path):
    out = tmp_path / "new" / "emoji"
    counts = emoji.fetch_emoji(out)
    assert registry.requests == [("google", 0), ("twitter", 0), ("fluent", 0)]
    assert sorted(path.name for path in out.iterdir()) == ["LICENSE", "NOTICE", "counts.json", "test", "train"]
    notice = (out / "NOTICE").read_text()
    for whose in ("Google's Noto Emoji", "Apache License 2.0", "Twemoji, Copyright Twitter", "CC-BY 4.0", "Microsoft"):
        assert whose in notice
    assert (out / "LICENSE").read_text() == "of the package"
    assert [path.name for path in out.parent.iterdir()] == ["emoji"]  # nothing half-done is left
    data = {split: open_dataset(str(out), split, (64, 64), 3) for split in ("train", "test")}
    for split in data:
        assert len(data[split].labels) == sum(counts["images"][split].values())
    # Forty emoji, 20 skin tones and a flag; of twitter one was seen before; of fluent there are 48, without the flag.
    assert sum(len(d.labels) for d in data.values()) == 61 + 60 + 48 and counts["left_out_twice"] == 1


def test_each_pair_of_group_and_style_is_a_class(registry, tmp_path):
    emoji.fetch_emoji(tmp_path / "emoji")
    pairs = [f"{group}-{style}" for group in ("smileys-emotion", "travel-places") for style in sorted(emoji.STYLES)]
    for split in ("train", "test"):
        assert list(open_dataset(str(tmp_path / "emoji"), split, (64, 64), 3).classes) == pairs


def test_variants_and_styles_of_an_emoji_are_in_the_same_split(registry, tmp_path):
    emoji.fetch_emoji(tmp_path / "emoji")
    splits = {}
    for path in tmp_path.rglob("*.png"):
        splits.setdefault(path.stem.split("-")[0], set()).add(path.relative_to(tmp_path / "emoji").parts[0])
    assert all(len(found) == 1 for found in splits.values())
    assert sum(found == {"test"} for found in splits.values()) == 4  # every tenth of each of two classes of 20
    styles = {path.parent.name.rpartition("-")[2] for path in (tmp_path / "emoji/test").rglob("*.png")}
    assert styles == set(emoji.STYLES)


def test_pictures_of_any_size_come_out_whole_on_white_at_one_size():
    page = emoji.on_white(picture(0, (256, 264), "WEBP"))
    assert (page.mode, page.size) == ("RGB", (72, 72))
    drawn = ImageChops.difference(page, Image.new("RGB", page.size, "white")).getbbox()
    assert drawn == (5, 4, 67, 68)  # 62 x 64, in the middle
    same = emoji.on_white(picture(0))
    assert same.crop((4, 4, 68, 68)).getcolors() == [(64 * 64, (55, 55, 115))]  # as drawn, a fifth of it white


def test_national_flags_of_fluent_are_left_out_since_they_are_not_its_own(registry, tmp_path):
    emoji.fetch_emoji(tmp_path / "emoji")
    flags = [path.parent.name for path in tmp_path.rglob("1f1f3-1f1eb.png")]
    assert sorted(flags) == ["smileys-emotion-google", "smileys-emotion-twitter"]


@pytest.mark.parametrize(
    ("unified", "base"),
    [
        ("1F44D", "1F44D"),  # thumbs up
        ("1F469-200D-1F373", "1F373"),  # a woman, cooking
        ("1F373", "1F373"),
        ("1F3C3-200D-2640-FE0F-200D-27A1-FE0F", "1F3C3"),  # a woman, running, to the right
        ("1F468-200D-1F469-200D-1F466", "person"),  # a family
        ("1F468", "person"),
        ("1F1F3-1F1EB", "1F1F3-1F1EB"),  # a flag
        ("0031-FE0F-20E3", "0031-20E3"),  # a keycap
    ],
)
def test_variants_share_what_the_emoji_is_about(unified, base):
    assert emoji.base(unified) == base


def test_a_second_call_fetches_nothing(registry, tmp_path):
    counts = emoji.fetch_emoji(tmp_path / "emoji")
    assert emoji.fetch_emoji(tmp_path / "emoji") == counts and len(registry.requests) == 3


def test_a_folder_of_other_packages_is_not_taken_for_these(registry, tmp_path):
    (tmp_path / "counts.json").write_text('{"package": "emoji-datasource-google 16.0.0"}')
    with pytest.raises(ValueError, match="holds emoji of other packages: remove it, or name another folder"):
        emoji.fetch_emoji(tmp_path)
    assert registry.requests == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_taken_up_where_it_ended(registry, tmp_path, ranges):
    registry.ranges, registry.cut = ranges, {"twitter": 1_000_000}
    message = r"emoji-datasource-twitter 16\.0\.0 .* the same command goes on from .*emoji\.twitter\.tgz\.partial"
    with pytest.raises(OSError, match=message):
        emoji.fetch_emoji(tmp_path / "emoji")
    assert (tmp_path / "emoji.twitter.tgz.partial").stat().st_size == 1_000_000 and not (tmp_path / "emoji").exists()
    registry.cut = {}
    emoji.fetch_emoji(tmp_path / "emoji")
    of_twitter = [first for name, first in registry.requests if name == "twitter"]
    assert of_twitter == [0, 1_000_000 if ranges else 0]


def test_complete_downloads_are_not_fetched_again(registry, tmp_path, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(emoji, "unpack", stopped)
        emoji.fetch_emoji(tmp_path / "emoji")
    emoji.fetch_emoji(tmp_path / "emoji")
    assert registry.requests[3:] == [(name, len(content)) for name, content in registry.packages.items()]


def test_another_file_than_the_pinned_one_is_refused_and_removed(registry, tmp_path, monkeypatch):
    monkeypatch.setitem(emoji.STYLES, "google", replace(emoji.STYLES["google"], sha512="another"))
    message = r"emoji-datasource-google 16.* gave \d+ bytes of SHA-512 .*, expected another; removed, try again"
    with pytest.raises(ValueError, match=message):
        emoji.fetch_emoji(tmp_path / "emoji")
    assert not list(tmp_path.iterdir())


def test_without_a_network_package_and_address_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")  # nobody answers there
    message = r"^emoji-datasource-google 16.* from http://127\.0\.0\.1:9/emoji-datasource-google/-/.*refused.*registry$"
    with pytest.raises(OSError, match=message):
        emoji.fetch_emoji(tmp_path / "emoji")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match="exists and holds something else"):
        emoji.fetch_emoji(tmp_path)
    assert (tmp_path / "photo.png").read_bytes() == b"mine"
