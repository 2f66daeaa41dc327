import json

import pytest

from varlite.experiments import (
    ablation,
    bands,
    cca_gain,
    codebook_collapse,
    dit_variety,
    guidance,
    machine_costs,
    still_edits,
    sweep,
    table1,
    yardsticks,
)


@pytest.fixture
def asked(monkeypatch):
    """What each experiment was asked, in place of running it."""
    asked = {}

    def stand_in(module, name, result):
        def experiment(*arguments, **others):
            asked[name] = (*map(str, arguments), *(f"{key}={value}" for key, value in others.items()))
            return result

        monkeypatch.setattr(module, name, experiment)

    scores = dict.fromkeys(bands.SCORES, 0.9) | {"fd": 2.0}
    row = {"cfg": 1.5, "top_k": 0, "top_p": 0.96}
    stand_in(guidance, "reproduce_guidance", {"cfg": [row | scores], "top_k": [], "num": 20})
    arm = {"scores": scores, "panel": {"scores": {"fd_second": {"value": 0.4}}}, "seconds_per_image": {"1": 0.05}}
    place = {"arm": "before, cfg 0", "rank": 1.0, "judge": "tokens", "away": 2.0}
    stand_in(cca_gain, "reproduce_cca", {"arms": {"before, cfg 0": arm}, "order": [place]})
    row = {"row": 2, "step": "next-scale", "mean": scores, "band": {"fd": [2.0, 2.0]}, "runs": {"0": scores}}
    stand_in(ablation, "reproduce_ablation", {"rows": [row]})
    stand_in(machine_costs, "reproduce_speed", {"bench": {"VAR-d16": {"speedup": {"varlite": {"median": 1.4}}}}})
    stand_in(yardsticks, "reproduce_yardsticks", {"rows": {"a parrot": {"mean": {"fd": 2.0}, "band": {"fd": [1, 3]}}}})
    curve = {"codes_used": 0.5, "perplexity_per_scale": [1, 2]}
    stand_in(codebook_collapse, "ablate_codebook", {"arms": {"nothing": {"curve": [curve], "val_mse": 0.1}}})
    stand_in(sweep, "sweep", {"runs": {"fashion-var-d1": {"curve": [{"val_loss": 4.0}], "minutes": 3}}})
    of_trainings = {"mean": scores, "band": {"fd": [1.9, 2.1]}}
    family = of_trainings | {"name": "masked", "parameters": 2e6, "evaluations": 8, "seconds_per_image": 0.01}
    place |= {"family": "fashion-maskgit-d4"}
    stand_in(table1, "reproduce_table1", {"families": {"fashion-maskgit-d4": family}, "places": {"0": [place]}})
    judges = {judge: {"value": 0.2} for judge in dit_variety.VARIETY}
    change = {"before": "DiT", "after": "DiT, quantized", "better by": [], "worse by": ["spread_pixels"]}
    varied = {"sets": {"DiT": {"scores": scores, "panel": {"scores": judges}}}, "effects": {"codebook": change}}
    stand_in(dit_variety, "reproduce_dit_variety", varied)
    found = {"share": 0.9, "interval": [0.8, 0.95], "num": 5}
    task = {"num": 5, "read": {row: {"count": found} for row in ("edits", "ceiling", "untouched")}}
    stand_in(still_edits, "reproduce_still", {"tasks": {"extend": task}})
    return asked


@pytest.mark.parametrize(
    ("words", "experiment", "arguments", "printed"),
    [
        (["guidance"], "reproduce_guidance", ("out/results", "2000"), "top-p 0.96  accuracy 0.900  fd 2.000"),
        (["yardsticks"], "reproduce_yardsticks", ("out/results", "2000", "6000"), "fd 2.000 (1.000 to 3.000)"),
        (["cca"], "reproduce_cca", ("out/results", "runs", "2000"), "second FD 0.400  50.0 ms (batch 1)"),
        (["ablation"], "reproduce_ablation", ("out/results", "runs/sweep", "10000"), "next-scale"),
        (["speed", "--rounds", "2"], "reproduce_speed", ("out/results", "10000", "2", "cpu"), "varlite 1.4 times"),
        (["codebook"], "ablate_codebook", ("out/results", "fashion", "runs/codebook"), "50% of codes"),
        (["table1"], "reproduce_table1", ("out/results", "runs/table1", "10000", "2000"), "8 evaluations, 10.0 ms"),
        (
            ["dit-variety"],
            "reproduce_dit_variety",
            ("out/results", "runs/table1", "2000"),
            "worse by ['spread_pixels']",
        ),
        (["still", "--num", "5"], "reproduce_still", ("out/results", "5", "0", "still-var-d6"), "90% (80% .. 95%)"),
        (["sweep", "--out", "a"], "sweep", ("a", "runs/sweep"), "test loss 4.0000, 3 minutes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_experiment_writes_to_out_results_unless_it_is_told_otherwise(
    varlite, asked, words, experiment, arguments, printed
):
    status, out, err = varlite("reproduce", *words, *(["--device", "cpu"] if words[0] == "speed" else []))
    assert status == 0, err
    assert asked[experiment][: len(arguments)] == arguments and printed in out


def test_m_var_s_state_is_timed_and_written(varlite, monkeypatch, tmp_path):
    monkeypatch.setattr(machine_costs, "SCHEDULES", {256: [1, 2], 512: [1, 3], 1024: [1, 4]})
    monkeypatch.setattr(machine_costs, "DEPTHS_BY_SIDE", {256: 1, 512: 2})
    monkeypatch.setattr(machine_costs, "WIDTH", 64)
    status, stdout, _ = varlite("reproduce", "mvar-state", "--rounds", 2)
    result = json.loads((tmp_path / "out" / "results" / "mvar-carried.json").read_text())
    assert status == 0 and stdout.count("times as fast, 100.0% of tokens equal") == 2
    assert result["command"] == "varlite reproduce mvar-state --rounds 2"
    assert result["timed"]["512"]["config"]["depth"] == 2
    assert list(result["timed"]) == ["256", "512"] and list(result["state_bytes_per_layer"]) == ["256", "512", "1024"]


@pytest.mark.parametrize(
    "what",
    [
        "fashion",
        "yardsticks",
        "guidance",
        "cca",
        "ablation",
        "speed",
        "codebook",
        "sweep",
        "table1",
        "dit-variety",
        "mvar-state",
    ],
)
def test_a_folder_that_is_a_file_is_refused_before_any_work(refused, what):
    refused(["reproduce", what, "--out", "a-file"], "out: a-file is a file, and a folder is needed there")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fashion", "--num", "0"], "num must be at least 1, got 0"),
        (["fashion", "--seeds"], "seeds: give at least one"),
        (["fashion", "--models", "var-d16"], "models: 'var-d16' is none of fashion-vq"),
        (["guidance", "--device", "mps"], "device: there is no mps here"),
        (["ablation", "--runs", "nothing"], "nothing/fashion-raster-d4-plain holds no finished training"),
        (["mvar-state", "--rounds", "0"], "rounds must be at least 1, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_before_any_work(refused, arguments, message):
    refused(["reproduce", *arguments], message)


def test_where_no_model_is_found_nothing_is_reported_as_done(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(bands, "CHECKPOINTS", tmp_path / "nothing")
    refused(["reproduce", "fashion"], "nothing holds none of the models that are scored: VARLITE_DATA names the folder")


def test_a_place_for_trainings_that_is_a_file_is_refused(refused):
    for what in ("sweep", "codebook"):
        refused(["reproduce", what, "--runs", "a-file"], "runs: a-file is a file, and a folder is needed there")
