import math

import pytest
import torch
from examples import SIDES, tiny_images, tiny_tokenizer

from varlite.evaluation.validation import codebook_health, count_codes
from varlite.scales import Scales
from varlite.training.codebook import (
    CodeUsage,
    MovingCodes,
    assigned,
    kmeans_codes,
    move_codes,
    residual_codes,
    scale_residuals,
)

SCALES = Scales.of(SIDES)


def test_codebook_health_of_counts_made_by_hand():
    counts_KV = torch.tensor([[4.0, 4, 0, 0], [1, 1, 2, 0], [7, 0, 0, 0]])
    health = codebook_health(counts_KV)
    assert health["codes_used"] == 0.75
    assert health["codes_used_per_scale"] == [2, 3, 1]
    assert health["dead_codes_per_scale"] == [2, 1, 3]
    assert health["perplexity_per_scale"] == [2.0, round(2 * math.sqrt(2), 1), 1.0]


def test_codes_are_counted_by_scale():
    idx = [torch.tensor([[1], [1]]), torch.tensor([[0, 1, 2, 2], [2, 2, 2, 2]])]
    assert count_codes(idx, 4).tolist() == [[0, 2, 0, 0], [1, 1, 6, 0]]


@pytest.fixture
def quantized():
    """(quantizer, features, token maps, sums after each scale)."""
    model = tiny_tokenizer()
    with torch.no_grad():
        f = model.features(tiny_images(16))
        return model.quantizer, f, *model.quantizer.encode(f, SCALES)


def test_residuals_of_the_scales_are_what_was_quantized(quantized):
    quantizer, f, idx, f_hats = quantized
    residuals = scale_residuals(f, f_hats, SCALES)
    assert [len(z) for z in residuals] == [16 * length for length in SCALES.lengths]
    for z_XZ, idx_Bl in zip(residuals, idx, strict=True):
        assert torch.equal(quantizer.nearest(z_XZ), idx_Bl.flatten())


def test_new_codes_are_residuals_of_every_scale_in_turn(quantized):
    _, f, _, f_hats = quantized
    residuals = scale_residuals(f, f_hats, SCALES)
    for i, code in enumerate(residual_codes(8, residuals, torch.Generator())):
        assert (residuals[i % 4] - code).abs().amax(1).min() == 0


def test_kmeans_finds_clusters_and_weighs_scales_alike():
    torch.manual_seed(0)
    few = torch.tensor([[5.0, 5.0]]) + 0.01 * torch.randn(10, 2)
    many = torch.tensor([[-5.0, 0.0]]) + 0.01 * torch.randn(1000, 2)
    centres = kmeans_codes(2, [few, many], torch.Generator())
    assert torch.allclose(centres, torch.stack([few.mean(0), many.mean(0)]), atol=1e-3)
    # One centre for both lies halfway, not a hundredth of the way.
    assert torch.allclose(
        kmeans_codes(1, [few, many], torch.Generator())[0], (few.mean(0) + many.mean(0)) / 2, atol=1e-3
    )


def test_moving_codes_changes_the_rows_alone_in_every_copy_and_resets_their_moments():
    model, twin = tiny_tokenizer(), tiny_tokenizer(seed=1)
    weight = model.quantizer.codebook.weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x = model(tiny_images(16))
    (x.reconstruction.square().mean() + x.quantizer_loss).backward()
    optimizer.step()
    state = optimizer.state[weight]
    state["exp_avg"].add_(1)
    rows_V = torch.zeros(32, dtype=torch.bool)
    rows_V[[3, 8, 9, 20, 31]] = True
    copies = [weight, twin.quantizer.codebook.weight]
    before = [t.detach().clone() for t in (*copies, state["exp_avg"])]
    new = torch.randn(5, 8)
    move_codes(copies, optimizer, rows_V, new)
    for old, now in zip(before, [*copies, state["exp_avg"]], strict=True):
        assert torch.equal(now[~rows_V], old[~rows_V])
    assert all(torch.equal(copy[rows_V], new) for copy in copies)
    assert not state["exp_avg"][rows_V].any() and not state["exp_avg_sq"][rows_V].any()
    assert state["step"] == 1


def test_codes_that_follow_the_mean_arrive_at_the_mean_of_what_chooses_them():
    codes_VZ = torch.tensor([[0.0, 0.0], [9.0, 9.0], [1.0, 1.0]])
    moving, residuals = (
        MovingCodes(codes_VZ, decay=0.5),
        [torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[8.0, 8.0]])],
    )
    idx = [torch.tensor([[0, 0]]), torch.tensor([[1]])]
    n_V, sum_VZ = assigned(idx, residuals, 3)
    assert n_V.tolist() == [2, 1, 0] and sum_VZ.tolist() == [[4, 0], [8, 8], [0, 0]]
    for _ in range(40):
        moving.update(n_V, sum_VZ)
    assert torch.allclose(codes_VZ, torch.tensor([[2.0, 0.0], [8.0, 8.0], [1.0, 1.0]]))
    other = MovingCodes(torch.zeros(3, 2))
    other.load_state_dict(moving.state_dict())
    assert torch.equal(other.m_VZ, moving.m_VZ) and torch.equal(other.n_V, moving.n_V)


def test_a_code_is_dead_once_every_scale_has_ceased_to_draw_it():
    usage, counts = CodeUsage(2, 4, decay=0.5), torch.tensor([[1.0, 0, 0, 0], [1, 3, 0, 0]])
    assert not usage.dead(0.05).any()
    for _ in range(10):
        usage.update(counts)
    assert usage.dead(0.05).tolist() == [False, False, True, True]
    torch.testing.assert_close(usage.share_KV.sum(1), torch.ones(2))
    usage.revive(usage.dead(0.05))
    assert not usage.dead(0.05).any()
    other = CodeUsage(2, 4)
    other.load_state_dict(usage.state_dict())
    assert torch.equal(other.share_KV, usage.share_KV)
