import json
import math
from dataclasses import asdict, replace

import pytest
import torch
from examples import LABELS, chances, lively, tiny_images, tokenizer_for, var_config, without_clock

from varlite import edit, generate, load
from varlite.checkpoints.empty import build_empty, parameters
from varlite.models.dit import DiT, DiTConfig
from varlite.presets import MODELS, ModelPreset
from varlite.training import loop
from varlite.training import train_transformer as stage2
from varlite.training.options import Options
from varlite.training.train_transformer import decay_groups


def dit_config(**changes) -> DiTConfig:
    return DiTConfig(**vars(var_config(gamma_init=0.0)) | changes)


def latents(model, batch=2, seed=0) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, model.config.z, *model.scales.last, generator=draws) + 1


def test_the_small_models_of_all_families_have_equal_numbers_of_parameters():
    names = ["fashion-var-d4", "fashion-raster-d4", "fashion-maskgit-d4", "fashion-markov-d4", "fashion-flexvar-d4",
             "fashion-dit-d4"]  # fmt: skip
    counts = {name: parameters(build_empty(name)) for name in names}
    print(counts)
    assert max(counts.values()) < 1.03 * min(counts.values())
    assert counts["fashion-dit-d4"] == pytest.approx(counts["fashion-var-d4"], rel=0.03)


# Training


def test_it_starts_with_no_velocity_and_blocks_that_change_nothing():
    model, x = DiT(dit_config()), torch.randn(2, 8, 5, 5)
    assert not model(x, torch.rand(2), LABELS).any()
    h_BlC, cond_BD = torch.randn(2, 25, 64), torch.randn(2, 64)
    assert torch.equal(model.blocks[0](h_BlC, cond_BD), h_BlC)


def test_the_loss_is_the_error_of_the_velocity_on_a_straight_line_from_latents_to_noise(monkeypatch):
    model, f_BZhw, seen = DiT(dit_config()), None, []
    f_BZhw = latents(model)
    model.measure(latents(model, 200))
    monkeypatch.setattr(DiT, "forward", lambda self, x, t, label: seen.append((x, t, label)) or torch.zeros_like(x))
    chance_Bn = chances(model, 1.0)
    chance_Bn[:, 1], chance_Bn[:, 2:] = torch.tensor([0.5, 0.8413447]), 0.1586553  # 0 and 1 standard deviations; -1
    loss = model.loss(None, f_BZhw, LABELS, chance_Bn)
    x_0, ((x_t, t_B, _),) = model.normalise(f_BZhw), seen
    torch.testing.assert_close(t_B, torch.tensor([0.5, 1 / (1 + math.exp(-1))]))
    torch.testing.assert_close(x_t, (1 - t_B.view(2, 1, 1, 1)) * x_0 - t_B.view(2, 1, 1, 1))
    torch.testing.assert_close(loss, (-1 - x_0).square().mean())


def test_random_numbers_at_the_end_of_their_range_make_no_infinite_noise():
    model = DiT(dit_config())
    for extreme in (0.0, 1 - 2**-24):
        assert model.loss(None, latents(model), LABELS, torch.full((2, model.chances), extreme)).isfinite()


def test_noise_and_times_are_normal():
    model = DiT(dit_config())
    x = 2**0.5 * torch.erfinv(2 * torch.rand(400, model.chances, generator=torch.Generator().manual_seed(0)) - 1)
    assert abs(x.mean()) < 0.01 and abs(x.std() - 1) < 0.01
    # The velocity is 0: what is left is the noise.
    loss = model.loss(None, torch.zeros(400, 8, 5, 5), torch.zeros(400).long())
    assert loss.item() == pytest.approx(1, abs=0.05)


def test_latents_are_normalised_by_what_was_measured_which_is_a_part_of_the_weights():
    model, f_BZhw = DiT(dit_config()), latents(DiT(dit_config()), 50)
    model.measure(f_BZhw)
    x = model.normalise(f_BZhw)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(8))
    torch.testing.assert_close(model.latents(x), f_BZhw)
    assert {"mean_Z11", "std_Z11"} <= model.state_dict().keys()


def test_one_batch_can_be_learned_by_heart():
    torch.manual_seed(0)
    model = DiT(dit_config(class_dropout=0.0)).train()
    f_BZhw, label_B = latents(model, 4), torch.arange(4)
    model.measure(f_BZhw)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.0), lr=3e-3, betas=(0.9, 0.95))
    losses = []
    for _ in range(120):
        losses.append(model.loss(None, f_BZhw.repeat(4, 1, 1, 1), label_B.repeat(4)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert sum(losses[-20:]) < 0.4 * sum(losses[:20])


@pytest.fixture
def tiny_dit(presets, monkeypatch):
    recipe = replace(MODELS["tiny-var"].recipe, steps=12)
    monkeypatch.setitem(MODELS, "tiny-dit", ModelPreset(dit_config(steps=2), "tiny-vq", recipe))
    monkeypatch.setattr(loop, "EVERY", loop.Every(log=4, save=5, validate=6))


def train(trained, out, **options):
    stage2.train("tiny-dit", str(trained / "images"), out, trained / "vq", options=Options(device="cpu", **options))
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return load(out)[0], without_clock(log)


def test_a_training_on_latents_learns_and_is_the_same_resumed_or_in_parts(trained, tiny_dit, tmp_path, break_off):
    whole, log = train(trained, tmp_path / "whole")
    assert log[-1]["val_loss"] < log[0]["loss"] and whole.std_Z11.min() > 0 and not (whole.std_Z11 == 1).any()
    break_off(loop, "checked_step", 9)
    with pytest.raises(KeyboardInterrupt):
        train(trained, tmp_path / "resumed")
    resumed, same_log = train(trained, tmp_path / "resumed")
    parts, _ = train(trained, tmp_path / "parts", accumulate=4)
    assert same_log[-1] == log[-1]
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name])
        torch.testing.assert_close(weight, parts.state_dict()[name], atol=1e-3, rtol=0)


# Sampling


def sampler(monkeypatch, velocity, **changes):
    """A DiT whose velocity is a function of latents and time, in units of the latents."""
    model = lively("dit", **changes)
    monkeypatch.setattr(DiT, "forward", lambda self, x, t, label: velocity(x, t.view(-1, 1, 1, 1)))
    return model, tokenizer_for(model)


def last_latents(model, tokenizer, **settings):
    steps = []
    generate(model, tokenizer, [1], generator=torch.Generator().manual_seed(0), on_scale=steps.append, **settings)
    return steps[-1].h_BlZ


def test_heuns_method_is_of_second_order_and_eulers_of_first(monkeypatch):
    # dx/dt = x (1 + t): from t = 1 to t = 0 the noise shrinks by exp(-3 / 2).
    start = torch.randn(1, 8, 5, 5, generator=torch.Generator().manual_seed(0)).flatten(2).transpose(1, 2)
    error = {}
    for solver in ("euler", "heun"):
        for steps in (8, 16):
            model, tokenizer = sampler(monkeypatch, lambda x, t: x * (1 + t), steps=steps, solver=solver)
            error[solver, steps] = (last_latents(model, tokenizer) / start - math.exp(-1.5)).abs().max().item()
    assert error["euler", 8] / error["euler", 16] == pytest.approx(2, abs=0.3)
    assert error["heun", 8] / error["heun", 16] == pytest.approx(4, abs=1) and error["heun", 16] < 0.005


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_straight_flow_is_followed_exactly_by_one_step(monkeypatch, solver):
    found = []
    for steps in (1, 5):
        model, tokenizer = sampler(monkeypatch, lambda x, t: torch.full_like(x, 0.7), steps=steps, solver=solver)
        found.append(last_latents(model, tokenizer))
    torch.testing.assert_close(found[0], found[1])


def test_guidance_moves_the_velocity_away_from_that_of_no_class():
    model = lively("dit")
    x, t_B = torch.randn(2, 8, 5, 5), torch.full((2,), 0.4)
    cond, null = model(x, t_B, LABELS), model(x, t_B, torch.full((2,), 10))
    torch.testing.assert_close(model.guided(x, 0.4, LABELS, 2.0), 3 * cond - 2 * null, atol=1e-4, rtol=1e-4)
    assert torch.equal(model.guided(x, 0.4, LABELS, 0.0), cond)


@torch.inference_mode()
def test_the_hook_sees_the_estimate_of_every_step_and_the_last_is_the_image():
    model, pictures = lively("dit", steps=3), []
    images = generate(model, tokenizer_for(model), LABELS, on_scale=lambda step: pictures.append(step.image()))
    assert len(pictures) == 3 and not torch.equal(pictures[0], images)
    torch.testing.assert_close(pictures[-1], images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_latents_that_are_kept_go_through_sampling_with_their_own_noise_of_the_time(monkeypatch, solver):
    seen = []
    model, tokenizer = sampler(monkeypatch, lambda x, t: seen.append((x, t[0].item())) or torch.sin(3 * x) + t, steps=4,
                               solver=solver)  # fmt: skip
    img, keep_hw = tiny_images(1), torch.arange(25).view(5, 5) % 3 == 0
    img_edited = edit(model, tokenizer, img, keep_hw, [1], cfg=0.0, generator=torch.Generator().manual_seed(0))
    x_0, noise = model.normalise(tokenizer.features(img)), seen[0][0]
    for x, t in seen:
        torch.testing.assert_close(x[..., keep_hw], torch.lerp(x_0, noise, t)[..., keep_hw], atol=1e-5, rtol=1e-5)
    free = generate(model, tokenizer, [1], cfg=0.0, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(img_edited, free)


def test_what_it_does_not_know_is_refused():
    model = lively("dit")
    with pytest.raises(ValueError, match="model: DiT cannot pass on mixtures of codes"):
        generate(model, tokenizer_for(model), [1], smooth=True)
    with pytest.raises(ValueError, match="model: DiT draws no codes, and so has no logits to change"):
        generate(model, tokenizer_for(model), [1], on_logits=print)
    for wrong, message in [
        ({"steps": 0}, "steps must be at least 1"),
        ({"solver": "rk4"}, "solver euler or heun"),
        ({"adaln": False}, "AdaLN in every block"),
        ({"shared_adaln": True}, "AdaLN in every block"),
    ]:
        with pytest.raises(ValueError, match=message):
            dit_config(**wrong)
    assert asdict(dit_config(scales=[4]))["scales"] == [4]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_draws_and_edits_in_half_precision(dtype):
    model, tokenizer = (module.to(dtype) for module in (lively("dit"), tokenizer_for(lively("dit"))))
    exact, same_tokenizer = lively("dit"), tokenizer_for(lively("dit"))
    images = generate(model, tokenizer, [1, 2], seeds=0)
    assert images.dtype == dtype and images.isfinite().all()
    assert (images.float() - generate(exact, same_tokenizer, [1, 2], seeds=0)).abs().mean() < 0.1
    keep_hw = torch.ones(model.scales.last).bool()
    keep_hw[:2] = False
    assert edit(model, tokenizer, torch.zeros(1, 1, 10, 10, dtype=dtype), keep_hw, [1], seeds=0).dtype == dtype
