import json
import shutil
from dataclasses import replace

import pytest
import torch
from examples import (
    EXAMPLES,
    SIDES,
    image_folder,
    lively_var,
    random_tokens,
    tiny_tokenizer,
    tiny_var,
    var_config,
    without_clock,
)

from varlite import load
from varlite.checkpoints import load as pretrained
from varlite.datasets.batches import rows_across
from varlite.datasets.tokens import cache_tokens
from varlite.evaluation.validation import validate_transformer
from varlite.io.files import read_model
from varlite.io.locks import hold
from varlite.models import KINDS
from varlite.presets import MODELS, TOKENIZERS, TransformerRecipe
from varlite.tokenizer import VQVAE, fingerprint
from varlite.training import starting
from varlite.training import train_transformer as stage2
from varlite.training.engine import Engine
from varlite.training.options import Options
from varlite.training.run import Run
from varlite.training.starting import starting_point
from varlite.training.train_transformer import decay_groups, learning_rate, weight_decay


@pytest.mark.parametrize(
    ("changes", "vectors"), [({}, None), ({"shared_adaln": True}, "offset_nC"), ({"adaln": False}, "norm_nC")]
)
def test_weight_decay_acts_on_matrices_and_the_class_table_alone(changes, vectors):
    model = tiny_var(**changes)
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
    assert vectors is None or f"blocks.1.ada_ln.{vectors}" in free


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
    few = validate_transformer(model, tokenizer, cache, n=4)  # of a folder, which is sorted, some of every class
    spread = rows_across(cache.labels, 4)
    assert cache.labels[spread].tolist() == [0, 0, 1, 1]
    assert few["val_error"] == pytest.approx(wrong_BL[spread].mean().item(), rel=1e-5)


def test_a_short_training_learns_the_tokens_and_the_classes(trained):
    log = [json.loads(line) for line in (trained / "var" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"] and log[-1]["val_loss"] < 0.5 * log[0]["loss"]
    model, tokenizer = load(trained / "var")
    assert model.config.classes == 2  # the data's, whatever the preset says
    assert not model.training and tokenizer.scales == model.scales


def test_a_training_takes_vocabulary_and_scales_from_its_tokenizer(trained, presets, tmp_path, monkeypatch):
    other = replace(MODELS["tiny-var"], config=var_config(vocab=99, z=5, scales=[1, 2, 3]))
    monkeypatch.setitem(MODELS, "other", other)
    stage2.train("other", str(trained / "images"), tmp_path / "out", tokenizer=trained / "vq", options=Options(steps=1))
    model, _ = load(tmp_path / "out")
    assert (model.config.vocab, model.config.z, model.config.scales) == (32, 8, SIDES)


def test_only_the_published_tokenizer_takes_the_schedule_of_a_published_preset(tmp_path, monkeypatch):
    row, sides = MODELS["var-d36"], MODELS["var-d36"].config.scales
    own, _, _ = starting_point("var-d36", row, "fashion-vq", None, None)
    assert own.scales == TOKENIZERS["fashion-vq"].config.scales and own.vocab == 512
    small = replace(TOKENIZERS["imagenet-vq"], config=tiny_tokenizer().config)
    monkeypatch.setitem(TOKENIZERS, "imagenet-vq", small)
    tiny_tokenizer().save_pretrained(tmp_path)
    config, vq, _ = starting_point("var-d36", row, tmp_path / "tokenizer.safetensors", None, None)
    assert config.scales == vq.scales.sides == sides and config.vocab == 32


def test_the_papers_schedule_rises_stays_and_falls_on_a_line():
    recipe = TransformerRecipe(steps=1000, batch=8, lr=1.0, warmup=20, ema=0.0, schedule="linear", final=0.1)
    rates = [learning_rate(step, recipe) for step in range(1000)]
    assert rates[0] == 0.005 and rates[10] == pytest.approx(0.5025) and rates[20:69] == [1.0] * 49
    # A line from 1 to 0.1 over the last 95 % of what follows the warm-up.
    assert rates[20 + 49 + 466] == pytest.approx(0.55, abs=1e-3) and rates[-1] == pytest.approx(0.1, abs=2e-3)


def test_weight_decay_moves_to_its_final_value_or_stays():
    recipe = TransformerRecipe(steps=100, batch=8, lr=1.0, warmup=5, ema=0.0)
    assert {weight_decay(step, recipe) for step in range(100)} == {0.05}
    moving = replace(recipe, final_weight_decay=0.08)
    assert [weight_decay(step, moving) for step in (0, 50, 100)] == pytest.approx([0.05, 0.065, 0.08])


def test_weight_decay_that_begins_at_zero_moves_too(trained, presets, tmp_path, monkeypatch):
    seen, minimise = [], Engine.minimise

    def look(self, door, optimizer, *more):
        seen.append([group["weight_decay"] for group in optimizer.param_groups])
        return minimise(self, door, optimizer, *more)

    monkeypatch.setattr(Engine, "minimise", look)
    options = Options(device="cpu", steps=4, recipe=("weight_decay=0", "final_weight_decay=0.1"))
    stage2.train("tiny-var", str(trained / "images"), tmp_path, tokenizer=trained / "vq", options=options)
    assert [decayed for decayed, _ in seen] == pytest.approx([0, 0.0146, 0.05, 0.0854], abs=1e-4)
    assert {other for _, other in seen} == {0.0}


@pytest.mark.parametrize(
    "name, steps, lr, final, decay",
    [
        ("var-d16", 333_600, 3e-4, 0.1, 0.05),
        ("var-d20", 417_000, 3e-4, 0.1, 0.05),
        ("var-d24", 583_800, 2.4e-4, 0.01, 0.05),
        ("var-d30", 437_850, 3.2e-4, 0.01, 0.08),
        ("var-d36", 583_800, 2.4e-4, 0.01, 0.08),
    ],
)
def test_the_published_presets_have_the_papers_recipes(name, steps, lr, final, decay):
    recipe = MODELS[name].recipe
    assert (recipe.steps, recipe.final, recipe.final_weight_decay) == (steps, final, decay)
    assert recipe.lr == pytest.approx(lr) and recipe.warmup == steps // 50 and recipe.schedule == "linear"
    assert (recipe.weight_decay, recipe.clip, MODELS[name].config.class_dropout) == (0.05, 2.0, 0.1)


def changed(before, after):
    """Names of the weights that are not the same in both models."""
    pairs = zip(before.state_dict().items(), after.state_dict().values(), strict=True)
    return [name for (name, a), b in pairs if a.shape != b.shape or not torch.allclose(a, b, atol=1e-6)]


def test_fine_tuning_for_other_classes_starts_with_all_weights_but_the_class_table(trained, presets, tmp_path, capsys):
    data = image_folder(tmp_path / "images", classes=("a", "b", "c"))
    options = Options(device="cpu", steps=1, lr=1e-12, recipe=("ema=0",))
    stage2.train("tiny-var", str(data), tmp_path / "out", start=str(trained / "var"), options=options)
    assert "class table new: 3 classes instead of 2" in capsys.readouterr().err
    first = json.loads((tmp_path / "out" / "log.jsonl").read_text().splitlines()[0])
    assert first["step"] == 0 and first["class_table"] == "new: 3 classes instead of 2"
    (before, vq), (after, same_vq) = load(trained / "var"), load(tmp_path / "out")
    assert changed(before, after) == ["class_embed.table.weight"] and after.config.classes == 3
    assert fingerprint(vq) == fingerprint(same_vq)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["started_from"]["preset"] == "tiny-var" and "--start" in card["training"]["command"]


def test_fine_tuning_for_the_same_classes_keeps_the_class_table(trained, presets, tmp_path):
    options = Options(device="cpu", steps=1, lr=1e-12, recipe=("ema=0",))
    stage2.train("tiny-var", str(trained / "images"), tmp_path, start=str(trained / "var"), options=options)
    tables = [load(folder)[0].class_embed.table.weight for folder in (trained / "var", tmp_path)]
    assert torch.allclose(*tables, atol=1e-6)


def test_a_start_of_another_shape_is_refused_with_the_difference(trained, presets, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "deeper", replace(MODELS["tiny-var"], config=var_config(depth=3)))
    with pytest.raises(
        ValueError, match=r"start: .* does not have the shape of preset deeper: depth is 2 there, 3 here"
    ):
        stage2.train("deeper", str(trained / "images"), tmp_path / "out", start=str(trained / "var"))
    assert not (tmp_path / "out").exists()


def test_a_start_goes_on_with_the_codes_of_another_tokenizer(trained, presets, tmp_path, capsys):
    tiny_tokenizer(1, vocab=40, z=6, scales=[1, 2, 4, 5]).save_pretrained(tmp_path / "vq")
    options = Options(device="cpu", steps=1, lr=1e-12, recipe=("ema=0",))
    stage2.train(
        "tiny-var", str(trained / "images"), tmp_path / "out", tokenizer=tmp_path / "vq" / "tokenizer.safetensors",
        start=str(trained / "var"), options=options,
    )  # fmt: skip
    assert "codes fitted on" in capsys.readouterr().err
    first = json.loads((tmp_path / "out" / "log.jsonl").read_text().splitlines()[0])
    assert first["codes"].startswith("fitted on ") and first["class_table"] == "kept"
    (before, _), (after, vq) = load(trained / "var"), load(tmp_path / "out")
    assert (after.config.vocab, after.config.z, vq.scales.sides) == (40, 6, [1, 2, 4, 5])
    assert changed(before.blocks, after.blocks) == []


def test_codes_with_other_numbers_are_fitted_and_not_again_after_a_stop(
    trained, presets, tmp_path, capsys, monkeypatch
):
    _, renamed = load(trained / "var")
    with torch.no_grad():
        codes_VZ = renamed.quantizer.codebook.weight
        codes_VZ.copy_(codes_VZ[torch.randperm(32)])
    renamed.save_pretrained(tmp_path / "vq")
    file, out = tmp_path / "vq" / "tokenizer.safetensors", tmp_path / "out"
    start = {"tokenizer": file, "start": str(trained / "var")}
    options = Options(device="cpu", steps=9, lr=1e-12, recipe=("ema=0",))

    def stop(run, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "finish", stop)
        stage2.train("tiny-var", str(trained / "images"), out, options=options, **start)
    assert "codes fitted on" in capsys.readouterr().err and (out / "checkpoint.pt").exists()
    monkeypatch.setattr(starting, "carry_over", stop)
    stage2.train("tiny-var", str(trained / "images"), out, options=options, **start)
    first, *_ = (json.loads(line) for line in (out / "log.jsonl").read_text().splitlines())
    assert first["codes"].startswith("fitted on")


@pytest.mark.parametrize(("preset", "kinds"), [("tiny-markov", "a var, and preset tiny-markov a markov")])
def test_a_start_of_another_kind_is_refused(trained, presets, tmp_path, monkeypatch, preset, kinds):
    config = KINDS["markov"].config(**vars(var_config()))
    monkeypatch.setitem(MODELS, preset, replace(MODELS["tiny-var"], config=config))
    with pytest.raises(ValueError, match=f"start: .* is {kinds}: it must be of one kind"):
        stage2.train(preset, str(trained / "images"), tmp_path / "out", start=str(trained / "var"))
    assert not (tmp_path / "out").exists()


def test_images_of_two_sizes_are_cut_alike_for_the_fit(trained, presets, tmp_path, monkeypatch):
    tiny_tokenizer(1, multipliers=(1, 2, 2), encoder_blocks=(0, 1, 1), decoder_blocks=(0, 1, 1)).save_pretrained(
        tmp_path
    )
    opened, seen = stage2.open_dataset, []

    def watched(data, split, size, channels, unreadable, as_published):
        seen.append((split, size, as_published))
        return opened(data, split, size, channels, unreadable, as_published=as_published)

    monkeypatch.setattr(stage2, "open_dataset", watched)
    stage2.train(
        "tiny-var", str(trained / "images"), tmp_path / "out", tokenizer=tmp_path / "tokenizer.safetensors",
        start=str(trained / "var"), options=Options(device="cpu", steps=1),
    )  # fmt: skip
    assert seen[2:] == [("train", (20, 20), True), ("train", (10, 10), True)]


def test_a_kind_that_cannot_be_carried_over_is_refused_another_tokenizer(tmp_path):
    VQVAE(TOKENIZERS[MODELS["fashion-maskgit-d4"].tokenizer].config).save_pretrained(tmp_path)
    start = {"tokenizer": str(tmp_path / "tokenizer.safetensors"), "start": "fashion-maskgit-d4"}
    with pytest.raises(ValueError, match="has other codes than fashion-maskgit-d4, and a maskgit cannot"):
        stage2.train("fashion-maskgit-d4", "fashion", tmp_path / "out", **start)


def test_a_start_with_no_scales_in_common_is_refused(trained, presets, tmp_path):
    tiny_tokenizer(1, scales=[1, 4]).save_pretrained(tmp_path / "vq")
    with pytest.raises(ValueError, match=r"start: .* needs its first scale and one more in common"):
        stage2.train(
            "tiny-var", str(trained / "images"), tmp_path / "out", tokenizer=tmp_path / "vq" / "tokenizer.safetensors",
            start=str(trained / "var"),
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_fine_tuning_from_published_weights(trained, presets, tmp_path, monkeypatch):
    published = replace(MODELS["tiny-var"], config=var_config(classes=2), hub=("nobody/nothing", "var_tiny.pth"))
    monkeypatch.setitem(MODELS, "tiny-published", published)
    monkeypatch.setattr(pretrained, "CHECKPOINTS", tmp_path / "shipped")
    shutil.copytree(trained / "vq", tmp_path / "shipped" / "tiny-vq")
    pretrained.convert(trained / "var" / "model.safetensors", tmp_path / "weights" / "var_tiny.pth")
    options = Options(device="cpu", steps=1, lr=1e-12, recipe=("ema=0",))
    stage2.train(
        "tiny-var", str(trained / "images"), tmp_path / "out", start="tiny-published",
        weights=tmp_path / "weights" / "var_tiny.pth", options=options,
    )  # fmt: skip
    assert changed(load(trained / "var")[0], load(tmp_path / "out")[0]) == []


def test_pictures_are_drawn_while_training(trained):
    for stage in ("vq", "var"):
        assert [path.name for path in sorted((trained / stage / "pictures").iterdir())] == [
            "0000020.png",
            "0000040.png",
        ]


def test_dropped_labels_are_those_whose_chance_is_below_the_share():
    model, tokenizer = lively_var(class_dropout=0.5).train(), tiny_tokenizer()
    idx, label_B = random_tokens(SIDES, batch=2), torch.tensor([1, 2])
    null = torch.full_like(label_B, model.class_embed.null)
    dropped = model.loss(tokenizer, idx, label_B, torch.tensor([[0.1], [0.2]]))
    kept = model.loss(tokenizer, idx, label_B, torch.tensor([[0.5], [0.9]]))
    model.eval()
    assert torch.equal(dropped, model.loss(tokenizer, idx, null))
    assert torch.equal(kept, model.loss(tokenizer, idx, label_B))


# Views


def log_of(out):
    return without_clock(map(json.loads, (out / "log.jsonl").read_text().splitlines()))


@pytest.fixture
def viewed(trained, presets, tmp_path):
    """Trains 20 steps, three passes and more over 54 images, on so many views; the folder."""

    def train(views, name=None):
        options = Options(device="cpu", steps=20, flip=True, recipe=(f"views={views}",))
        out = tmp_path / (name or f"{views} views")
        stage2.train("tiny-var", str(trained / "images"), out, trained / "vq", options=options)
        return out

    return train


@pytest.mark.parametrize("views", [0, 3])
def test_a_training_on_views_that_was_stopped_goes_on_bit_for_bit(viewed, monkeypatch, views):
    whole, save = viewed(views), Run.save

    def save_and_stop(run, state):
        save(run, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save_and_stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                viewed(views, "stopped")
    resumed = viewed(views, "stopped")
    assert log_of(resumed) == log_of(whole)
    assert read_model(resumed / "model.safetensors")[1].keys() == read_model(whole / "model.safetensors")[1].keys()
    for a, b in zip(*(read_model(out / "model.safetensors")[1].values() for out in (resumed, whole)), strict=True):
        assert torch.equal(a, b)


def test_encoding_at_every_step_is_training_on_as_many_views_as_there_are_passes(viewed):
    fresh, kept, fewer = (log_of(viewed(views)) for views in (0, 4, 2))
    assert fresh == kept != fewer


def test_a_card_says_on_how_many_views_a_model_was_trained(viewed, trained):
    for out, views in ((viewed(2), 2), (trained / "var", 1)):
        assert json.loads((out / "card.json").read_text())["training"]["recipe"]["views"] == views


def test_of_tokens_made_at_every_step_none_is_kept(viewed, monkeypatch):
    kept = []
    monkeypatch.setattr(stage2, "cache_tokens", lambda vq, data, split, **how: kept.append(split) or cache_tokens(
        vq, data, split, **how))  # fmt: skip
    viewed(0)
    assert kept == ["test"]


def test_published_presets_encode_at_every_step_and_small_ones_once():
    of_imagenet = {name: row.recipe.views for name, row in MODELS.items() if row.hub is not None}
    assert set(of_imagenet.values()) == {0} and "var-d30" in of_imagenet
    assert {row.recipe.views for row in MODELS.values() if row.hub is None} == {1}


def test_stage_two_says_which_pictures_it_skipped_again_when_their_tokens_are_cached(
    trained, presets, tmp_path, capsys
):
    images = shutil.copytree(trained / "images", tmp_path / "images")
    (images / "round" / "003.png").write_bytes(b"")
    for out in ("a", "b"):
        stage2.train("tiny-var", str(images), tmp_path / out, trained / "vq", options=Options(device="cpu", steps=1))
        assert "skipped 1 pictures that could not be read: round/003.png (" in capsys.readouterr().err


@pytest.fixture
def no_encoding(monkeypatch):
    def encode(*_):
        raise AssertionError("something was encoded")

    monkeypatch.setattr(VQVAE, "encode", encode)


def of_another_run(out):
    out.mkdir()
    (out / "config.json").write_text(json.dumps({"stage": "transformer", "preset": "another"}))


def a_file(out):
    out.write_text("")


def locked(out):
    out.mkdir()
    return hold(out / ".lock", "")


@pytest.mark.parametrize(
    "prepare, arguments, options, message",
    [
        (None, {"preset": "nothing"}, {}, "unknown model preset"),
        (None, {"tokenizer": "nothing"}, {}, "unknown tokenizer"),
        (None, {"start": "nothing"}, {}, "unknown model"),
        (None, {"data": "nothing"}, {}, "data: nothing"),
        (None, {}, {"accumulate": 3}, "batch must be a multiple of processes x micro-steps"),
        (None, {}, {"recipe": ("ema=2",)}, "ema must be"),
        (None, {}, {"shard": True}, "shard: there is one process"),
        (of_another_run, {}, {}, "preset is another there, tiny-var here"),
        (a_file, {}, {}, "is a file, not a folder"),
        (locked, {}, {}, "is being written by another training"),
    ],
)  # fmt: skip
def test_what_can_be_refused_is_refused_before_an_image_is_encoded(
    trained, presets, tmp_path, no_encoding, prepare, arguments, options, message
):
    out = tmp_path / "out"
    held = prepare(out) if prepare else None
    given = {"preset": "tiny-var", "data": str(trained / "images"), "tokenizer": trained / "vq"} | arguments
    with pytest.raises((ValueError, OSError), match=message):
        stage2.train(**given, out=out, options=Options(**{"device": "cpu"} | options))
    assert out.exists() == (prepare is not None)
    del held


def test_a_finished_training_says_so_before_its_data_are_opened(trained, presets, monkeypatch, capsys):
    monkeypatch.setattr(stage2, "open_dataset", None)
    stage2.train("tiny-var", str(trained / "images"), trained / "var", trained / "vq")
    assert "is finished; delete it to train again" in capsys.readouterr().err


def test_the_same_data_at_another_path_are_the_same_training(trained, presets, tmp_path, no_encoding, monkeypatch):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "var").mkdir(exist_ok=True)
        shutil.copy(trained / "var" / name, tmp_path / "var" / name)
    copy = shutil.copytree(trained / "images", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for data in (copy, "photos", "./photos", "photos/"):
        stage2.train("tiny-var", str(data), tmp_path / "var", trained / "vq")
    (copy / "round" / "000.png").unlink()
    with pytest.raises(ValueError, match="data_sha256"):
        stage2.train("tiny-var", "photos", tmp_path / "var", trained / "vq")


def test_fine_tuning_from_a_model_whose_card_has_only_scores_ends_with_a_card(trained, presets, tmp_path):
    start = shutil.copytree(trained / "var", tmp_path / "start")
    (start / "card.json").write_text(json.dumps({"scores": {}, "scores_command": "varlite evaluate --card"}))
    options = Options(device="cpu", steps=1)
    stage2.train("tiny-var", str(trained / "images"), tmp_path / "out", start=str(start), options=options)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["training"]["preset"] == "tiny-var" and "started_from" not in card


def test_sharding_keeps_the_blocks_of_any_kind_whole():
    names = {kind: stage2.block_names(found.config(**{"depth": 2, "scales": SIDES} | EXAMPLES[kind][0]))
             for kind, found in KINDS.items() if kind in EXAMPLES}  # fmt: skip
    assert names["var"] == {"Block"} and names["mvar"] == {"MVARBlock"}
