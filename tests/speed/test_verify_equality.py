import math

import pytest
import torch

from varlite.checkpoints.load import load
from varlite.drawing import DRAW, random_words
from varlite.speed import verify_equality as equality
from varlite.speed.verify_golden import cases, compare, host_draws
from varlite.speed.verify_parts import Job

CPU = torch.device("cpu")
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def here():
    model, tokenizer = load("fashion-var-d4")
    return equality.sampled(model, tokenizer, [0, 1], SEEDS)


def test_equal_batches_pass(here):
    row = equality.compared("", here, here, SEEDS)
    assert row.passed and row.value == "100.00%" and "part" not in row.note


def test_a_token_that_differs_is_traced_to_how_near_its_draw_lies_to_a_border(here):
    other = equality.Sampled([idx.clone() for idx in here.idx], here.logits)
    other.idx[2][1, 4] += 1
    row = equality.compared("", here, other, SEEDS)
    assert row.passed and row.value == f"{1 - 1 / torch.cat(here.idx, 1).numel():.2%}"
    assert "1 of 2 images part" in row.note


def test_logits_that_are_off_before_tokens_are_do_not_pass(here):
    off = equality.Sampled(here.idx, [here.logits[0], *(x + 0.01 for x in here.logits[1:])])
    assert not equality.compared("", here, off, SEEDS).passed
    # After the first token that differs, logits may.
    late = equality.Sampled([here.idx[0] + 1, *here.idx[1:]], off.logits)
    assert equality.compared("", here, late, SEEDS).passed


def test_a_model_made_ready_draws_what_it_drew_before():
    model, tokenizer = load("fashion-var-d4")
    row = equality.replayed("", model, tokenizer, [0, 1], SEEDS)
    assert row.passed and row.note == "no graph was recorded"


def test_the_distance_to_a_border_is_that_of_the_draw():
    seed_1, share = torch.tensor([7]), 2**-24
    share *= int(random_words(torch.tensor([7]), DRAW, 1, [5])[0, 2]) >> 8
    two_codes = torch.tensor([share + 1e-3, 1 - share - 1e-3]).log()
    assert math.isclose(equality.border(two_codes, seed_1, 1, 2, 5), 1e-3, rel_tol=1e-2)


def test_draws_of_a_generator_on_the_host_are_those_of_the_published_code():
    path = next(path for path in cases() if path.stem == "mvar_small")
    with host_draws():
        found = compare(path, CPU)
    assert found.tokens == found.equal > 0 and found.share <= 1


def test_parity_is_checked_case_by_case_and_a_used_up_budget_is_said(monkeypatch):
    monkeypatch.setattr(equality, "cases", lambda: cases()[:1])
    rows = list(equality.parity(Job(CPU, math.inf, True)))
    assert [row.what for row in rows] == ["mvar_small, float32", "mvar_small, bfloat16"]
    assert all(row.passed for row in rows)
    assert {row.value for row in equality.parity(Job(CPU, -math.inf, True))} == {"not run"}
    monkeypatch.setattr(equality, "cases", list)
    assert "tests/golden" in next(equality.parity(Job(CPU, math.inf, True))).note
