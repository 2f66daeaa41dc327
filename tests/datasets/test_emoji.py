"""Fetching the emoji, from a registry of the test's own with a small package."""

import base64
import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from varlite.datasets import emoji, open_dataset

CATEGORIES = ("Smileys & Emotion", "Travel & Places")


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64), (colour * 9 % 256, colour // 256, 77, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def package():
    """Forty emoji, every fourth with two skin tones; the last two show the same picture."""
    rows, files = [], {"LICENSE": b"of the package", "README.md": b"..."}
    for i in range(40):
        code = f"1F4{i:02X}"
        row = {"unified": code, "image": f"{code}.png", "category": CATEGORIES[i % 2], "sort_order": 100 - i}
        row |= {"has_img_google": True}
        if i % 4 == 0:
            tones = ("1F3FB", "1F3FF")
            row["skin_variations"] = {t: row | {"image": f"{code}-{t}.png", "unified": f"{code}-{t}"} for t in tones}
        rows.append(row)
    rows.append({"unified": "1F9B0", "image": "1F9B0.png", "category": "Component", "sort_order": 1})
    rows.append({"unified": "1F999", "image": "none.png", "category": CATEGORIES[0], "sort_order": 2})
    rows[-2]["has_img_google"], rows[-1]["has_img_google"] = True, False
    images = [image for row in rows for image in (row, *row.get("skin_variations", {}).values())]
    names = [image["image"] for image in images if image["has_img_google"]]
    files |= {f"img/google/64/{name}": png(min(i, len(names) - 3)) for i, name in enumerate(names)}
    files |= {"img/google/sheets/all.png": bytes(3_000_000), "emoji.json": json.dumps(rows).encode()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Registry(BaseHTTPRequestHandler):
    content, cut, ranges, requests = b"", None, True, []

    def do_GET(self):
        start = self.headers.get("Range") if self.ranges else None
        first = int(start.removeprefix("bytes=").rstrip("-")) if start else 0
        self.requests.append((self.path, first))
        if first >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - first))
        self.end_headers()
        self.wfile.write(self.content[first : self.cut])  # cut: the connection ends there

    def log_message(self, *arguments):
        pass


@pytest.fixture
def registry(monkeypatch):
    handler = type("Handler", (Registry,), {"content": package(), "requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    digest = hashlib.sha512(handler.content).digest()
    monkeypatch.setattr(emoji, "SHA512", base64.b64encode(digest).decode())
    yield handler
    server.shutdown()
    server.server_close()


def test_the_emoji_become_an_image_folder_with_their_licence(registry, tmp_path):
    out = tmp_path / "new" / "emoji"
    counts = emoji.fetch_emoji(out)
    assert [path for path, _ in registry.requests] == [f"/{emoji.NAME}/-/{emoji.NAME}-{emoji.VERSION}.tgz"]
    assert sorted(path.name for path in out.iterdir()) == ["LICENSE", "NOTICE", "counts.json", "test", "train"]
    assert "Apache License 2.0" in (out / "NOTICE").read_text() and (out / "LICENSE").read_text() == "of the package"
    assert [path.name for path in out.parent.iterdir()] == ["emoji"]  # nothing half-done is left
    data = {split: open_dataset(str(out), split, (64, 64), 3) for split in ("train", "test")}
    assert data["train"].classes == data["test"].classes == ("smileys-emotion", "travel-places")
    for split in data:
        assert len(data[split].labels) == sum(counts["images"][split].values())
    # 40 and 20 skin tones; neither the component nor the one without a picture; one picture was seen before.
    assert sum(len(d.labels) for d in data.values()) == 59 and counts["duplicates_left_out"] == 1


def test_variants_of_an_emoji_are_in_the_same_split(registry, tmp_path):
    emoji.fetch_emoji(tmp_path / "emoji")
    splits = {}
    for path in tmp_path.rglob("*.png"):
        splits.setdefault(path.stem.split("-")[0], set()).add(path.relative_to(tmp_path / "emoji").parts[0])
    assert all(len(found) == 1 for found in splits.values())
    assert sum(found == {"test"} for found in splits.values()) == 4  # every tenth of each of two classes of 20


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
    assert emoji.fetch_emoji(tmp_path / "emoji") == counts and len(registry.requests) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_taken_up_where_it_ended(registry, tmp_path, ranges):
    registry.ranges, registry.cut = ranges, 1_000_000
    with pytest.raises(OSError, match=r"the same command goes on from .*emoji\.tgz\.partial"):
        emoji.fetch_emoji(tmp_path / "emoji")
    assert (tmp_path / "emoji.tgz.partial").stat().st_size == 1_000_000 and not (tmp_path / "emoji").exists()
    registry.cut = None
    emoji.fetch_emoji(tmp_path / "emoji")
    assert [first for _, first in registry.requests] == [0, 1_000_000 if ranges else 0]


def test_a_complete_download_is_not_fetched_again(registry, tmp_path, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(emoji, "unpack", stopped)
        emoji.fetch_emoji(tmp_path / "emoji")
    emoji.fetch_emoji(tmp_path / "emoji")
    assert [first for _, first in registry.requests] == [0, len(registry.content)]


def test_another_file_than_the_pinned_one_is_refused_and_removed(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(emoji, "SHA512", "another")
    with pytest.raises(ValueError, match=r"got \d+ bytes of SHA-512 .*, expected another; removed, try again"):
        emoji.fetch_emoji(tmp_path / "emoji")
    assert not list(tmp_path.iterdir())


def test_without_a_network_the_address_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:9/emoji-datasource-google/-/.*refused"):
        emoji.fetch_emoji(tmp_path / "emoji")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match="exists and holds something else"):
        emoji.fetch_emoji(tmp_path)
    assert (tmp_path / "photo.png").read_bytes() == b"mine"
