import math

import pytest
import torch
from examples import lively, tiny_tokenizer, tokenizer_for

from varlite.speed import verify_training as training
from varlite.speed.verify_parts import Job

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["var", "mvar"])
def test_two_steps_on_one_batch_lower_its_loss(kind):
    model = lively(kind, width=64, heads=2)
    losses, rate = training.transformer_steps(model, tokenizer_for(model), 2, CPU, "float32")
    assert len(losses) == 3 and losses[-1] < losses[0] and rate > 0


def test_both_networks_of_stage_1_take_their_steps():
    model = tiny_tokenizer().train()
    before = model.encoder.conv_in.weight.detach().clone()
    losses, discriminator, rate = training.tokenizer_steps(model, 2, CPU, "float32")
    assert all(map(math.isfinite, losses + discriminator)) and rate > 0
    assert not torch.equal(before, model.encoder.conv_in.weight)


def test_a_budget_that_is_used_up_is_said():
    rows = list(training.training(Job(CPU, -math.inf, True)))
    assert [row.value for row in rows] == ["not run"] * 3


def test_weights_spread_over_two_processes_give_the_losses_of_one():
    row = training.sharded(2, "cpu", 300.0)
    assert row.passed, row
    assert "nothing" not in row.note and row.note.count(",") == 2
