import math

import pytest
import torch

from varlite.checkpoints.empty import random_model
from varlite.models import VARConfig
from varlite.speed import verify_speed as speed
from varlite.speed.verify_parts import Job
from varlite.tokenizer import TokenizerConfig

CPU = torch.device("cpu")
TINY = {"vocab": 32, "z": 8, "scales": [1, 2, 3]}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(speed, "ENOUGH", 0.0)
    monkeypatch.setattr(speed, "SETTINGS", {"cfg": 1.5, "top_k": 9, "top_p": 0.96})
    monkeypatch.setattr(speed, "SIZES", ("fashion-var-d1", "fashion-var-d2"))
    monkeypatch.setattr(speed, "BATCHES", (2, 1, 3))
    monkeypatch.setattr(speed, "FLOAT32_BATCHES", (2,))


def test_the_part_of_a_cpu_samples_what_ships_and_the_structure_of_a_published_size(monkeypatch):
    monkeypatch.setattr(speed, "SHIPPED", {"fashion-var-d4": (1,)})
    monkeypatch.setattr(speed, "NARROW", VARConfig(depth=3, width=32, heads=2, **TINY))
    small = TokenizerConfig(ch=32, multipliers=(1,), encoder_blocks=(0,), decoder_blocks=(0,), phi_shared=1, **TINY)
    monkeypatch.setattr(speed, "NARROW_TOKENIZER", small)
    rows = list(speed.sampling(Job(CPU, math.inf, True)))
    assert len(rows) == 2 and all(row.passed for row in rows)
    assert {row.value for row in speed.sampling(Job(CPU, -math.inf, True))} == {"not run"}


def test_every_size_is_measured_in_both_precisions_until_its_share_of_the_budget_is_used_up():
    rows = list(speed.sampling(Job(CPU, math.inf, False)))
    expected = ["2, bfloat16", "1, bfloat16", "2, float32", "3, bfloat16"]
    assert [row.what for row in rows] == [f"{name}, batch {what}" for name in speed.SIZES for what in expected]
    assert all(row.passed and row.value > 0 for row in rows)
    assert {row.value for row in speed.sampling(Job(CPU, 0.0, False))} == {"not run"}


def test_a_batch_that_does_not_fit_says_so_and_the_next_is_measured(monkeypatch):
    rate = speed.images_per_second

    def limited(model, tokenizer, batch, *rest):
        if batch == 2:
            raise torch.OutOfMemoryError("out of memory")
        return rate(model, tokenizer, batch, *rest)

    monkeypatch.setattr(speed, "images_per_second", limited)
    rows = list(speed.of_size(Job(CPU, math.inf, False), "fashion-var-d1", math.inf))
    assert [row.value == "not run" for row in rows] == [True, False, True, False]
    assert "does not fit" in rows[0].note


def test_the_decoder_is_measured_by_itself_and_published_rates_stand_beside():
    _, tokenizer = random_model("fashion-var-d1")
    rows = list(speed.decoder(Job(CPU, math.inf, False), tokenizer))
    assert [row.what.split(", ")[1] for row in rows] == ["batch 8", "batch 64", "batch 8"]
    assert speed.published_rate("var-d30", 64) == (
        "published 17.7 on L20 (source not found), 15.2 on RTX 4090 (arXiv 2605.01220)"
    )
    assert speed.published_rate("var-d30", 32) == speed.published_rate("var-d16", 64) == ""


def test_the_machine_is_described():
    rows = list(speed.about_machine(Job(CPU, math.inf, True)))
    assert rows[0].value == "cpu" and rows[-1].unit == "TFLOP/s"
