"""Every tensor is made where the model is: checked without a GPU, on tensors that have a device and no values."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from examples import LABELS, lively_var, tiny_images, tiny_tokenizer, tokenizer_config, var_config
from torch._subclasses import FakeTensorMode
from torch.utils._pytree import tree_leaves

from varlite import box_mask, edit, generate
from varlite.models import MVAR, VAR, MVARConfig
from varlite.tokenizer import VQVAE
from varlite.training.train_transformer import decay_groups

SHORT = {"scales": [1, 2, 3], "depth": 1}
KINDS = {
    "var": lambda: VAR(var_config(**SHORT)),
    "var, shared AdaLN, plain attention": lambda: VAR(var_config(**SHORT, shared_adaln=True, attn_norm=False)),
    "mvar": lambda: MVAR(MVARConfig(**vars(var_config(**SHORT)))),
}


@contextmanager
def on(device, monkeypatch):
    """Tensors without values; mixing devices raises."""
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)  # looks at values
    with FakeTensorMode():
        yield torch.device(device)


def built(device, kind):
    with device:
        return VQVAE(tokenizer_config(scales=SHORT["scales"])), KINDS[kind](), torch.rand(2, 1, 6, 6)


def assert_all_on(device, *values):
    found = [t.device.type for t in tree_leaves(values) if isinstance(t, torch.Tensor)]
    assert found and set(found) == {device.type}


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_every_result_is_on_the_gpu(kind, monkeypatch):
    with on("cuda", monkeypatch) as device:
        tokenizer, model, img = built(device, kind)
        idx = tokenizer.encode(img)
        labels = torch.tensor([1, 2], device=device)
        logits = model(tokenizer.inputs(idx), labels)
        assert_all_on(device, idx, tokenizer.decode(idx), logits, model.loss(tokenizer, idx, labels), tokenizer(img))
        assert logits.dtype == torch.float32
        steps = []
        for settings in ({}, {"smooth": True, "top_k": 5}, {"seeds": [3, 4], "cfg": 0}):
            assert_all_on(device, generate(model, tokenizer, [1, 2], on_scale=steps.append, **settings))
        assert_all_on(device, [vars(step) for step in steps])
        keep = box_mask((0.2, 0.2, 0.8, 0.8), model.scales, inside=True)  # made on the CPU, as a user would
        assert_all_on(device, edit(model, tokenizer, img, keep), edit(model, tokenizer, img, keep, [1, 2]))
        assert_all_on(device, edit(model, tokenizer, img, keep, thin=True, paste=True))
        cache = model.make_cache()
        model.step(None, labels, 0, cache)
        assert_all_on(device, [vars(block_cache) for block_cache in cache])


@contextmanager
def half_precision(dtype):
    """Autocast for "cuda" as `torch.autocast` switches it on where there is a GPU."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_sampling_and_every_edit_run_in_half_precision_on_a_gpu(kind, dtype, monkeypatch):
    with on("cuda", monkeypatch) as device, half_precision(dtype):
        tokenizer, model, img = built(device, kind)
        assert_all_on(device, generate(model, tokenizer, [1, 2]), generate(model, tokenizer, [1, 2], smooth=True))
        for inside, labels in ((False, None), (True, None), (False, [1, 2])):
            keep = box_mask((0.2, 0.2, 0.8, 0.8), model.scales, inside)
            for options in ({}, {"paste": True}, {"thin": True, "paste": True}):  # hide looks at values
                edited = edit(model, tokenizer, img, keep, labels, **options)
                assert_all_on(device, edited)
                assert edited.shape == img.shape


# Autograd wants a driver for "cuda", so this one takes a device that needs none.
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_of_either_stage_stays_on_its_device(kind, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no such device
    with on("lazy:0", monkeypatch) as device:
        tokenizer, model, img = built(device, kind)
        idx = tokenizer.encode(img)
        reconstruction, quantizer_loss, *_ = tokenizer(img)
        losses = [
            (tokenizer, (reconstruction - img).square().mean() + quantizer_loss, [{"params": tokenizer.parameters()}]),
            (model.train(), model.loss(tokenizer, idx, torch.tensor([1, 2], device=device)), decay_groups(model, 0.05)),
        ]
        for module, loss, groups in losses:
            optimizer = torch.optim.AdamW(groups, lr=1e-3, foreach=False)
            loss.backward()
            optimizer.step()
            moments = [v for state in optimizer.state.values() for name, v in state.items() if name != "step"]
            assert_all_on(device, loss, moments, [p.grad for p in module.parameters()])


def test_mixing_devices_is_said(monkeypatch):
    one_device_away = tiny_tokenizer()
    with on("cuda", monkeypatch) as device:
        tokenizer, model, img = built(device, "var")
        with pytest.raises(ValueError, match="generator must be on the model's device, cuda:0, got cpu"):
            generate(model, tokenizer, [1, 2], generator=torch.Generator("cpu"))
        with pytest.raises(ValueError, match=r"one device and of one dtype, got .* on cuda:0 and .* on cpu"):
            generate(model, one_device_away, [1, 2])
        with pytest.raises(ValueError, match="img must be on the tokenizer's device, cuda:0, got cpu"):
            edit(model, tokenizer, img.cpu(), torch.ones(3, 3))
        with pytest.raises(ValueError, match=r"idx must be int64 on cuda:0, got torch.int64 on cpu"):
            tokenizer.decode([torch.zeros(1, 1, dtype=torch.int64)])
        with pytest.raises(ValueError, match="on the tokenizer's device, cuda:0, got cpu"):
            tokenizer.encode(torch.rand(2, 1, 6, 6))


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_under_autocast_everything_works_and_logits_and_latents_are_float32(precision):
    model, tokenizer, img, steps = lively_var(), tiny_tokenizer(), tiny_images(), []
    with torch.autocast("cpu", precision):
        idx = tokenizer.encode(img)
        assert model(tokenizer.inputs(idx), LABELS).dtype == torch.float32
        loss = model.train().loss(tokenizer, idx, LABELS)
        loss.backward()
        reconstruction, quantizer_loss, *_ = tokenizer(img)
        (reconstruction.float().square().mean() + quantizer_loss).backward()
        images = [
            generate(model.eval(), tokenizer, LABELS, on_scale=steps.append),
            generate(model, tokenizer, LABELS, smooth=True),
            edit(model, tokenizer, img, torch.ones(5, 5)),
        ]
    assert loss.isfinite() and quantizer_loss.isfinite()
    assert all(step.logits_BlV.dtype == step.f_hat_BZhw.dtype == torch.float32 for step in steps)
    assert all(image.shape == (2, 1, 10, 10) and image.float().isfinite().all() for image in images)
    assert all(p.grad.isfinite().all() for p in [*model.parameters(), *tokenizer.parameters()] if p.grad is not None)


def test_under_autocast_the_logits_are_close_to_those_of_float32():
    model, tokenizer = lively_var(), tiny_tokenizer()
    x_BLZ = tokenizer.inputs([torch.randint(32, (2, n)) for n in model.scales.lengths])
    with torch.autocast("cpu", torch.bfloat16):
        low = model(x_BLZ, LABELS)
    full = model(x_BLZ, LABELS)
    assert (low - full).abs().mean() < 0.05 * full.std()


def test_under_autocast_the_quantizer_chooses_the_same_codes():
    # In half precision a feature between two codes would fall to either: the search is a difference of large numbers.
    tokenizer = tiny_tokenizer(vocab=512)
    f = tokenizer.features(tiny_images(16))
    full, _ = tokenizer.quantizer.encode(f, tokenizer.scales)
    with torch.autocast("cpu", torch.bfloat16):
        low, f_hats = tokenizer.quantizer.encode(f, tokenizer.scales)
    assert all(torch.equal(a, b) for a, b in zip(full, low, strict=True))
    assert f_hats[-1].dtype == torch.float32
