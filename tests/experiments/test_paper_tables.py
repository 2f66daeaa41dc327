"""Published numbers: all there, each with its source and mark, sources that disagree kept apart, joined with ours."""

import json
import re
import shutil

import pytest

from varlite.experiments.paper_tables import MARKS, TABLES, join, read_results, read_table
from varlite.io.places import PUBLISHED
from varlite.models import VARConfig
from varlite.presets import MODELS
from varlite.scales import Scales

# What the papers, repositories and issues say, typed a second time.
NUMBERS = {
    "imagenet-256": """
        6.95 224.5 .89 .38 112M  3.45 225.5 .84 .61 569M  2.30 265.1 .78 .53 166M 0.3
        10.94 101.0 .69 .63 554M 250 168  4.88 158.7 8100  3.60 247.7 400M  5.02 167.2 .75 .57 458M 31
        2.27 278.2 .83 .57 675M 45  2.10 304.4 .82 .60 3.0B 45  2.28 316.2 .83 .58 7.0B 45
        6.18 182.1 .80 .51 227M 8 0.5  3.49 215.5 502M 20 1.9
        31.11 45 .36 .57 13.5B 5120  18.65 80.4 .78 .26 227M 256 19  15.78 74.3 1.4B 24  5.20 280.3 1.4B
        4.17 175.1 1.7B 1024 24  3.04 227.4 1.7B  7.55 134.0 3.8B 68 21  3.80 323.7 3.8B
        3.30 274.4 .84 .51 310M 10 0.4  2.57 302.6 .83 .56 600M 0.5  2.09 312.9 .82 .59 1.0B 0.6
        1.92 323.1 .82 .59 2.0B 1  1.73 350.2 .82 .60 2.0B  1.78 236.9 .75 .67  .83 .57 .82 .58""",
    "imagenet-512": "8.43 177.9  23.24 101.0  3.04 240.8 81  7.32 156.0 0.5  26.52 66.8 25  2.63 303.2 1",
    "ablation": "1 18.65 227M  2 5.22 0.013  3 4.95 310M  4 4.64 12.11 3.44  5 3.60 1.5  6 3.30  7 1.73 2.0B",
    "model-zoo": """
        3.55 3.30 310M 2.95 2.57 600M 2.33 2.09 1.0B 1.97 1.92 1.80 1.73 2.0B 2.63 2.3B 256 512
        3.49 281.71 .85 .50  3.375 298.45 .850 .4955  3.61 225.6  1.95""",
    "scaling-laws": """
        2.0 -0.23 2.5 -0.20 4.9e2 -0.016 6.5e2 -0.010 -0.998
        2.2e-5 -0.13 1.5e-5 -0.16 8.1e-2 -0.0067 4.4e-2 -0.011 -0.99""",
    "sizes": "302.0M 589.8M 1019.2M 1990.7M 16 20 24 30",
    "mvar": """
        132M 5.81 201.3 .81 .45  198M 4.19 234.8 .83 .48  464M 3.07 294.6 .84 .53  900M 2.41 308.4 .85 .58
        1.5B 1.93 320.7 .83 .59  3.0B 1.78 331.2 .83 .61  10""",
    "claims": "16.85 16.92 0.19 0.14 0.013 45 3.3 3.6 0.9 2.70 4 10 110468 462400 23.9 38.6 30.3 46.55 62 298",
    "protocol": "50000 50 1.5 900 0.96 3 10000",
}


def fields(name):
    return {x for row in read_table(name) for x in row.values() if x is not None}


def number(text):
    factor = {"M": 1e6, "B": 1e9}.get(text[-1], 1)
    return float(text.rstrip("MB")) * factor


@pytest.mark.parametrize("name", TABLES)
def test_every_published_number_is_in_its_table(name):
    have = {float(x) for x in fields(name) if not isinstance(x, str) or re.fullmatch(r"[\d.]+", x)}
    assert {number(text) for text in NUMBERS[name].split()} - have == set()


@pytest.mark.parametrize("name", TABLES)
def test_every_row_says_where_it_comes_from_and_how_that_was_checked(name):
    rows = read_table(name)
    assert rows and all(row["source"] and row["mark"] in MARKS for row in rows)
    keys = [tuple(row.values()) for row in rows]
    assert len(set(keys)) == len(keys)


def test_a_table_that_is_quoted_twice_has_one_mark_and_one_set_of_numbers():
    full = {(row["model"], row["source"]): row for name in ("imagenet-256", "imagenet-512") for row in read_table(name)}
    for row in read_table("model-zoo"):
        if "table" in row["source"]:
            other = full[row["model"], row["source"]]
            assert (row["fid"], row["mark"]) == (other["fid"], other["mark"])


def test_every_table_is_read_and_the_marks_are_explained():
    assert {path.stem for path in PUBLISHED.glob("*.csv")} == set(TABLES)
    assert all(f"`{mark}`" in (PUBLISHED / "README.md").read_text() for mark in MARKS)


def values(name, column, **where):
    return [row[column] for row in read_table(name) if where.items() <= row.items()]


def test_a_line_of_each_kind_reads_as_in_the_papers():
    assert values("imagenet-256", "fid", model="DiT-XL/2") == [2.27]
    assert values("imagenet-256", "is", model="VQVAE-2") == [45]
    assert values("imagenet-256", "mark", model="RQ-Transformer-re") == ["one-copy"]
    assert values("imagenet-256", "time", model="L-DiT-7B") == [None]
    assert values("imagenet-256", "time_above", model="L-DiT-7B") == [45]
    assert values("imagenet-512", "time", model="VQGAN") == [25]
    assert values("mvar", "fid", model="var-d12") == [5.81]
    assert values("mvar", "mark", model="mvar-d32", fid=1.78) == ["one-copy", "paper"]
    assert values("scaling-laws", "exponent", quantity="loss", tokens="last", against="N") == [-0.23]
    assert values("ablation", "mark", row=1) == ["paper"] and values("ablation", "mark", row=3) == ["one-copy"]


def test_where_sources_disagree_both_are_kept():
    assert values("model-zoo", "fid", model="var-d16") == [3.30, 3.55, 3.49, 3.375, 3.61]
    assert values("model-zoo", "fid", model="var-d30") == [1.92, 1.97, 1.95]
    assert values("imagenet-256", "recall", model="var-d24") == [0.59, 0.57]
    assert values("ablation", "fid", row=4) == [4.64, 12.11, 3.44]
    assert values("claims", "number", claim="gain of M-VAR over VAR") == [0.19, 0.19, 0.14]


def published(name, model, source):
    (row,) = (row for row in read_table(name) if (row["model"], row["source"]) == (model, source))
    return row["fid"]


def test_derived_sizes_follow_from_the_shape_rule():
    for row in read_table("sizes"):
        d = row["depth"]
        assert row["mark"] == "derived"
        assert (row["width"], row["heads"]) == (64 * d, d) == (VARConfig(depth=d).width, VARConfig(depth=d).heads)
        assert row["params"] == pytest.approx(18 * d * (64 * d) ** 2, abs=5e4)
        assert row["params"] == pytest.approx(73728 * d**3, abs=5e4)
        assert row["drop_path"] == pytest.approx(0.1 * d / 24, abs=5e-6)
        assert MODELS[row["model"]].config.drop_path == 0.1 * d / 24


def test_derived_shares_follow_from_the_schedules_of_scales():
    found = []
    for model in ("var-d16", "var-d36"):
        scales = Scales.of(MODELS[model].config.scales)
        within = sum(l * l for l in scales.lengths)
        seen = int(scales.block_causal_mask().sum())
        found.append([within, scales.total**2, 100 * within / scales.total**2, 100 * within / seen])
    (within, pairs, *small), (*_, dense, causal) = found
    assert values("claims", "number", claim="pairs of tokens within a scale at 256") == [within]
    assert values("claims", "number", claim="pairs of tokens at 256") == [pairs]
    assert values("claims", "number", claim="share of pairs within a scale at 256") == [round(x, 1) for x in small]
    shares = values("claims", "number", claim="share of pairs within a scale at 512")
    assert shares == [round(dense, 1), round(causal, 2)]


def test_derived_gains_are_differences_of_rows_of_the_tables():
    old, new = (
        published("model-zoo", "var-d30-re", "VAR README"),
        published("imagenet-256", "var-d30-re", "VAR table 1"),
    )
    raster = values("ablation", "fid", row=1)[0]
    gains = values("claims", "number", claim="gain of VAR over raster AR", mark="derived")
    assert gains == [pytest.approx(raster - old), pytest.approx(raster - new)]
    mvar = published("mvar", "mvar-d32", "M-VAR abstract")
    before = [published("model-zoo", "var-d30", source) for source in ("VAR README", "VAR table 1")]
    gains = values("claims", "number", claim="gain of M-VAR over VAR", mark="derived")
    assert gains == [pytest.approx(fid - mvar) for fid in before]


def test_the_band_of_a_reproduced_model_spans_the_measurements():
    fids = values("model-zoo", "fid", model="var-d16")
    band = [values("claims", "number", claim=f"reproduced var-d16: {end} end") for end in ("low", "high")]
    assert band == [[round(min(fids), 1)], [round(max(fids), 1)]]


def test_every_derived_row_is_covered_by_a_test_above():
    derived = {row["claim"] for row in read_table("claims") if row["mark"] == "derived"}
    assert all(re.match("gain|reproduced var-d16|pairs of|share of pairs", claim) for claim in derived)
    others = set(TABLES) - {"claims", "sizes"}
    assert [name for name in others for row in read_table(name) if row["mark"] == "derived"] == []


# Joining with measurements


def measured(model, **scores):
    return {"model": model, "command": f"varlite evaluate --model {model}", "settings": {"cfg": 1.5}, "scores": scores}


def test_measured_rows_follow_the_published_ones_of_their_model_with_command_and_mark():
    rows = join(read_table("model-zoo"), [measured("fashion-var-d4", fd=2.8), measured("var-d16", fid=3.4)])
    assert [row["model"] for row in rows[:7]] == ["var-d16"] * 6 + ["var-d20"]
    assert rows[5]["fid"] == 3.4 and rows[5]["mark"] == "measured" and rows[5]["settings"] == {"cfg": 1.5}
    assert rows[5]["source"] == "varlite evaluate --model var-d16"
    assert rows[-1]["model"] == "fashion-var-d4" and rows[-1]["fd"] == 2.8
    assert len(rows) == len(read_table("model-zoo")) + 2


def test_disagreements_between_sources_are_marked_on_every_row_concerned():
    rows = join(read_table("model-zoo") + read_table("imagenet-256"), [])
    by_source = {(row["model"], row["source"], row["fid"]): row["disagrees"] for row in rows}
    assert by_source["var-d16", "VAR README", 3.55] == ["fid"]
    assert by_source["var-d16", "VAR issue 83", 3.49] == ["fid", "is", "precision", "recall"]
    assert by_source["var-d30", "a later paper", None] == ["recall"]
    assert by_source["var-d36", "VAR README", 2.63] == []
    assert by_source["BigGAN", "VAR table 1", 6.95] == []


def test_values_that_are_equal_as_printed_agree():
    a = {"model": "m", "source": "a", "mark": "paper", "precision": 0.85, "recall": 0.5}
    b = {"model": "m", "source": "b", "mark": "one-copy", "precision": 0.850, "recall": 0.4955}
    assert [row["disagrees"] for row in join([a, b], [])] == [[], []]
    assert [row["disagrees"] for row in join([a, b | {"recall": 0.49}], [])] == [["recall"], ["recall"]]


@pytest.mark.parametrize(("fid", "disagrees"), [(3.29, ["fid"]), (3.30, []), (3.45, []), (3.61, []), (3.62, ["fid"])])
def test_a_measurement_disagrees_where_it_lies_outside_all_published_ones(fid, disagrees):
    rows = join(read_table("model-zoo"), [measured("var-d16", fid=fid)])
    assert next(row for row in rows if row["mark"] == "measured")["disagrees"] == disagrees


def test_any_column_joins():
    ours = {"row": 2, "command": "varlite reproduce ablation", "relative_cost": 0.1, "mean": {"fd": 3.0}, "runs": {}}
    rows = join(read_table("ablation"), [ours], on="row")
    assert [(row["row"], row["mark"]) for row in rows[1:3]] == [(2, "paper"), (2, "measured")]
    assert rows[2]["relative_cost"] == 0.1
    assert next(row for row in rows if row["row"] == 4)["disagrees"] == ["fid"]


def test_means_over_seeds_join_with_their_bands_and_parameters():
    ours = measured("var-d16") | {"parameters": 310283520, "mean": {"fid": 3.4}, "band": {"fid": [3.3, 3.5]}}
    ours["runs"] = {"0": {"fid": 3.3}, "1": {"fid": 3.5}}
    del ours["scores"]
    (row,) = (row for row in join(read_table("model-zoo"), [ours]) if row["mark"] == "measured")
    assert (row["fid"], row["band"], row["params"]) == (3.4, {"fid": [3.3, 3.5]}, 310283520)
    assert "runs" not in row


def test_joining_changes_nothing_it_was_given():
    rows, ours = read_table("mvar"), [measured("mvar-d16", fid=3.0)]
    before = json.dumps([rows, ours])
    join(rows, ours)
    assert json.dumps([rows, ours]) == before


def test_rows_that_cannot_be_joined_are_refused():
    with pytest.raises(ValueError, match="published: a row lacks model; it has setting"):
        join(read_table("protocol"), [])
    with pytest.raises(ValueError, match="measured: a row lacks command, scores; it has model"):
        join(read_table("mvar"), [{"model": "mvar-d16"}])


def test_results_are_collected_from_files_and_other_experiments_are_left_alone(tmp_path):
    over_seeds = {"model": "a", "command": "varlite reproduce fashion", "mean": {"fd": 2}, "runs": {}}
    files = {"b": measured("b", fid=2), "a": over_seeds, "guidance": {"model": "a", "command": "", "cfg": []}}
    files["sweep"] = {"command": "varlite reproduce sweep", "runs": {}}
    files["ablation"] = {"command": "varlite reproduce ablation", "scores": {}, "rows": []}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert [record["model"] for record in read_results(tmp_path)] == ["a", "b"]
    join(read_table("model-zoo"), read_results())


# Files that are wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("fid", "FID"), r"must have the columns type, model, fid, .*; got type, model, FID"),
        (("6.95", "6,95"), r"line 2 must have 13 fields, got 14"),
        (("6.95", "low"), r"line 2: fid must be a number, got 'low'"),
        (("112M", "112G"), r"line 2: params must be a number, got '112G'"),
        (("two-copies", "sure"), r"line 2: mark must be one of paper, .*, got 'sure'"),
        (("VAR table 1", ""), r"line 2: source is empty"),
    ],
)
def test_a_table_with_a_mistake_is_refused_with_its_place(tmp_path, change, message):
    shutil.copy(PUBLISHED / "imagenet-256.csv", tmp_path)
    path = tmp_path / "imagenet-256.csv"
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(ValueError, match=message):
        read_table("imagenet-256", tmp_path)


def test_an_unknown_table_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="unknown table 'imagenet'; there are: imagenet-256, "):
        read_table("imagenet")
