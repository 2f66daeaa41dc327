"""The live page in a real browser: what it draws, swaps and in-paints is what Python does for the same seed."""

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from live_page import MODEL, build_live

import varlite
from varlite.datasets.pixels import to_bytes
from varlite.drawing import DRAW, draw, guide, image_seed, keep_top, random_words
from varlite.editing import keep_at_scale, keep_tokens
from varlite.scales import Scales

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}


class Quiet(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    try:
        build_live(folder / "live")
    except OSError as error:  # no npm, or no network
        pytest.fail(str(error)) if os.environ.get("CI") else pytest.skip(str(error))
    return folder


@pytest.fixture(scope="module")
def address(browser_type_launch_args, folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/live/"
        server.shutdown()


@pytest.fixture(scope="module")
def pair():
    return varlite.load(MODEL)


class LivePage:
    """The page, open in a browser: what a visitor does there, and what it then shows."""

    def __init__(self, page, address, start=""):
        self.page, self.drawn, self.requests, self.errors = page, 0, [], []
        page.set_default_timeout(60_000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(f"{address}index.html{start}")
        self.wait()

    def wait(self):
        """Until the next picture is there."""
        self.drawn += 1
        self.page.locator(f'#status[data-pictures="{self.drawn}"]').wait_for()

    def tokens(self):
        """The codes that the token maps show, a list for each scale."""
        return self.page.evaluate(
            "[...document.querySelectorAll('.scale')].map(scale => "
            "[...scale.querySelectorAll('[data-code]')].map(cell => Number(cell.dataset.code)))"
        )

    def picture(self):
        """Its pixels, bytes (H, W)."""
        data, width = self.page.evaluate(
            "(() => { const canvas = document.querySelector('#picture canvas');"
            "const {data, width} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
            "return [[...data], width]; })()"
        )
        return torch.tensor(data, dtype=torch.uint8).view(-1, width, 4)[..., 0]

    def choose_token(self, k, i):
        self.page.locator(".scale").nth(k).locator("button").nth(i).click()
        self.page.locator("#token").wait_for()

    def choices(self):
        return self.page.locator("#choices button")


def generated(pair, label, seed, on_scale=None, **settings):
    """(image, the codes of each scale) by Python."""
    idx = []

    def record(step):
        if on_scale is not None:
            on_scale(step)
        idx.append(step.idx_Bl[0].tolist())

    image = varlite.generate(*pair, [label], seeds=seed, on_scale=record, **settings)
    return image, idx


def test_the_page_draws_the_tokens_and_the_picture_of_generate(page, address, folder, pair):
    live = LivePage(page, address, "#class=9&seed=3")
    assert live.tokens() == generated(pair, 9, 3)[1]

    page.locator("#cfg").fill("3")
    live.wait()
    page.locator("#topp").fill("0.8")
    live.wait()
    page.get_by_role("button", name="sneaker").click()
    live.wait()
    page.locator("#seed").fill("41")
    page.get_by_role("button", name="Next seed").click()
    live.wait()

    image, idx = generated(pair, 7, 42, cfg=3, top_p=0.8)
    assert live.tokens() == idx
    assert (live.picture().int() - to_bytes(image)[0, 0].int()).abs().max() <= 1
    words = "varlite sample --classes 7 --num-per-class 1 --seed 42 --cfg 3 --top-p 0.8"
    assert page.locator("#command").inner_text() == words and page.url.endswith("#class=7&seed=42&cfg=3&topp=0.8")
    assert live.errors == [] and [url for url in live.requests if not url.startswith((address, "data:"))] == []
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20_000_000


def test_a_swapped_token_changes_the_finer_ones_or_leaves_them(page, address, pair):
    live, k, i = LivePage(page, address, "#class=8&seed=1"), 2, 4
    before, logits = live.tokens(), []
    live.choose_token(k, i)
    code = int(live.choices().nth(1).get_attribute("data-code"))
    live.choices().nth(1).click()
    live.wait()

    def swap(step):
        if step.k == k:
            logits.append(step.logits_BlV[0, i])
            step.idx_Bl[0, i] = code
            step.h_BlZ = step.tokenizer.embed(step.idx_Bl)

    image, idx = generated(pair, 8, 1, swap)
    likeliest = logits[0].topk(2).indices.tolist()
    assert code == likeliest[1] and before[k][i] != code
    assert live.tokens() == idx and idx[k + 1 :] != before[k + 1 :]
    assert (live.picture().int() - to_bytes(image)[0, 0].int()).abs().max() <= 1

    page.get_by_label("are kept").check()
    page.locator(f'#choices button[data-code="{likeliest[0]}"]').click()
    live.wait()
    idx[k][i] = likeliest[0]
    assert live.tokens() == idx and live.errors == []


def test_a_mask_painted_with_a_finger_is_in_painted(browser, address, pair):
    with browser.new_context(**PHONE) as context:
        page = context.new_page()
        live = LivePage(page, address, "#class=0&seed=6")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
        before = live.tokens()
        wide = page.locator("#picture").bounding_box()
        middles = [wide["x"] + (j + 0.5) * wide["width"] / 7 for j in (1, 2, 3)]
        y = wide["y"] + 4.5 * wide["height"] / 7
        finger = context.new_cdp_session(page)
        for kind, points in [("Start", middles[:1]), ("Move", middles[1:2]), ("Move", middles[2:]), ("End", [])]:
            touches = [{"x": x, "y": y} for x in points]
            finger.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": touches})
        page.get_by_label("redraw row 4, column 2").focus()
        for key in ("Space", "ArrowRight", "Space", "ArrowRight", "Space", "ArrowRight", "Space", "Space"):
            page.keyboard.press(key)  # the last cell is painted and wiped again
        page.locator("#fill").select_option(label="dress")
        page.get_by_role("button", name="In-paint").tap()
        live.wait()

        keep, scales = torch.ones(7, 7, dtype=torch.bool), pair[0].scales
        keep[3:5, 1:4] = False
        own = [torch.tensor([tokens]) for tokens in before]

        def keep_own(step):
            keep_tokens(own, keep)(step)
            step.idx_Bl = torch.where(keep_at_scale(keep, step.k, scales), own[step.k], step.idx_Bl)

        image, idx = generated(pair, 3, 7, keep_own)
        assert live.tokens() == idx != before
        assert (live.picture().int() - to_bytes(image)[0, 0].int()).abs().max() <= 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and live.errors == []


@pytest.fixture(scope="module")
def run(browser, address):
    """Runs JavaScript that may use the page's modules, as `hash`, `drawing` and `editing`, and what is `given`."""
    modules = ("hash", "drawing", "editing")
    imports = "".join(f"const {name} = await import('{address}{name}.js');" for name in modules)
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}hash.js")  # a page of the same origin that does nothing itself
        yield lambda code, given: page.evaluate(f"async given => {{ {imports} return {code} }}", given)


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 3, 2**63 - 1, -5])
def test_random_words_are_those_of_python(run, seed):
    for step in (0, 4):
        found = run("[...hash.randomWords(given[0], given[1], 49)]", [str(seed), step])
        assert found == random_words(torch.tensor([seed]), DRAW, step, (49,))[0].tolist()
    assert int(run("String(hash.imageSeed(given, 3, 2))", str(seed))) == image_seed(seed, 3, 2)


@pytest.mark.parametrize(("round_to", "top_p"), [(1e-3, 0.9), (1, 0.6), (1, 0.0)])
def test_guidance_top_p_and_draws_are_those_of_python(run, round_to, top_p):
    """Logits that are rounded to whole numbers leave many codes equally likely."""
    rows, V = 60, 64
    logits_2BlV = (torch.randn(2, 1, rows, V, generator=torch.Generator().manual_seed(0)) * 3 / round_to).round()
    cond_BlV, null_BlV = logits_2BlV * round_to
    kept_BlV = keep_top(guide(cond_BlV, null_BlV, 0.75), 0, top_p)
    seed_B = torch.tensor([5])
    found = run(
        """given.cond.map((cond, i) => {
            const row = drawing.guide(Float32Array.from(cond), Float32Array.from(given.none[i]), 0.75);
            const kept = drawing.keepTop(row, given.topP);
            return [[...kept].map(logit => logit > -Infinity), drawing.draw(kept, given.words[i])];
        })""",
        {
            "cond": cond_BlV[0].tolist(), "none": null_BlV[0].tolist(), "topP": top_p,
            "words": random_words(seed_B, DRAW, 2, (rows,))[0].tolist(),
        },
    )  # fmt: skip
    assert [kept for kept, _ in found] == (kept_BlV[0] > -torch.inf).tolist()
    assert [code for _, code in found] == draw(kept_BlV, seed_B, 2)[0].tolist()


@pytest.mark.parametrize("sides", [[1, 2, 3, 5, 7], [[1, 2], [2, 2], [3, 5]], [1, 3, 4, 5, 9]])
def test_the_tokens_that_a_mask_keeps_are_those_of_python(run, sides):
    scales, generator = Scales.of(sides), torch.Generator().manual_seed(0)
    shapes = [list(shape) for shape in scales.shapes]
    for share in (0.2, 0.5, 0.8):
        keep = torch.rand(scales.last, generator=generator) < share
        found = run(
            "given.scales.map((_, k) => editing.keepAtScale(given.keep, k, given.scales))",
            {"keep": keep.flatten().tolist(), "scales": shapes},
        )
        assert found == [keep_at_scale(keep, k, scales).tolist() for k in range(scales.K)]
