import json
from dataclasses import replace

import pytest
import torch
from tiny import SIDES, lively_var, random_tokens, tiny_tokenizer, tiny_var, var_config

from varlite import load
from varlite.presets import MODELS
from varlite.training import transformer as stage2
from varlite.training.tokens import cache_tokens
from varlite.training.transformer import decay_groups, validate_transformer


@pytest.mark.parametrize("shared", [False, True])
def test_weight_decay_acts_on_matrices_and_the_class_table_alone(shared):
    model = tiny_var(shared_adaln=shared)
    decayed, free = decay_groups(model, 0.05)
    names = {id(p): name for name, p in model.named_parameters()}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    decayed = {names[id(p)] for p in decayed["params"]}
    assert {"class_embed.table.weight", "token_embed.weight", "head.linear.weight"} <= decayed
    assert all(f"blocks.1.{name}.weight" in decayed for name in ("attn.qkv", "attn.proj", "ffn.fc1", "ffn.fc2"))
    free = {names[id(p)] for p in free["params"]}
    assert {"pos_start", "pos_LC", "level_embed.weight", "blocks.0.attn.log_scale", "blocks.0.attn.q_bias"} <= free
    assert all(name in free for name in names.values() if name.endswith("bias"))
    assert ("blocks.1.ada_ln.offset_nC" in free) == shared


def test_one_batch_can_be_learned_by_heart():
    model, tokenizer = tiny_var(class_dropout=0.0, gamma_init=0.1).train(), tiny_tokenizer()
    torch.manual_seed(0)
    idx, label_B = random_tokens(SIDES, batch=4), torch.arange(4)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.05), lr=3e-3, betas=(0.9, 0.95))
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.loss(tokenizer, idx, label_B)
        loss.backward()
        optimizer.step()
    assert loss < 0.02
    with torch.inference_mode():
        logits_BLV = model.eval()(tokenizer.inputs(idx), label_B)
    assert torch.equal(logits_BLV.argmax(-1), torch.cat(idx, 1))


@pytest.fixture
def cached(trained, presets):
    tokenizer = load(trained / "var")[1]
    return tokenizer, cache_tokens(tokenizer, str(trained / "images"), "train")


def test_validation_drops_no_label_and_averages_over_all_tokens(cached):
    tokenizer, cache = cached
    model = lively_var(classes=2, class_dropout=1.0).train()
    idx_BL, label_B = cache.batch(torch.arange(len(cache)))
    scores = validate_transformer(model, tokenizer, cache)
    assert scores == validate_transformer(model.train(), tokenizer, cache)
    with torch.inference_mode():
        loss = model.eval().loss(tokenizer, model.scales.split(idx_BL), label_B)
        logits_BLV = model(tokenizer.inputs(model.scales.split(idx_BL)), label_B)
    assert scores["val_loss"] == pytest.approx(loss.item(), rel=1e-5)
    wrong_BL = (logits_BLV.argmax(-1) != idx_BL).float()
    assert scores["val_error"] == pytest.approx(wrong_BL.mean().item(), rel=1e-5)
    assert scores["val_error_last"] == pytest.approx(wrong_BL[:, -25:].mean().item(), rel=1e-5)
    few = validate_transformer(model, tokenizer, cache, n=7)
    assert few["val_error"] == pytest.approx(wrong_BL[:7].mean().item(), rel=1e-5)


def test_a_short_training_learns_the_tokens_and_the_classes(trained):
    log = [json.loads(line) for line in (trained / "var" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"] and log[-1]["val_loss"] < 0.5 * log[0]["loss"]
    model, tokenizer = load(trained / "var")
    assert model.config.classes == 2  # the data's, whatever the preset says
    assert not model.training and tokenizer.scales == model.scales


def test_a_training_takes_vocabulary_and_scales_from_its_tokenizer(trained, presets, tmp_path, monkeypatch):
    other = replace(MODELS["tiny-var"], config=var_config(vocab=99, z=5, scales=[1, 2, 3]))
    monkeypatch.setitem(MODELS, "other", other)
    stage2.train("other", str(trained / "images"), tmp_path / "out", tokenizer=trained / "vq", steps=1)
    model, _ = load(tmp_path / "out")
    assert (model.config.vocab, model.config.z, model.config.scales) == (32, 8, SIDES)
