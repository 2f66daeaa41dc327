import json
import math

import pytest
import torch
from tiny import SIDES, tiny_images, tiny_tokenizer

from varlite import load_tokenizer
from varlite.data import to_bytes
from varlite.scales import Scales
from varlite.training.decoder import tune_decoder
from varlite.training.tokenizer import (
    CodeUsage,
    codebook_health,
    count_codes,
    reseed_dead_codes,
    validate_tokenizer,
)
from varlite.training.tokens import fingerprint


def test_codebook_health_of_counts_made_by_hand():
    counts_KV = torch.tensor([[4.0, 4, 0, 0], [1, 1, 2, 0], [7, 0, 0, 0]])
    health = codebook_health(counts_KV)
    assert health["codes_used"] == 0.75
    assert health["codes_used_per_scale"] == [2, 3, 1]
    assert health["perplexity_per_scale"] == [2.0, round(2 * math.sqrt(2), 1), 1.0]


def test_codes_are_counted_by_scale():
    idx = [torch.tensor([[1], [1]]), torch.tensor([[0, 1, 2, 2], [2, 2, 2, 2]])]
    assert count_codes(idx, 4).tolist() == [[0, 2, 0, 0], [1, 1, 6, 0]]


@pytest.fixture
def trainee():
    """(quantizer, twin, optimizer with moments, features)."""
    model, twin = tiny_tokenizer(), tiny_tokenizer(seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    img = tiny_images(16)
    reconstruction, loss, _ = model(img)
    (reconstruction.square().mean() + loss).backward()
    optimizer.step()
    optimizer.state[model.quantizer.codebook.weight]["exp_avg"].add_(1)
    return model.quantizer, twin.quantizer, optimizer, model.features(img).detach()


def test_reseeding_moves_dead_codes_alone_in_both_copies_and_resets_their_moments(trainee):
    quantizer, twin, optimizer, f = trainee
    dead_V = torch.zeros(32, dtype=torch.bool)
    dead_V[[3, 8, 9, 20, 31]] = True
    state = optimizer.state[quantizer.codebook.weight]
    before = [t.detach().clone() for t in (quantizer.codebook.weight, twin.codebook.weight, state["exp_avg"])]
    reseed_dead_codes(quantizer, twin, optimizer, dead_V, f, Scales.of(SIDES))
    after = [quantizer.codebook.weight, twin.codebook.weight, state["exp_avg"]]
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new[~dead_V], old[~dead_V])
        assert (new[dead_V] != old[dead_V]).any(1).all()
    assert torch.equal(after[0][dead_V], after[1][dead_V])
    assert not state["exp_avg"][dead_V].any() and not state["exp_avg_sq"][dead_V].any()
    assert state["step"] == 1


def test_new_codes_are_residuals_of_every_scale_in_turn(trainee):
    quantizer, twin, optimizer, f = trainee
    scales, dead_V = Scales.of(SIDES), torch.zeros(32, dtype=torch.bool)
    dead_V[:8] = True
    with torch.no_grad():
        _, f_hats = quantizer.encode(f, scales)
    reseed_dead_codes(quantizer, twin, optimizer, dead_V, f, scales)
    for row in range(8):
        k = row % 4
        rest = f - (f_hats[k - 1] if k else 0)
        asked_XZ = torch.nn.functional.adaptive_avg_pool2d(rest, scales.shapes[k]).permute(0, 2, 3, 1).flatten(0, 2)
        assert (asked_XZ - quantizer.codebook.weight[row]).abs().amax(1).min() < 1e-6


def test_nothing_moves_where_no_code_is_dead(trainee):
    quantizer, twin, optimizer, f = trainee
    before, random = quantizer.codebook.weight.detach().clone(), torch.get_rng_state()
    reseed_dead_codes(quantizer, twin, optimizer, torch.zeros(32, dtype=torch.bool), f, Scales.of(SIDES))
    assert torch.equal(quantizer.codebook.weight, before) and torch.equal(torch.get_rng_state(), random)


def test_a_code_is_dead_once_every_scale_has_ceased_to_draw_it():
    usage, idx = CodeUsage(2, 4, decay=0.5), [torch.tensor([[0]]), torch.tensor([[1, 1, 0, 1]])]
    assert not usage.dead(0.05).any()
    for _ in range(10):
        usage.update(idx)
    assert usage.dead(0.05).tolist() == [False, False, True, True]
    torch.testing.assert_close(usage.share_KV.sum(1), torch.ones(2))
    usage.revive(usage.dead(0.05))
    assert not usage.dead(0.05).any()
    other = CodeUsage(2, 4)
    other.load_state_dict(usage.state_dict())
    assert torch.equal(other.share_KV, usage.share_KV)


def test_validation_is_the_squared_error_of_whole_images():
    model, images = tiny_tokenizer(), to_bytes((tiny_images(300) + 1) / 2)
    scores = validate_tokenizer(model, images)
    x = images.float() / 127.5 - 1
    with torch.inference_mode():
        assert scores["val_mse"] == pytest.approx((model.decode(model.encode(x)) - x).square().mean().item(), rel=1e-4)
    assert len(scores["perplexity_per_scale"]) == 4


def test_a_short_training_learns_to_reconstruct(trained):
    log = [json.loads(line) for line in (trained / "vq" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.3 * log[0]["loss"]
    assert log[-1]["val_mse"] < 0.06 and min(log[-1]["perplexity_per_scale"]) > 1.5
    assert load_tokenizer(trained / "vq").image_size() == (10, 10)


def test_tuning_the_decoder_keeps_the_tokens_and_lowers_the_error(trained, presets, tmp_path):
    path = tune_decoder(str(trained / "vq"), str(trained / "images"), tmp_path / "tuned", steps=20)
    before, after = (load_tokenizer(p) for p in (trained / "vq", path.parent))
    assert fingerprint(before) == fingerprint(after)
    log = [json.loads(line) for line in (tmp_path / "tuned" / "log.jsonl").read_text().splitlines()]
    first = json.loads((trained / "vq" / "log.jsonl").read_text().splitlines()[-1])
    assert log[-1]["val_mse"] < first["val_mse"]
    assert log[-1]["perplexity_per_scale"] == first["perplexity_per_scale"]
