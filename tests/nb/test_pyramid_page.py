import json
import re

import pytest

from varlite.nb.pyramid import likeliest, redraw, sample_pyramid
from varlite.nb.pyramid_page import explorer_html

CLASSES = ["</script>"] + [f"kind {c}" for c in range(1, 10)]


@pytest.fixture(scope="module")
def page(model, tokenizer):
    return explorer_html(model, tokenizer, CLASSES, label=0, seed=5, chosen=(1, 2))


@pytest.fixture(scope="module")
def data(page):
    return json.loads(re.search(r"const data = (.*);\n", page)[1])


def test_every_token_has_its_likeliest_codes_and_every_other_of_them_its_swap(data, model, tokenizer):
    sample = sample_pyramid(model, tokenizer, 0, 5)
    assert data["view"]["tokens"] == [idx_l.tolist() for idx_l in sample.idx] and data["chosen"] == "1,2"
    assert len(data["details"]) == sample.scales.total == 39
    for name, detail in data["details"].items():
        k, place = map(int, name.split(","))
        codes = [one["code"] for one in detail["codes"]]
        assert codes[:5] == [code for code, _ in likeliest(sample, k, place)]
        for code in codes:
            if code != (own := int(sample.idx[k][place])):
                view = data["swaps"][f"{name},{code}"]
                assert view["tokens"][:k] == data["view"]["tokens"][:k] and view["tokens"][k][place] == code
                assert view["pictures"][:k] == data["view"]["pictures"][:k]  # bit for bit: the same files
        assert own in codes


def test_every_scale_is_drawn_again_as_the_package_does(data, model, tokenizer):
    sample = sample_pyramid(model, tokenizer, 0, 5)
    for k, views in enumerate(data["redraws"]):
        assert [view["seeds"][-1] for view in views] == [6, 7, 8]
        again = redraw(model, tokenizer, sample, k, 6)
        assert views[0]["tokens"] == [idx_l.tolist() for idx_l in again.idx]


def test_the_page_asks_no_other_host_and_a_name_cannot_end_its_script(page):
    assert not re.search(r"https?:|//[a-z]+\.|import ", page) and page.count("</script>") == 1
    assert "export" not in page and page.count("<style>") == 1
