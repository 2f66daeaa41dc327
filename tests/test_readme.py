"""What the README and the pages in docs/ say is so."""

import json
import re
from pathlib import Path

import pytest

from varlite.evaluation.judges.verdict import OF_DRAWN, OF_TOKENS, Report, prefer, verdict, voters_of
from varlite.evaluation.judging import PANEL
from varlite.experiments import scaling_laws as scaling
from varlite.experiments.ablation import AGAINST, agreement
from varlite.experiments.dit_variety import VARIETY
from varlite.experiments.table1 import load_table1, ranks_of
from varlite.experiments.tuning import CFG
from varlite.models import kind_of
from varlite.presets import MODELS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCS = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = [README, *DOCS.values()]
RESULTS = " ".join(DOCS["results"].split())
CARDS = {path.parent.name: json.loads(path.read_text()) for path in (ROOT / "data/checkpoints").glob("*/card.json")}

OF_PICTURES = ("fd_second", "sw_pixels", "kid_imagenet")  # that share no network with FD
SSG_ROWS = {
    "accuracy": "accuracy", "FD by fashion-classifier": "fd", "FD by the second classifier": "fd_second",
    "sliced Wasserstein, pixels": "sw_pixels", "distance by ImageNet's features": "kid_imagenet",
    "tokens that were drawn": "drawn_tokens", "pairs of them": "drawn_pairs",
    "sliced Wasserstein, patches": "sw_patches", "spread within a class, pixels": "spread_pixels",
    "nearest neighbour, pixels": "nearest_pixels",
}  # fmt: skip


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", "".join(PAGES), re.DOTALL))
def test_the_snippets_run(snippet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(snippet, {})


def minutes(name, last=0):
    """Of all trainings behind a model, or the last few: "48 + 18", with a decimal for those on a GPU."""
    found, training = [], CARDS[name]["training"] | {"started_from": CARDS[name].get("started_from")}
    while training:
        found.append(f"{training['minutes']:.{int('GPU' in training['machine'])}f}")
        training = training.get("started_from")
    return " + ".join(found[::-1][-last:])


def row(name):
    """The cells of a model's row in the table of results."""
    line = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_results_are_those_of_the_cards():
    for name in ("fashion-vq", "fashion-vq-raster"):
        vq = CARDS[name]
        assert f"MSE {vq['scores']['val_mse']:.4f}, {vq['scores']['codes_used']:.0%} of codes used" in " | ".join(
            row(name)
        )
    assert minutes("fashion-vq") in row("fashion-vq") and f"takes {minutes('fashion-vq')} minutes" in README
    assert minutes("fashion-vq-raster", 2) in row("fashion-vq-raster")
    limits = [CARDS[name]["scores"]["fd"] for name in ("fashion-vq", "fashion-vq-raster")]
    assert "have {:.2f}, those by `fashion-vq-raster` {:.2f}".format(*limits) in " ".join(README.split())
    for name in sorted(name for name in CARDS if name in MODELS and name.startswith("fashion")):
        card = CARDS[name]
        shown = "{accuracy:.1%} accuracy, FD {fd:.2f}, precision {precision:.2f}, recall {recall:.2f}"
        assert shown.format(**card["scores"]) in row(name)
        where = " on a GPU" * card["training"]["machine"].startswith("GPU")
        assert f"{card['training']['minutes']:.0f}{where}" in row(name)
    assert f"{CARDS['fashion-classifier']['scores']['accuracy']:.1%}" in README


def rounds_of_still_life():
    """Minutes of the transformer's trainings: the first on two cores, those on a GPU, the last on two cores."""
    first, *gpu = minutes("still-var-d6").split(" + ")
    return first, " + ".join(gpu[:3]), " + ".join(gpu[3:])


def test_what_is_said_of_still_life_is_what_was_measured():
    vq, model, reader = (CARDS[f"still-{name}"]["scores"] for name in ("vq", "var-d6", "reader"))
    assert f"MSE {vq['val_mse']:.4f}, {vq['codes_used']:.0%} of codes used" in " | ".join(row("still-vq"))
    assert minutes("still-vq") in row("still-vq")
    first, gpu, last = rounds_of_still_life()
    assert f"{first}, then {gpu} on a GPU, then {last}" in row("still-var-d6")
    likely = json.loads((ROOT / "data/results/still-top-p.json").read_text())["scores"]
    shown = f"{model['shows_class']:.2%} show the class asked for, {model['coherent']:.1%} are coherent"
    assert f"{shown}, {likely['coherent']:.1%} with `--top-p 0.5`" in row("still-var-d6")
    assert f"{shown}, and {model['good']:.1%} are both" in RESULTS
    assert f"as they were rendered, {model['coherent_as_rendered']:.1%} are coherent" in RESULTS
    assert f"of real scenes pass in {vq['coherent']:.1%} of cases" in RESULTS
    assert f"recognises {vq['read_small_kind']:.1%} of the small objects" in RESULTS
    assert f"the material of {vq['read_material']:.1%} of the main ones" in RESULTS
    assert all(reader[name] >= 0.98 for name in ("kind", "hue", "material", "count", "azimuth", "elevation"))
    assert f"of those classes {model['held_out']:.1%}" in RESULTS
    shown = "likeliest codes only, {coherent:.1%} are coherent, and {coherent_as_rendered:.1%} as rendered"
    assert shown.format(**likely) in RESULTS
    assert f"falls from {model['variety']:.3f} to {likely['variety']:.3f}" in RESULTS
    fewest = json.loads((ROOT / "data/results/still-top-p-0.3.json").read_text())["scores"]
    shown = "With `--top-p 0.3` {coherent:.1%} are coherent, and {coherent_as_rendered:.1%} as rendered,"
    assert (shown + " at a variety of {variety:.3f}").format(**fewest) in RESULTS
    assert f"of objects of any other hue it reads {reader['coloured_material']:.1%}" in RESULTS
    names = ("kind", "hue", "material", "count", "wall", "table", "azimuth", "elevation", "camera")
    assert "| " + " | ".join(f"{reader[name]:.1%}" for name in (*names, "small_kind", "small_hue")) + " |" in RESULTS


def test_what_is_said_of_viewers_is_what_they_said():
    record = json.loads((ROOT / "data/results/still-viewers.json").read_text())

    def total(asked, of, size):
        sheets = [sheet for sheet in record[asked] if sheet["size"] == size and of in sheet]
        return [sum(counts) for counts in zip(*(sheet[of] for sheet in sheets), strict=True)]

    plain, warned = "asked how each picture was made", "told that a network may have made some"
    (taken, shown), (large, all_large) = total(plain, "samples", 64), total(plain, "samples", 128)
    assert taken == shown and f"three of them called all {shown} pictures 3D renderings" in RESULTS
    assert large == all_large and f"a fourth called all {large} renderings by their look" in RESULTS
    grid = record[warned][0]["samples"]
    mixed = [a - b for a, b in zip(total(warned, "samples", 64), grid, strict=True)]
    said = "took {} of {} samples for renderings, beside {} of {} renderings and {} of {} reconstructions"
    counts = *mixed, *total(warned, "renderings", 64), *total(warned, "reconstructions", 64)
    assert said.format(*counts) in RESULTS and "a third took {} of the {} of the grid".format(*grid) in RESULTS
    large = {of: total(warned, of, 128) for of in ("samples", "reconstructions", "renderings")}
    assert large == {"samples": [0, 12], "reconstructions": [1, 12], "renderings": [12, 12]}
    assert "another took no sample of 12, one reconstruction of 12, and all 12 renderings" in RESULTS


def test_what_is_said_of_how_still_life_was_trained_is_on_the_cards():
    text = " ".join(DOCS["training"].split())
    first, gpu, last = rounds_of_still_life()
    assert f"{first} + {last} minutes on two CPU cores, partly beside other work, and {gpu} on a GPU" in README
    tokenizer, decoder = minutes("still-vq").split(" + ")
    assert f"cores, {tokenizer} minutes partly beside other work, and then its decoder alone, {decoder} minutes" in text
    assert f"scores nothing and took {CARDS['still-features']['training']['minutes']:.0f} minutes:" in text
    h200, h100, again = gpu.split(" + ")
    assert f"four times: {first} minutes on two CPU cores, much of it beside other work; {h200} on an NVIDIA" in text
    assert f"{h100} on an H100; and {again} on an H200." in text
    assert f"twice more, {last.replace(' + ', ' and ')} minutes, partly" in text
    for name in ("still-vq", "still-var-d6"):
        training = CARDS[name]["training"] | {"started_from": CARDS[name]["started_from"]}
        while training:  # the transformer's first is what the preset's recipe says
            assert training["command"].partition("--steps")[2] in text
            training = training.get("started_from")


def test_what_is_said_of_edits_is_what_was_measured():
    record = json.loads((ROOT / "data/results/still.json").read_text())
    assert f"on {record['num']} test scenes (`varlite reproduce still`)" in RESULTS
    names = ("kind", "hue", "material", "companions", "count", "wall", "table", "light", "all")
    for name, task in record["tasks"].items():
        for shown, found in ((name, task["read"]["edits"]), ("its reconstruction", task["read"]["ceiling"])):
            cells = [f"{found[factor]['share']:.0%}" if factor in found else "" for factor in names]
            assert f"| {shown} | " + " | ".join(cells) + " |" in DOCS["results"], name
    remove, swap = (record["tasks"][name] for name in ("remove", "swap"))
    read, rms = remove["read"]["edits"], remove["rms"]
    assert all(f"before in {remove['nearer']['share']:.0%} of" in " ".join(text.split()) for text in (README, RESULTS))
    assert f"falls by one in {read['count']['share']:.0%}" in RESULTS
    pixels = (rms[row][0] for row in ("edits", "smooth fill", "left in"))
    assert "({:.3f} beside {:.3f}; the object left in has {:.3f})".format(*pixels) in RESULTS

    def shown(task, factor):
        return f"{record['tasks'][task]['read']['edits'][factor]['share']:.0%}"

    kept = [[shown(task, name) for name in ("hue", "light", "all")] for task in ("extend in one pass", "extend")]
    once = "one pass keeps the hue in {} of cases, the light in {} and all that is asked in {}"
    text = once + ", the rounds in {}, {} and {}"
    assert text.format(*kept[0], *kept[1]) in RESULTS
    assert f"shows the right class in {shown('swap', 'kind')} of cases" in RESULTS
    assert f"its hue returns in {shown('swap', 'hue')}, as" in RESULTS
    low, high = swap["read"]["edits"]["hue"]["interval"]
    assert low < 1 / 9 < high  # chance
    assert rms["edits"][0] < rms["smooth fill"][0]


def test_what_is_said_of_the_emoji_is_what_was_measured():
    record = json.loads((ROOT / "data/results/emoji.json").read_text())
    vq, model = record["models"].values()
    assert not {vq["training"]["preset"], model["training"]["preset"]} & CARDS.keys()
    text = " ".join(DOCS["training"].split())
    assert f"squared error {vq['scores']['val_mse']:.4f}, {vq['scores']['codes_used']:.0%} of the codes in use" in text
    assert f"{vq['training']['minutes'] + model['training']['minutes']:.0f} minutes in all" in text
    losses = model["scores"]["val_loss"], model["last_logged"]["loss"], model["scores"]["val_loss_last"]
    assert "ends at {:.2f} beside {:.1f} in training, and at the last scale it is {:.2f}".format(*losses) in text
    now = record["three_styles"]
    vq, model = now["models"].values()
    assert f"ends at a squared error of {vq['last_logged']['val_mse']:.4f}" in text
    assert f"{vq['training']['minutes'] + model['training']['minutes']:.0f} minutes in all beside other work" in text
    loss = {name: scores["val_loss"] for name, scores in now["loss"].items()}
    assert f"test pictures is {loss['test all']:.2f}, beside {loss['train all']:.2f} for training pictures" in text
    by_style = (loss[f"test {style}"] for style in ("google", "twitter", "fluent"))
    assert "{:.2f} for Google's, {:.2f} for Twitter's and {:.2f} for Microsoft's".format(*by_style) in text


def test_scores_stand_beside_those_of_pictures_that_no_model_drew():
    rows = json.loads((ROOT / "data/results/yardsticks.json").read_text())["rows"]
    named = {
        "test pictures, against others": "test pictures",
        "training pictures": "training pictures",
        "a parrot: 20 training pictures a class, over and over": "parrot of 20",
        "a parrot of 50": "parrot of 50",
        "test pictures, blurred by half a pixel": "blur of 0.5",
        "test pictures, with noise of 5 levels": "noise of 5",
    }
    assert set(named.values()) == set(rows)
    for shown, name in named.items():
        cells = "{accuracy:.1%} | {fd:.2f} | {precision:.2f} | {recall:.2f}".format(**rows[name]["mean"])
        assert f"| {shown} | {cells} |" in DOCS["results"]
    of_models = [CARDS[name]["scores"] for name in CARDS if name.startswith(("fashion-var", "fashion-mvar"))]
    assert rows["parrot of 50"]["mean"]["fd"] < min(scores["fd"] for scores in of_models)
    real = rows["test pictures"]["mean"]
    for scores in of_models:
        assert scores["accuracy"] > real["accuracy"] and scores["precision"] > real["precision"]
        assert 0.5 < scores["recall"] / real["recall"] < 0.7


def span(counts):
    return f"{counts[0] / 1e3:.0f} thousand to {counts[-1] / 1e6:.1f} million"


def test_what_it_says_of_the_ladder_and_of_the_seeds_was_measured():
    text, results = RESULTS, ROOT / "data/results"
    runs = json.loads((results / "sweep.json").read_text())["runs"]
    models = list(scaling.ladder(runs).values())
    loss = [run["curve"][-1]["val_loss"] for run in models]
    blocks = [scaling.size(scaling.config_of(run)) for run in models]
    weights = [sum(scaling.parameters(scaling.config_of(run)).values()) for run in models]
    assert f"from {loss[0]:.2f} to {loss[-1]:.2f}. With N the weights in the blocks, {span(blocks)}, that" in text
    for N, what in ((blocks, "N^{:.3f} (90% interval {:.3f} to {:.3f})"), (weights, "is {:.3f} ({:.3f} to {:.3f})")):
        assert what.format(scaling.fit(N, loss).exponent, *scaling.intervals(N, loss)["exponent"]) in text
    assert f"in all weights, {span(weights)}, the exponent" in text
    misses = {name: f"{abs(miss):.1%}" for name, miss in scaling.rival_misses(blocks, loss).items()}
    assert f"predicts the largest from the others to {misses['power law']}, but" in text
    by_log, by_two = misses["a - b log X"], misses["last two points"]
    assert f"a - b log N does to {by_log} and a line through the last two points to {by_two}, wh" in text
    assert f'"no change" misses by {misses["no change"]}' in text
    mvar, var = (runs[f"fashion-{kind}-d4"]["curve"][-1]["val_loss"] for kind in ("mvar", "var"))
    configs = [scaling.config_of(runs[f"fashion-{name}"]) for name in ("mvar-d4", "var-d4", "var-d5")]
    of_mvar, of_var, of_d5 = (sum(scaling.parameters(config).values()) / 1e6 for config in configs)
    assert f"M-VAR ends at {mvar:.2f} and VAR at {var:.2f}, with {of_mvar:.2f} against {of_var:.2f} million" in text
    cost = [scaling.flops(config, "training") for config in configs]
    assert f"{cost[0] / cost[1]:.2f} times the FLOPs of training; VAR of depth 5, {of_d5:.2f} million" in text
    assert f"ends at {loss[-1]:.2f}. These are one training each" in text
    for name, what in (
        ("fashion-var-d4", "FD {:.2f} to {:.2f}, {:.1%}"),
        ("fashion-var-d6", "d6: {:.2f} to {:.2f}, {:.1%}"),
        ("fashion-mvar-d4", "as many pictures: {:.2f} to {:.2f}, {:.1%}"),
    ):
        band = json.loads((results / f"{name}.json").read_text())["band"]
        assert f"{what.format(*band['fd'], band['accuracy'][0])[:-1]} to {band['accuracy'][1]:.1%}" in text, name
    d4, d6 = (
        json.loads((results / f"fashion-var-{d}.json").read_text())["panels"]["0"]["scores"] for d in ("d4", "d6")
    )
    away = [max(score["away"] for score in panel.values()) for panel in (d4, d6)]
    assert away[1] < away[0] and d6["fd_first"]["value"] < d4["fd_first"]["value"]
    apart = [name for name in d4 if d4[name]["high"] < d6[name]["low"] or d6[name]["high"] < d4[name]["low"]]
    recalls = [panel["recall_second"][end] for panel in (d4, d6) for end in ("low", "high")]
    assert apart == ["recall_second"] and "({:.2f} to {:.2f}, {:.2f} to {:.2f})".format(*recalls) in text


def test_what_it_says_of_guidance_was_measured():
    text, found = RESULTS, json.loads((ROOT / "data/results/guidance.json").read_text())
    by_cfg, tuning = {row["cfg"]: row for row in found["cfg"]}, found["tuning"]
    fd = {cfg: f"{row['fd']:.2f}" for cfg, row in by_cfg.items()}
    assert f"FD is {fd[0]} without guidance, {fd[1]}, {fd[1.5]} and {fd[2]} at cfg 1, 1.5 and 2" in text
    low, high = ([by_cfg[cfg][PANEL]["scores"]["fd_first"][end] for cfg in (1, 1.5, 2)] for end in ("low", "high"))
    assert max(low) < min(high)
    assert max(by_cfg, key=lambda cfg: by_cfg[cfg]["accuracy"]) == 5
    assert f"{fd[5]} at cfg 5, where the accuracy is best ({by_cfg[5]['accuracy']:.1%})" in text
    assert f"Without the filter cfg 1.5 has {found['top_k'][0]['fd']:.2f}." in text
    named = set(tuning["best_by"].values())
    assert (len(tuning["best_by"]), len(named), len(tuning["validation"])) == (8, 5, 24)
    assert "eight judges that may choose name five different ones of 24, from cfg 0.5 to cfg 3" in text
    assert {name.split(",")[0] for name in named} == {"cfg 0.5", "cfg 1", "cfg 1.5", "cfg 2", "cfg 3"}
    assert tuning["chosen"] == {"cfg": 2.0, "top_p": 0.0}
    order = [
        place.name for place in verdict({k: Report.read(row["panel"], k) for k, row in tuning["validation"].items()})
    ]
    for cfg in CFG:
        assert order.index(f"cfg {cfg:g}, top-p 0") < order.index(f"cfg {cfg:g}, top-p 0.96")
    assert (
        "by 3 judges" in tuning["verdict"] and "1 of them prefer chosen, 0 default, 2 cannot tell" in tuning["verdict"]
    )
    assert "chosen 12.9 (" in tuning["verdict"] and "default 14.9 (" in tuning["verdict"]
    assert "(worst distance 12.9 against 14.9)" in text


def test_what_it_says_of_additions_was_measured():
    found = json.loads((ROOT / "data/results/additions.json").read_text())
    for name, row in found["sets"].items():
        scores, of = row["scores"], found["verdicts"].get(name)
        sides = [str(len(of[side])) for side in ("better by", "worse by")] if of else ["", ""]
        cells = [f"{scores['accuracy']:.1%}", f"{scores['fd']:.2f}", f"{scores['recall']:.2f}"]
        cells += [f"{1000 * row['seconds_per_image']:.1f}", *sides]
        assert f"| {name} | " + " | ".join(cells) + " |" in DOCS["results"]
    ssg = found["verdicts"]["d4, ssg 0.6"]
    assert "d4 41.3 (tokens), rank 1, d4, ssg 0.6 126.3 (drawn_tokens), rank 2" in ssg["all"]
    assert "(126 against 41 in the noise of real pictures), and it wins where judges of images alone vote" in RESULTS
    assert "d4, ssg 0.6 19.4 (tokens), rank 1, d4 41.3 (tokens), rank 2" in ssg["of images"]
    cold, warm = (found["verdicts"][f"d4, temperature {T}"] for T in (0.8, 1.1))
    assert len(cold["worse by"]) == 12 and "at 0.8 twelve judges prefer plain sampling" in RESULTS
    assert len(warm["better by"]) == 4 and set(warm["worse by"]) == {"drawn_pairs", "drawn_tokens"}


def test_what_it_says_of_ssg_by_two_decoders_was_measured():
    sets = json.loads((ROOT / "data/results/ssg-first-decoder.json").read_text())["sets"]
    one_of = {name: sets[name]["0.0"] for name in sets}
    assert one_of["first-decoder"]["tokenizer_sha256"] == one_of["fashion-var-d4"]["tokenizer_sha256"]  # same tokens
    assert len({one["decoder_sha256"] for one in one_of.values()}) == 2
    columns = [one for by_strength in sets.values() for one in by_strength.values()]
    for name, judge in SSG_ROWS.items():
        values = [one["scores"].get(judge, one[PANEL]["scores"].get(judge, {}).get("value")) for one in columns]
        shown = [f"{x:.1%}" if judge == "accuracy" else f"{x:.0f}" if x >= 50 else f"{x:.2f}" for x in values]
        assert f"| {name} | " + " | ".join(shown) + " |" in DOCS["results"]
    sides = {}
    for name, by_strength in sets.items():
        plain, guided = (Report.read(by_strength[strength][PANEL], name) for strength in ("0.0", "0.6"))
        sides[name] = [set(side) for side in prefer(plain, guided, plain.scores)]
        away = [[report.scores[judge].away().value for judge in OF_PICTURES] for report in (plain, guided)]
        assert all(before < after for before, after in zip(*away, strict=True)), "three judges point the same way"
    (first_against, first_for), (against, in_favour) = sides.values()
    assert (first_against, against) == (OF_DRAWN, OF_DRAWN | {"kid_imagenet"})
    assert first_for - in_favour == {"fd_first"} and in_favour <= first_for and len(in_favour) == 7
    fd = [f"{one['scores']['fd']:.2f}" for one in columns]
    assert f"lowers FD from {fd[0]} to {fd[2]}, beyond the intervals" in RESULTS
    assert f"raises FD from {fd[3]} to {fd[5]}, within them" in RESULTS
    assert 0.2 < 1 - float(fd[2]) / float(fd[0]) < 0.3 and "as a gain of a quarter" in RESULTS


def test_what_it_says_of_alignment_was_measured():
    record, text = json.loads((ROOT / "data/results/cca.json").read_text()), RESULTS
    reports = {arm: Report.read(found["panel"], arm) for arm, found in record["arms"].items()}
    plain, aligned, guided = reports
    voters = voters_of(reports)
    for arm, shown in zip(reports, ("without guidance", "aligned, without guidance", "with guidance"), strict=True):
        scores, seconds = record["arms"][arm]["scores"], record["arms"][arm]["seconds_per_image"]
        cells = [f"{scores['accuracy']:.1%}", f"{scores['fd']:.2f}", f"{scores['recall']:.2f}"]
        cells += [f"{1000 * seconds[batch]:.1f}" for batch in ("1", "64")]
        sides = prefer(reports[arm], reports[plain], voters)
        cells += ["", ""] if arm == plain else [str(len(side)) for side in sides]
        assert f"| {shown} | " + " | ".join(cells) + " |" in DOCS["results"]
    better, worse = prefer(reports[aligned], reports[plain], voters)
    assert better == ["sw_patches"] and "One finds the patches nearer, and eight cannot tell" in text
    assert len(voters) - len(better) - len(worse) == 8
    assert sum(judge.startswith(("spread", "nearest")) for judge in worse) == 4 and "drawn_tokens" in worse
    assert [len(side) for side in prefer(reports[aligned], reports[guided], voters)] == [0, 5]
    assert "has no judge on its side, and five on the other" in text
    of_second = [record["arms"][arm]["scores"]["second_accuracy"] for arm in (plain, aligned)]
    assert "by a second classifier from {:.1%} to {:.1%}".format(*of_second) in text
    assert [place["arm"] for place in record["order"]] == [guided, plain, aligned]
    assert {place["judge"] for place in record["order"]} == {"tokens"}
    assert "({:.1f}, {:.1f} and {:.1f} in the noise".format(*(place["away"] for place in record["order"])) in text
    before, after = (record["arms"][arm]["seconds_per_image"] for arm in (plain, guided))
    dearer = [after[batch] / before[batch] - 1 for batch in ("1", "64")]
    assert "{:.0%} more time for one picture and {:.0%} more in a batch of 64".format(*dearer) in text
    training = record["training"]
    assert f"({training['recipe']['steps']} steps, {training['minutes']} minutes)" in text


def test_what_it_says_of_a_model_as_classifier_was_measured():
    for depth in (4, 6):
        record = json.loads((ROOT / f"data/results/classify-var-d{depth}.json").read_text())
        steps = zip(record["scores"]["accuracy_by_step"], record["scores"]["bits_by_step"], strict=True)
        cells = [f"{accuracy:.1%} ({bits:.2f})" for accuracy, bits in steps]
        ends = " to ".join(f"{end:.1%}" for end in record["scores"]["accuracy_interval"])
        assert f"| {record['model']} | " + " | ".join(cells) + f" | {ends} |" in DOCS["results"]
        assert record["num"] == 1000


def test_the_ablation_is_as_it_was_measured():
    text = RESULTS
    rows = {row["row"]: row for row in json.loads((ROOT / "data/results/ablation.json").read_text())["rows"]}
    names = ["raster order", "next scale", "+ AdaLN", "+ top-k", "+ guidance", "+ attention normalisation", "+ depth 5"]
    shown = dict(zip(rows, [*names, "raster order with all of it", "M-VAR"], strict=True))
    of_FD, found = {}, {}
    for number, row in rows.items():
        low, high = of_FD[number] = row["band"]["fd"]
        cells = [f"{row['mean']['fd']:.2f}", f"{low:.2f} to {high:.2f}", "", "", ""]
        if number in AGAINST:
            found[number] = agreement(rows[AGAINST[number]], row)
            counts = [len(found[number][side]) for side in ("nearer", "farther")]
            cells[2:] = [shown[AGAINST[number]], *(f"{n} of {sum(map(len, found[number].values()))}" for n in counts)]
        assert f"| {shown[number]} | " + " | ".join(cells) + " |" in DOCS["results"]
    assert {len(row["runs"]) for row in rows.values()} == {3}
    assert "three trainings of every row, 2,000 samples of each" in text
    for before, now in ((2, 1), (2, 3), (3, 4), (4, 5), (6, 7), (8, 6), (6, 9)):
        assert of_FD[now][1] < of_FD[before][0]
    assert of_FD[5][0] < of_FD[6][1] < of_FD[5][0] + 0.01 and "its range overlaps, by a hair," in text
    assert len(found[7]["nearer"]) == 9 and not found[7]["farther"] and "nine judges find it nearer" in text
    assert of_FD[9][0] < rows[7]["mean"]["fd"] < of_FD[9][1] and "depth 5, which has a quarter more weights" in text
    assert rows[7]["parameters"] / rows[9]["parameters"] == pytest.approx(1.25, abs=0.01)
    assert rows[9]["parameters"] / rows[6]["parameters"] == pytest.approx(1.5, abs=0.02)
    assert len(OF_TOKENS & set(found[6]["nearer"])) == 3 and "three of them look at tokens" in text
    assert found[2]["nearer"] == ["nearest_pixels", "spread_features", "sw_patches"]
    assert found[8]["nearer"] == ["sw_patches"] and "one, of patches, raster order" in text
    assert {*found[4]["farther"]} == OF_TOKENS | {"nearest_pixels"} and "four of these look at tokens" in text
    of_variety = [judge for judge in found[5]["farther"] if judge.startswith(("recall", "spread", "nearest"))]
    assert len(of_variety) == 5 and "six those without, of which five look at variety" in text
    slower = rows[9]["seconds_per_image"] / rows[6]["seconds_per_image"]
    assert f"half as many weights again and takes {slower:.1f} times as long" in text
    added = [rows[b]["parameters"] / rows[a]["parameters"] - 1 for a, b in ((2, 3), (6, 7))]
    assert "AdaLN also adds {:.0%} to the parameters, depth 5 {:.0%}".format(*added) in text
    seconds = rows[6]["seconds_per_image"] / rows[8]["seconds_per_image"]
    assert f"draws 64 images in {seconds:.2f} times the seconds" in text
    earlier = json.loads((ROOT / "data/results/ablation-first-decoders.json").read_text())["rows"]
    was = {row["row"]: f"{row['mean']['fd']:.2f}" for row in earlier}
    assert f"gave {was[1]} and {was[2]}, and with all of it {was[8]} and {was[6]}" in text


def test_the_families_are_as_they_were_measured():
    record = load_table1(ROOT / "data/results")
    for row in record["families"].values():
        mean, (low, high) = row["mean"], row["band"]["fd"]
        spread = f"{low:.2f} to {high:.2f}" if len(row["trainings"]) > 1 else "one training"
        cells = [row["name"], f"{row['parameters'] / 1e6:.2f} M", str(row["evaluations"]), f"{mean['fd']:.2f}", spread]
        cells += [f"{mean['accuracy']:.1%}", f"{mean['precision']:.2f}", f"{mean['recall']:.2f}"]
        cells += [f"{1000 * row['seconds_per_image']:.1f}", f"{1000 * row['seconds_alone']:.0f}"]
        assert "| " + " | ".join(cells) + " |" in DOCS["results"]
    for place in record["places"]["0"]:
        ranks = ", ".join(f"{rank:g}" for rank in ranks_of(record, place["family"]))
        name = record["families"][place["family"]]["name"]
        assert f"| {ranks} | {name} | {place['away']:.1f} | {place['judge']} |" in DOCS["results"]
    assert f"({record['num']:,} samples of one sampling seed" in RESULTS
    var, others = record["families"]["fashion-var-d4"], [r for n, r in record["families"].items() if "-var-" not in n]
    costs = [[row[time] / var[time] for time in ("seconds_per_image", "seconds_alone")] for row in others]
    said = RESULTS.split("as the paper counts cost")[1].split(". All are")[0]
    assert re.findall(r"[\d.]+ \([\d.]+\)", said) == [f"{many:.1f} ({alone:.1f})" for many, alone in costs]
    narrow = record["families"]["fashion-mvar-d4-narrow"]
    assert narrow["parameters"] == pytest.approx(var["parameters"], rel=0.03)
    means = narrow["mean"]["fd"], var["mean"]["fd"]
    assert "it has an FD of {:.2f}, where VAR has {:.2f}, its range lies within VAR's".format(*means) in RESULTS
    (low, high), (least, most) = narrow["band"]["fd"], var["band"]["fd"]
    ranks = [ranks_of(record, name) for name in ("fashion-mvar-d4-narrow", "fashion-var-d4")]
    assert least < low < high < most and all(a >= b for a, b in zip(*ranks, strict=True))
    kid = {
        name: found["kid_imagenet"]
        for name, found in json.loads((ROOT / "data/results/table1-kid.json").read_text())["families"].items()
    }
    said = RESULTS.split("with intervals of 8 to 19 either way) is")[1].split("**M-VAR")[0]
    assert [int(n) for n in re.findall(r"\d+", said)] == sorted(round(of["value"]) for of in kid.values())
    either_way = [(of["high"] - of["low"]) / 2 for of in kid.values()]
    assert [round(x) for x in (min(either_way), max(either_way))] == [8, 19]
    guided = json.loads((ROOT / "data/results/dit-guided.json").read_text())
    assert f"at {guided['settings']['cfg']:g} it draws {guided['scores']['accuracy']:.0%}" in RESULTS


def test_what_it_says_of_the_diffusion_models_variety_was_measured():
    record = json.loads((ROOT / "data/results/dit-variety.json").read_text())
    sets, effects = record["sets"], record["effects"]
    value = {name: {j: score["value"] for j, score in one[PANEL]["scores"].items()} for name, one in sets.items()}
    for name, one in sets.items():
        recalls, distances = [value[name][j] for j in VARIETY[:2]], [value[name][j] for j in VARIETY[2:]]
        cells = [f"{one['scores']['accuracy']:.1%}", f"{one['scores']['fd']:.2f}", *(f"{x:.2f}" for x in recalls)]
        assert f"| {name} | " + " | ".join([*cells, *(f"{x:.3f}" for x in distances)]) + " |" in DOCS["results"]
    var, dit, quantized, weak = (value[n] for n in ("VAR", "DiT", "DiT, quantized", "VAR, no filter, cfg 0.5"))
    assert (effects["codebook"]["worse by"], effects["codebook"]["better by"]) == (["spread_pixels"], [])
    assert "{:.3f} after {:.3f}, beyond the intervals. That is as far as VAR's {:.3f}".format(
        *(of["spread_pixels"] for of in (quantized, dit, var))
    ) in RESULTS  # fmt: skip
    shares = [(quantized[j] - dit[j]) / (var[j] - dit[j]) for j in VARIETY[3:]]
    assert all(0.05 < share < 0.15 for share in shares) and "it makes up about a tenth" in RESULTS
    nearest = [of["nearest_pixels"] for of in (dit, quantized, var)]
    assert "{:.3f} becomes {:.3f}, and VAR has {:.3f}".format(*nearest) in RESULTS
    of_real = effects["codebook, real pictures"]
    assert (of_real["worse by"], of_real["better by"]) == (["recall_first"], [])
    assert [(len(effects[x]["better by"]), effects[x]["worse by"]) for x in ("filter", "guidance")] == [
        (3, []),
        (3, []),
    ]
    assert effects["what is left"]["better by"] == [] and set(effects["what is left"]["worse by"]) == set(VARIETY[:2])
    steps = [value[n]["nearest_pixels"] for n in ("VAR", "VAR, no filter, cfg 1.5", "VAR, no filter, cfg 0.5")]
    assert "go from {:.3f} to {:.3f} to {:.3f}".format(*steps) in RESULTS and steps[2] == weak["nearest_pixels"]
    accuracy, fd = ([sets[n]["scores"][x] for n in ("VAR, no filter, cfg 0.5", "DiT")] for x in ("accuracy", "fd"))
    assert "({:.1%} and {:.1%})".format(*accuracy) in RESULTS and "({:.2f} and {:.2f})".format(*fd) in RESULTS
    trainings = load_table1(ROOT / "data/results")["families"]["fashion-dit-d4"]["trainings"].values()
    found = sorted(one[PANEL]["scores"]["nearest_pixels"]["value"] for one in trainings)
    assert f"three trainings differ by more ({found[0]:.3f} to {found[2]:.3f}, of 10,000 samples)" in RESULTS


def test_the_file_tree_names_what_is_there():
    tree = README.split("## What is here")[1].split("## Not verified here")[0]
    for name in re.findall(r"^ {6}(\S+)", tree, re.MULTILINE):
        assert (ROOT / "varlite" / name).exists(), name
    for name in re.findall(r"^ {4}(\S+)", tree, re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_the_commands_it_shows_exist():
    from varlite.cli import table

    assert {command for command in re.findall(r"^ {4}varlite (\S+)", "\n".join(PAGES), re.MULTILINE)} <= set(table())


def test_the_pictures_it_shows_are_there():
    for page, folder in [(README, ROOT), *((page, ROOT / "docs") for page in DOCS.values())]:
        assert all((folder / path).exists() for path in re.findall(r"\]\(([^):#]+)\)", page))


def test_the_speeds_are_those_that_were_measured():
    found = json.loads((ROOT / "data/results/speed.json").read_text())
    for title, record in found["bench"].items():
        times, ways = record["speedup"], record["ways"]
        cells = [ways["plain"]["seconds"], ways["varlite"]["seconds"], times["varlite"]["median"]]
        cells += [times["varlite"].get("decoder"), times.get("int8", {}).get("median")]
        assert f"| {title} | " + " | ".join("" if x is None else f"{x:.2f}" for x in cells) + " |" in DOCS["speed"]
        assert f"| {title} | " + " | ".join(f"{x:.2f}" for x in cells[:3]) + " |" in README
        assert len(times["varlite"]["rounds"]) >= 5
        assert ways["plain"]["equal"] > (0.998 if "batch 64" in title else 0.9999)


def rows_of_gpu(name: str) -> tuple[dict, float]:
    """What `varlite verify` wrote on a GPU, by what was looked at, and the seconds that it took."""
    found = json.loads((ROOT / f"data/results/{name}.json").read_text())
    rows = {row["what"]: row for part in found["parts"].values() for row in part}
    assert all(row["passed"] is not False for row in rows.values())
    return rows, sum(found["seconds"].values())


def test_the_speeds_on_a_gpu_are_those_that_were_measured():
    rows, seconds = rows_of_gpu("gpu")
    ways = ("batch 1, bfloat16", "batch 1, bfloat16, no graph", "batch 64, bfloat16", "batch 64, bfloat16, compiled")
    peak = rows["matrix product, bfloat16"]["value"]
    for name in ("var-d16", "var-d20", "var-d24", "var-d30"):
        rates = [rows[what]["value"] if (what := f"{name}, {way}") in rows else "" for way in ways]
        cells = [f"{rate:.1f}" for rate in rates[:2]] + [rate and f"{rate:.0f}" for rate in rates[2:]]
        assert f"| {name} | " + " | ".join(cells) + " |" in DOCS["speed"]
        config = MODELS[name].config
        share = rates[2] * kind_of(config).model.flops(config, "sampling") / 1e12 / peak
        assert name in ("var-d20", "var-d24") or f"{share:.0%}" in DOCS["speed"]
        if name in ("var-d16", "var-d30"):
            draws = " images a second one by one" * (name == "var-d16")
            assert f"{rates[0]:.0f}{draws} and {rates[2]:.0f}" in README
    alone = [rows["var-d16, batch 1, bfloat16" + way]["value"] for way in ("", ", compiled")]
    assert "from {:.0f} to {:.0f}".format(*alone) in DOCS["speed"]
    kept = rows["keys and values of var-d30, batch 64, bfloat16, measured"]["value"]
    assert f"take {kept:.1f} GB, of 28.7 published" in DOCS["speed"]
    equal = [float(row["value"][:-1]) for what, row in rows.items() if "float32, on the CPU and on cuda" in what]
    assert f"give {min(equal)}% or more" in DOCS["speed"] and f", {seconds:.0f} s)" in DOCS["speed"]


def test_the_other_gpu_was_as_quick_as_the_page_says():
    rows, _ = rows_of_gpu("gpu-h200")
    for name, words in (("var-d16", " images a second"), ("var-d30", "")):
        alone, many = (rows[f"{name}, batch {batch}, bfloat16"]["value"] for batch in (1, 64))
        assert f"{alone:.0f} and {many:.0f}{words} with `{name}`" in DOCS["speed"]
    assert sum("not compiled" in row["note"] for row in rows.values()) == 2


def test_what_each_term_of_the_loss_buys_is_as_it_was_measured():
    arms = json.loads((ROOT / "data/results/decoder.json").read_text())["arms"]
    for name, arm in arms.items():
        found = arm["reconstructions"]
        samples = [
            arm["samples"][model]["judges"]["fd_first"]["value"] for model in ("fashion-var-d4", "fashion-var-d6")
        ]
        kid = found["judges"]["kid_imagenet"]["value"]
        line = next(line for line in DOCS["training"].splitlines() if line.startswith(f"| {name} | "))
        assert f"| {found['mse']:.4f} | {found['fd']:.2f} |" in line
        assert f"| {kid:.1f} | {samples[0]:.2f} | {samples[1]:.2f} |" in line
    before, after = arms["before"], arms["whole loss"]
    assert after["reconstructions"]["mse"] > before["reconstructions"]["mse"]
    for of_before, of_after in [
        (before["reconstructions"], after["reconstructions"]),
        *((before["samples"][model], after["samples"][model]) for model in before["samples"]),
    ]:
        for judge, score in of_after["judges"].items():
            better = score["value"] - of_before["judges"][judge]["value"]
            assert (better > 0) == judge.startswith("recall"), judge  # every judge prefers the whole loss
