import json
from dataclasses import replace

import pytest
from examples import SIDES, tokenizer_config, var_config

from varlite import generate, load
from varlite.checkpoints import load as pretrained
from varlite.experiments import sweep as sweeps
from varlite.models import MVARConfig, RasterConfig, kind_of
from varlite.presets import MODELS, TOKENIZERS, TransformerRecipe
from varlite.training.options import Options
from varlite.training.train_tokenizer import train_tokenizer

RECIPE = TransformerRecipe(steps=20, batch=8, lr=3e-3, warmup=5, ema=0.9)


@pytest.fixture
def tiny_sweep(trained, presets, monkeypatch, tmp_path):
    """Name, folder of runs and result of a sweep over the test images: VAR with two seeds, M-VAR, a raster model."""
    data, vq = str(trained / "images"), trained / "vq" / "model.safetensors"
    one = replace(TOKENIZERS["tiny-vq"], config=tokenizer_config(scales=SIDES[-1:], phi_shared=1))
    monkeypatch.setitem(TOKENIZERS, "tiny-vq-raster", replace(one, recipe=replace(one.recipe, steps=10)))
    small = vars(var_config())
    for kind, config in (("mvar", MVARConfig(**small)), ("raster", RasterConfig(**small | {"scales": SIDES[-1:]}))):
        tokenizer = "tiny-vq-raster" if kind == "raster" else "tiny-vq"
        monkeypatch.setitem(MODELS, f"tiny-{kind}", replace(MODELS["tiny-var"], config=config, tokenizer=tokenizer))
    single = train_tokenizer("tiny-vq-raster", data, tmp_path / "vq-raster", start=str(vq))
    arms = [("tiny-var", 0), ("tiny-mvar", 0), ("tiny-raster", 0), ("tiny-var", 1)]
    monkeypatch.setitem(sweeps.SWEEPS, data, arms)
    monkeypatch.setattr(sweeps, "ladder", lambda depth: RECIPE)
    monkeypatch.setattr(pretrained, "shipped", {"tiny-vq": vq, "tiny-vq-raster": single}.get)
    return data, tmp_path / "runs", tmp_path / "results"


def test_all_models_see_as_many_images_also_after_an_interruption_and_their_curves_come_in_one_file(
    tiny_sweep, monkeypatch, capsys
):
    data, runs, out = tiny_sweep
    train, begun = sweeps.train, []

    def interrupted(preset, *arguments, **others):
        begun.append(preset)
        if len(begun) == 2:
            raise SystemExit("stopped")
        return train(preset, *arguments, **others)

    monkeypatch.setattr(sweeps, "train", interrupted)
    with pytest.raises(SystemExit):
        sweeps.sweep(out, runs, name=data)
    first = json.loads((out / "sweep.json").read_text())["runs"]
    assert list(first) == ["tiny-var"]
    result = sweeps.sweep(out, runs, name=data)
    assert result["runs"]["tiny-var"] == first["tiny-var"]
    assert json.loads((out / "sweep.json").read_text()) == result
    assert list(result["runs"]) == ["tiny-var", "tiny-mvar", "tiny-raster", "tiny-var@1"]
    assert [run["kind"] for run in result["runs"].values()] == ["var", "mvar", "raster", "var"]
    for run in result["runs"].values():
        assert run["recipe"] == result["runs"]["tiny-var"]["recipe"] and run["recipe"]["steps"] == 20
        assert run["curve"][-1]["images"] == 20 * 8 and run["curve"][-1]["val_loss"] > 0
    assert result["runs"]["tiny-var"]["curve"] != result["runs"]["tiny-var@1"]["curve"]
    assert result["runs"]["tiny-var@1"]["seed"] == 1
    for name in ("tiny-mvar", "tiny-raster"):
        images = generate(*load(runs / name), [0, 1], seeds=0)
        assert images.shape == (2, 1, 10, 10)
    sweeps.report(result)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_ladders_recipe_replaces_a_presets_own_but_not_what_is_asked_for():
    own = TransformerRecipe(steps=3600, batch=64, lr=2e-3, warmup=100, ema=0.998)
    wanted = replace(own, steps=1500, ema=0.995)
    assert sweeps.changes(own, wanted, Options()) == ("steps=1500", "ema=0.995")
    assert sweeps.changes(own, wanted, Options(steps=10)) == ("ema=0.995",)


def test_the_ladder_of_fashion_spans_fifty_fold_in_depths_of_one_width_law():
    configs = [MODELS[preset].config for preset, seed in sweeps.SWEEPS["fashion"] if "var-d" in preset and seed == 0]
    ladder = {c.depth: c for c in configs if kind_of(c).name == "var" and c.adaln and c.attn_norm}
    assert len(ladder) >= 5 and all(c.width == 32 * depth and c.heads == depth for depth, c in ladder.items())
    assert max(ladder) ** 3 / min(ladder) ** 3 >= 50


def test_what_ships_counts_as_a_model_of_the_ladder_where_it_was_trained_like_one():
    assert sweeps.ships("fashion-mvar-d4") and sweeps.ships("fashion-raster-d4")
    assert not sweeps.ships("fashion-var-d4")  # trained for longer
    assert not sweeps.ships("fashion-var-d5")  # does not ship


def test_models_that_are_compared_are_trained_three_times():
    for compared in sweeps.COMPARED:
        assert [seed for preset, seed in sweeps.SWEEPS["fashion"] if preset == compared] == [0, 1, 2]


def test_an_unknown_sweep_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown sweep 'imagenet'; there are: fashion"):
        sweeps.sweep(tmp_path, tmp_path / "runs", name="imagenet")
