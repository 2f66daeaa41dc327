import io

import pytest
import torch
from PIL import Image

from varlite.nb.pyramid import alternatives, changed, redraw, sample_pyramid, swap
from varlite.nb.widgets.explorer import PyramidExplorer, frame_of

CLASSES = [f"kind {c}" for c in range(10)]


@pytest.fixture
def explorer(model, tokenizer):
    return PyramidExplorer(model, tokenizer, CLASSES, label=3, seed=5)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip((*a.idx, *a.images), (*b.idx, *b.images), strict=True))


def test_it_shows_the_sample_its_first_token_and_that_tokens_likeliest_codes(explorer, model, tokenizer):
    sample = sample_pyramid(model, tokenizer, 3, 5)
    assert equal(explorer.sample, sample) and explorer.view["tokens"] == [idx_l.tolist() for idx_l in sample.idx]
    assert len(set(explorer.view["pictures"])) == 4 and explorer.view["fresh"] and not explorer.view["undo"]
    codes = alternatives(model, tokenizer, sample, 0, 0)
    assert [one["code"] for one in explorer.detail["codes"]] == [one.code for one in codes]
    assert repr(explorer) == "PyramidExplorer(kind 3, 4 scales, 39 tokens)"


def test_a_click_on_a_token_shows_where_it_looks_and_leaves_the_sample_alone(explorer):
    view = explorer.view
    explorer.answer({"do": "choose", "k": 2, "place": 4})
    row_DL = explorer.sample.attention_DLL[:, explorer.sample.scales.spans[2][0] + 4]
    assert (explorer.detail["k"], explorer.detail["place"]) == (2, 4) and explorer.view == view
    assert explorer.detail["attention"] == (row_DL * 10_000).round().int().tolist()


def test_a_swap_a_redraw_and_undo_are_those_of_the_package_and_say_what_changed(explorer, model, tokenizer):
    first = explorer.sample
    code = (int(first.idx[1][2]) + 1) % 32
    explorer.answer({"do": "swap", "k": 1, "place": 2, "code": code})
    second = swap(model, tokenizer, first, 1, 2, code)
    assert equal(explorer.sample, second)
    counts = [f"{n} of {of} at" for n, of in changed(first, second)[1:]]
    words = explorer.view["words"]
    assert words.startswith(f"Code {code} in place of {int(first.idx[1][2])}. ") and "bit for bit" in words
    assert all(count in words for count in counts) and "1 x 1" not in words

    explorer.answer({"do": "redraw", "k": 2})
    assert equal(explorer.sample, redraw(model, tokenizer, second, 2, 6)) and "with seed 6" in explorer.view["words"]
    explorer.answer({"do": "undo"})
    assert equal(explorer.sample, second) and explorer.view["words"] == words and explorer.view["undo"]
    explorer.answer({"do": "undo"})
    explorer.answer({"do": "undo"})  # one too many
    assert equal(explorer.sample, first) and not explorer.view["undo"]


def test_another_class_or_seed_is_another_sample(explorer, model, tokenizer):
    explorer.answer({"do": "draw", "label": 4, "seed": "7"})
    assert equal(explorer.sample, sample_pyramid(model, tokenizer, 4, 7)) and "kind 4, seed 7" in explorer.view["words"]


def test_what_goes_wrong_is_said_in_words_of_the_controls_and_the_next_click_works(explorer):
    answers = {explorer.detail["answer"]}
    for message, words in [
        ({"do": "draw", "label": 1, "seed": "-1"}, "seed: type a whole number from 0 on, not '-1'"),
        ({"do": "draw", "label": 1, "seed": ""}, "seed: type a whole number from 0 on, not ''"),
        ({"do": "choose", "k": 0, "place": 4}, "place must lie in 0 .. 0 at scale 0, got 4"),
    ]:
        explorer.answer(message)
        answers.add(explorer.detail["answer"])
        assert explorer.detail["error"] == words and explorer.chosen == (0, 0)
    assert len(answers) == 4  # the page waits for each
    explorer.answer({"do": "choose", "k": 3, "place": 0})
    assert explorer.detail["error"] == ""


def test_every_code_has_a_shade_of_every_scale(explorer, tokenizer):
    frame = frame_of(explorer.sample, tokenizer)
    assert len(frame["shades"]) == 32 and len({len(shades) for shades in frame["palette"]}) == 1
    colours = {colour for shades in frame["palette"] for colour in shades}
    assert max(frame["shades"]) == len(frame["palette"][0]) - 1 and all(len(colour) == 7 for colour in colours)
    assert len({shades[20] for shades in frame["palette"]}) == 4


def test_its_picture_goes_with_it_for_pages_that_show_no_widgets(explorer):
    bundle = explorer._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    before = bundle["image/png"]
    explorer.choose(2, 4)
    bundle = explorer._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in bundle and bundle["image/png"] != before
    assert Image.open(io.BytesIO(before)).size[0] > 900
