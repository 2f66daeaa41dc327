"""Every family of VAR's first table: trained alike, measured once each, and resumed."""

import pytest

from varlite.checkpoints.empty import build_empty, parameters
from varlite.checkpoints.load import load
from varlite.evaluation.judges.verdict import Report, Score
from varlite.experiments import table1
from varlite.experiments.table1 import FAMILIES, SEEDS, load_table1, open_families, report, reproduce_table1
from varlite.io.files import write_json
from varlite.io.places import RESULTS
from varlite.presets import ladder

LARGER = "next scale: M-VAR, half as many again"
NAMES = ["fashion-raster-d4", "fashion-mvar-d4"]  # that ship, by the ladder's recipe


def panel(value):
    scores = {name: Score(value, value - 0.1, value + 0.1, 1, 0.1) for name in ("fd_second", "drawn_tokens")}
    return Report(40, scores, tokenizer=str(value)).record()


@pytest.fixture
def measured(monkeypatch):
    """Two families, and judges that answer at once."""
    asked = []

    def evaluate(request, out, device):
        asked.append(request)
        far, seed = 3 if NAMES[0] in request.model else 2, int(f"0{request.model.partition('@')[2]}")
        return {"scores": dict.fromkeys(table1.SCORES, 0.5 + 0.1 * seed), "panel": panel(far)}

    few = [family for family in FAMILIES if family.preset in NAMES]
    monkeypatch.setattr(table1, "FAMILIES", few)
    monkeypatch.setattr(table1, "evaluate", evaluate)
    monkeypatch.setattr(table1, "weights", lambda source: {"model": source})
    monkeypatch.setattr(table1, "train", lambda preset, data, out, options: out / "model.safetensors")
    monkeypatch.setattr(table1, "seconds_per_image", lambda models, batch: [0.01 * batch] * len(models))
    return asked


def test_what_is_measured_is_kept_and_the_panel_orders_the_families(measured, tmp_path, capsys):
    record = reproduce_table1(tmp_path, tmp_path / "runs", 40, 20)
    assert [request.num for request in measured] == [*2 * [40, 20, 20, 20], 40, 40, 40, 40]
    assert [request.model for request in measured[-2:]] == [f"{tmp_path}/runs/{name}@2" for name in reversed(NAMES)]
    assert load_table1(tmp_path)["families"] == record["families"]
    assert reproduce_table1(tmp_path, tmp_path / "runs", 40, 20)["places"] == record["places"] and len(measured) == 12
    for seed in ("0", "1", "2"):
        places = [(p["family"], p["judge"]) for p in record["places"][seed]]
        assert places == [(name, "fd_second") for name in reversed(NAMES)]
    row = record["families"][NAMES[0]]
    assert row["parameters"] == parameters(load(NAMES[0])[0]) and row["images_seen"] == 96_000
    assert (row["seconds_alone"], row["seconds_per_image"], row["evaluations"]) == (0.01, 0.64, 49)
    assert [point["settings"] for point in row["dial"]] == [{"cfg": 0.0}, {"cfg": 0.75}, {"cfg": 3.0}]
    report(record)
    said = capsys.readouterr().out
    assert "49 evaluations, 640.0 ms an image" in said and "ranks 1, 1, 1      fashion-mvar-d4" in said


def test_a_row_is_the_mean_of_its_trainings_with_their_range(measured, tmp_path):
    row = reproduce_table1(tmp_path, tmp_path / "runs", 40, 20)["families"][NAMES[0]]
    assert list(row["trainings"]) == ["0", "1", "2"]
    found = [one["scores"]["fd"] for one in row["trainings"].values()]
    assert row["band"]["fd"] == [min(found), max(found)] and row["mean"]["fd"] == pytest.approx(sum(found) / 3)
    assert found[0] < found[1] < found[2]


def test_a_row_that_was_measured_takes_the_name_that_the_table_gives_it_now(measured, tmp_path):
    record = reproduce_table1(tmp_path, tmp_path / "runs", 40, 20)
    record["families"][NAMES[1]]["name"] = "as it was called before"
    write_json(tmp_path / "table1.json", record)
    again = reproduce_table1(tmp_path, tmp_path / "runs", 40, 20)["families"]
    assert again[NAMES[1]]["name"] == LARGER and len(measured) == 12


def test_another_number_of_samples_is_another_record(measured, tmp_path):
    reproduce_table1(tmp_path, tmp_path / "runs", 40, 20)
    with pytest.raises(ValueError, match="holds other measurements"):
        reproduce_table1(tmp_path, tmp_path / "runs", 60, 20)


def test_a_finished_run_is_used_what_ships_if_it_saw_as_much_and_what_is_missing_is_trained(monkeypatch, tmp_path):
    begun = []

    def train(preset, data, out, options):
        begun.append((preset, data, options.recipe))
        return out / "model.safetensors"

    monkeypatch.setattr(table1, "train", train)
    (tmp_path / "fashion-dit-d4").mkdir()
    (tmp_path / "fashion-dit-d4" / "card.json").write_text("{}")
    found = open_families(tmp_path)
    assert found["fashion-dit-d4"] == {
        seed: str(tmp_path / f"fashion-dit-d4{end}") for seed, end in enumerate(("", "@1", "@2"))
    }
    assert found["fashion-raster-d4"][0] == "fashion-raster-d4"
    ends = ("fashion-flexvar-d4", str(tmp_path / "fashion-flexvar-d4@1"), str(tmp_path / "fashion-flexvar-d4@2"))
    assert tuple(found["fashion-flexvar-d4"].values()) == ends
    missing = {"fashion-var-d4", "fashion-mvar-d4-narrow"}  # of the first trainings, beside what ships or has finished
    assert {preset for preset, *_ in begun[:2]} == missing
    assert begun[-1][0] == FAMILIES[-1].preset and len(begun) == 2 * len(FAMILIES) + len(missing)
    preset, data, recipe = next(run for run in begun if run[0] == "fashion-var-d4")  # what ships saw more images
    wanted = ladder(4)
    assert data == "fashion" and f"steps={wanted.steps}" in recipe and found[preset][0] == str(tmp_path / preset)


def test_families_differ_in_weights_by_less_than_three_percent_but_for_one_that_says_so():
    sizes = {family.name: parameters(build_empty(family.preset)) for family in FAMILIES}
    var = sizes["next scale: VAR"]
    assert {name for name, size in sizes.items() if abs(size / var - 1) > 0.03} == {LARGER}
    assert sizes[LARGER] / var == pytest.approx(1.5, abs=0.05)
    assert abs(sizes["next scale: M-VAR, as many weights as VAR"] / var - 1) < 0.005


def test_the_table_that_ships_is_whole():
    record = load_table1(RESULTS)
    assert list(record["families"]) == [family.preset for family in FAMILIES]
    for family in FAMILIES:
        row = record["families"][family.preset]
        assert len(row["dial"]) == len(family.dial) and row["images_seen"] == 96_000
        assert row["name"] == family.name and list(row["trainings"]) == [str(seed) for seed in SEEDS]
    for places in record["places"].values():
        assert {place["family"] for place in places} == set(record["families"])
