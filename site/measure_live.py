"""How the live page compares with Python: equal tokens for equal seeds, and seconds an image.

    python site/measure_live.py --images 100

Samples the same images in headless Chromium and by `varlite.generate`: the classes in turn, seeds 0, 1, 2, ...
"""

import argparse
import functools
import statistics
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from live_page import MODEL, ROOT, build_live
from playwright.sync_api import sync_playwright

import varlite

sys.path.insert(0, str(ROOT / "tests"))  # before the installed package jupyter_server
from jupyter_server import NO_BROWSER, find_chromium

DRAW = """async images => {
    const [{ openModel }, { sample }, { imageSeed }] =
        await Promise.all(['./model.js', './sampling.js', './hash.js'].map(name => import(new URL(name, location))));
    const start = performance.now();
    const model = await openModel('model');
    const opened = performance.now() - start;
    const drawn = [];
    for (const [label, seed] of images) {
        const before = performance.now(), tokens = [];
        for await (const step of sample(model, { label, cfg: 1.5, topP: 0.96, seed: imageSeed(seed, label) }))
            tokens.push(step.tokens);
        drawn.push({ tokens, seconds: (performance.now() - before) / 1000 });
    }
    return { opened: opened / 1000, drawn };
}"""


class Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def log_message(self, *_):
        pass


def in_browser(folder: Path, images: list[list[int]]) -> dict:
    """What DRAW returns in a page of the site in `folder`."""
    if (chromium := find_chromium()) is None:
        raise OSError(NO_BROWSER)
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/style.css")  # same origin, and nothing else runs
        result = page.evaluate(DRAW, images)
        browser.close()
        server.shutdown()
    return result


def in_python(images: list[list[int]]) -> list[list[list[int]]]:
    """The codes of each scale of each image."""
    model, tokenizer = varlite.load(MODEL)
    everything = []
    for label, seed in images:
        idx: list[list[int]] = []
        varlite.generate(
            model, tokenizer, [label], seeds=seed, on_scale=lambda s, idx=idx: idx.append(s.idx_Bl[0].tolist())
        )
        everything.append(idx)
    return everything


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    images = [[i % 10, i] for i in range(parser.parse_args().images)]
    with tempfile.TemporaryDirectory() as folder:
        build_live(Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        browser = in_browser(Path(folder), images)
    pairs = list(zip((one["tokens"] for one in browser["drawn"]), in_python(images), strict=True))
    tokens = [
        (a, b) for ours, theirs in pairs for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)
    ]
    seconds = [one["seconds"] for one in browser["drawn"]]
    print(f"{sum(a == b for a, b in tokens)} of {len(tokens)} tokens are equal, of {sum(a == b for a, b in pairs)} of "
          f"{len(pairs)} images all")  # fmt: skip
    print(f"the page has {size / 1e6:.1f} MB; its model opens in {browser['opened']:.2f} s; an image takes "
          f"{statistics.median(seconds):.2f} s (median), {min(seconds):.2f} s at best")  # fmt: skip


if __name__ == "__main__":
    main()
