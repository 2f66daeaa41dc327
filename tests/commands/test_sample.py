import json
import sys

import numpy as np
import pytest
import torch
import torch._inductor.config
from children import run, run_several
from examples import lively_var
from PIL import Image

from varlite import cli, sampling
from varlite.checkpoints.cards import class_names
from varlite.checkpoints.key_map import to_published
from varlite.checkpoints.load import load
from varlite.inference import JointAttention


@pytest.fixture
def model(trained):
    return trained / "var"


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_int8_is_what_samples_are_made_with_and_is_on_record(varlite, model, tmp_path, monkeypatch):
    made = []
    generate_many = sampling.generate_many
    monkeypatch.setattr(sampling, "generate_many", lambda m, *rest, **o: made.append(m) or generate_many(m, *rest, **o))
    status, _, _ = varlite("sample", "--model", model, "--precision", "int8", "--num-per-class", 1, "--out", tmp_path)
    assert status == 0 and json.loads((tmp_path / "samples.json").read_text())["precision"] == "int8"
    assert isinstance(made[0].blocks[0].attn, JointAttention)


def test_sampling_writes_an_image_for_each_class_and_index_and_a_record(varlite, model, tmp_path):
    out, grid = tmp_path / "a b", tmp_path / "pictures" / "grid.PNG"
    arguments = ["--model", model, "--num-per-class", 3, "--seed", 5, "--out", out, "--grid", grid, "--top-k", 20]
    status, stdout, _ = varlite("sample", *arguments)
    assert status == 0 and f"6 images in {out}" in stdout and str(grid) in stdout
    assert files(out) == [*(f"{c:04d}_{i:05d}.png" for c in (0, 1) for i in range(3)), "samples.json"]
    assert pixels(out / "0001_00002.png").shape == (10, 10)
    assert pixels(grid).shape == (2 + 2 * 12, 2 + 3 * 12)
    assert (pixels(grid)[2:12, 26:36] == pixels(out / "0000_00002.png")).all()
    record = json.loads((out / "samples.json").read_text())
    assert record["settings"] == {"cfg": 1.5, "top_k": 20, "top_p": 0.96, "smooth": False}
    assert (record["seed"], record["num_per_class"], record["classes"]) == (5, 3, [0, 1])
    assert record["class_names"] == ["round", "square"]
    assert record["command"].startswith(f"varlite sample --model {model}") and f"'{out}'" in record["command"]
    assert record["precision"] == "float32"
    assert len(record["weights_sha256"]) == 64 and record["versions"]["torch"] == torch.__version__


def test_a_strip_shows_the_first_image_of_each_class_after_every_scale(varlite, model, tmp_path):
    out, strip = tmp_path / "out", tmp_path / "out" / "strip.png"
    arguments = ["--model", model, "--num-per-class", 2, "--seed", 5, "--out", out, "--strip", strip]
    for _ in range(2):  # the second time over the first
        status, stdout, err = varlite("sample", *arguments)
        assert status == 0 and stdout.rstrip().endswith(f", {strip}"), err
    shown, K = pixels(strip), load(str(model))[0].scales.K
    assert shown.shape == (2 + 2 * 12, 2 + K * 12)
    assert (shown[14:24, -12:-2] == pixels(out / "0001_00000.png")).all()
    assert (shown[14:24, 2:12] != shown[14:24, -12:-2]).any()


def test_an_image_depends_on_seed_class_and_index_alone(varlite, model, tmp_path):
    def sampled(name, *arguments):
        assert varlite("sample", "--model", model, "--out", tmp_path / name, *arguments)[0] == 0
        return tmp_path / name

    whole = sampled("whole", "--num-per-class", 5)
    part = sampled("part", "--num-per-class", 2, "--classes", "1", "--batch", 1)
    other = sampled("other", "--num-per-class", 5, "--seed", 1)
    for name in ("0001_00000.png", "0001_00001.png"):
        assert abs(pixels(whole / name) - pixels(part / name)).max() <= 1  # another batch size rounds otherwise
        assert abs(pixels(whole / name) - pixels(other / name)).max() > 10
    assert files(part) == ["0001_00000.png", "0001_00001.png", "samples.json"]
    again = sampled("again", "--num-per-class", 5)
    assert all((whole / name).read_bytes() == (again / name).read_bytes() for name in files(whole)[:-1])


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_write_the_files_of_one(model, tmp_path, processes):
    words = ["sample", "--model", str(model), "--num-per-class", "5", "--batch", "4", "--device", "cpu"]
    written = {}
    for n in (1, processes):
        out = tmp_path / f"of-{n}"
        arguments = [*words, "--out", str(out / "images"), "--grid", str(out / "grid.png")]
        out.mkdir()
        errors = out / "errors"
        status = run_several(n, errors, cli.run, arguments) if n > 1 else run(errors, cli.run, arguments)
        assert status == 0, errors.read_text()
        assert errors.read_text().count("10 images in") == 1  # the main process alone says so
        written[n] = {path.relative_to(out): path.read_bytes() for path in out.rglob("*.png")}
    assert len(written[1]) == 11 and written[1] == written[processes]


def test_images_go_to_disk_as_they_are_made(varlite, model, tmp_path, monkeypatch):
    """So that memory does not grow with their number."""
    on_disk, generate_many = [], sampling.generate_many

    def watched(*arguments, **settings):
        for part in generate_many(*arguments, **settings):
            on_disk.append(len(list((tmp_path / "out").glob("*.png"))))
            yield part

    monkeypatch.setattr(sampling, "generate_many", watched)
    grid = tmp_path / "grid.png"
    varlite("sample", "--model", model, "--num-per-class", 12, "--batch", 6, "--out", tmp_path / "out", "--grid", grid)
    assert on_disk == [0, 6, 12, 18]
    assert pixels(grid).shape == (2 + 2 * 12, 2 + 10 * 12)  # of each class the first ten alone are kept for it


@pytest.mark.parametrize("option", ["--smooth", "--precision=bfloat16", "--device=cpu", "--cfg=0", "--top-p=0"])
def test_options_of_sampling_are_accepted(varlite, model, tmp_path, option):
    status, _, err = varlite("sample", "--model", model, "--num-per-class", 1, "--out", tmp_path / "out", option)
    assert status == 0, err
    assert len(files(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "fashion-var-d99"], "unknown model 'fashion-var-d99': neither a file or folder here nor one of"),
        (["--classes", "0,2"], "classes: there is no class '2': classes are round, square, or numbers from 0 to 1"),
        (["--classes", "rund"], "there is no class 'rund': classes are round, square, or numbers from 0 to 1. Did you"),
        (["--classes", "1,square"], "classes: must be different ones, got '1,square'"),
        (["--classes", ""], "classes: no class is given: classes are round, square"),
        (["--classes=-1"], "classes: there is no class '-1'"),
        (["--classes=1" + 30 * "0"], "classes: there is no class '1000"),
        (["--num-per-class", "0"], "num_per_class must be at least 1, got 0"),
        (["--num-per-class=-3"], "num_per_class must be at least 1, got -3"),
        (["--batch", "0"], "batch must be at least 1, got 0"),
        (["--cfg=-1"], "cfg must be 0 or more (0 is no guidance), got -1.0"),
        (["--cfg", "nan"], "cfg must be 0 or more"),
        (["--cfg", "inf"], "at most 1,000,000"),
        (["--cfg", "1e38"], "at most 1,000,000"),
        (["--top-p", "nan"], "top_p must lie in 0 (off) .. 1, got nan"),
        (["--top-k=-1"], "top_k must be an integer from 0"),
        (["--out", "dangling/out"], "out: dangling is a link to nowhere, and a folder is needed there"),
        (["--weights", "missing"], "weights: only the published models take it"),
        (["--top-k", "33"], "top_k must be an integer from 0 (off) to the codebook size 32, got 33"),
        (["--top-p", "1.5"], "top_p must lie in 0 (off) .. 1, got 1.5"),
        (["--out", "a-file/out"], "a-file"),
        (["--grid", "a-file/grid.png"], "a-file"),
        (["--grid", "grid.jpg"], "grid must be a .png file, got grid.jpg"),
        (["--grid", "a-folder.png"], "grid: a-folder.png is a folder, and a file is needed there"),
        (["--out", "a-file"], "out: a-file is a file, and a folder is needed there"),
        (["--strip", "out/samples/0001_00009.png"], "strip: out/samples/0001_00009.png is where a sample will be"),
        (["--ssg=-1"], "ssg must be 0 (off) or more, got -1"),
        (["--keep", "0"], "keep must be above 0 and at most 1, the share of the images drawn, got 0"),
        (["--keep", "0.5"], "judge: it knows the ten classes of Fashion-MNIST, grey at 28 x 28; the model makes 2"),
        (["--precision", "int8", "--compile"], "compile: int8 layers cannot be compiled"),
        (["--device", "mps"], "device: there is no mps here, only"),
        (["--model", "a-file"], "a-file is not a checkpoint"),
        (["--model", "a-folder"], "no checkpoint at a-folder/model.safetensors"),
        (["--model", "var-d16", "--weights", "a-file"], "a-file is not a checkpoint written by torch.save"),
        (["--model", "var-d16", "--weights", "small.pth"], "small.pth is not var-d16: it has depth 2, not 16"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_before_the_first_image(refused, model, tmp_path, arguments, message):
    (tmp_path / "a-folder.png").mkdir()
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    if "small.pth" in arguments:
        torch.save(to_published(lively_var()), tmp_path / "small.pth")
    if arguments[0] == "--weights":
        arguments = ["--model", "fashion-var-d4", *arguments]
    given = arguments if "--model" in arguments else ["--model", model, *arguments]
    refused(["sample", *given], message)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a place where nobody can write")
@pytest.mark.parametrize("option", ["--out=/proc/out", "--grid=/proc/grid.png", "--strip=/proc/strip.png"])
def test_a_place_that_cannot_be_written_to_is_refused_before_the_first_image(refused, model, option):
    refused(["sample", "--model", model, option], f"{option[2:].split('=')[0]}: /proc cannot be written to")


def test_of_more_images_the_likeliest_are_kept_and_the_cost_is_said(varlite, tmp_path):
    words = ["sample", "--model", "fashion-var-d4", "--classes", "bag,shirt", "--num-per-class", 2, "--ssg", 0.1]
    status, out, err = varlite(*words, "--keep", 0.5, "--judge", "fashion-judge", "--out", "a", "--grid", "a/grid.png")
    assert status == 0, err
    assert out == "4 images in a, kept of 8 drawn, a/grid.png\n" and len(files(tmp_path / "a")) == 6
    record = json.loads((tmp_path / "a/samples.json").read_text())
    assert (record["keep"], record["judge"], record["ssg"]) == (0.5, "fashion-judge", 0.1)
    assert varlite(*words, "--num-per-class", 4, "--out", "all")[0] == 0
    drawn = {(tmp_path / "all" / name).read_bytes() for name in files(tmp_path / "all") if name.endswith(".png")}
    assert {(tmp_path / "a" / f"0006_0000{i}.png").read_bytes() for i in range(2)} < drawn


def test_classes_are_given_by_name(varlite, model, tmp_path):
    status, _, err = varlite("sample", "--model", model, "--classes", "square", "--num-per-class", 1, "--out", "a")
    assert status == 0, err
    assert files(tmp_path / "a") == ["0001_00000.png", "samples.json"]
    record = json.loads((tmp_path / "a/samples.json").read_text())
    assert (record["classes"], record["class_names"]) == ([1], ["square"])


def test_names_of_classes_come_with_the_model(trained):
    assert class_names(trained / "var") == ["round", "square"]
    assert class_names("fashion-var-d4")[:2] == ["t-shirt", "trouser"]
    assert class_names("var-d16") == []  # published files do not say


def test_images_of_an_earlier_run_are_removed_and_others_refused(varlite, model, tmp_path):
    out = tmp_path / "a"
    grid = ["--grid", out / "grid.png"]
    assert varlite("sample", "--model", model, "--num-per-class", 3, "--out", out, *grid)[0] == 0
    assert varlite("sample", "--model", model, "--num-per-class", 1, "--classes", "1", "--out", out, *grid)[0] == 0
    assert files(out) == ["0001_00000.png", "grid.png", "samples.json"]
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(out / "0000_00000.png")
    before = (out / "0001_00000.png").stat().st_mtime_ns
    status, _, err = varlite("sample", "--model", model, "--out", out, *grid)
    assert status == 1 and "a holds 1 images that would be counted in, such as 0000_00000.png: use an empty" in err
    assert (out / "0001_00000.png").stat().st_mtime_ns == before


def test_a_run_that_was_killed_does_not_stand_in_the_way_of_the_next(varlite, model, tmp_path, break_off):
    break_off(sampling, "generate", 2)
    words = ["sample", "--model", model, "--num-per-class", 2, "--batch", 1, "--out", "a"]
    assert varlite(*words)[0] == 130 and len(files(tmp_path / "a")) == 2
    assert varlite(*words)[0] == 0 and len(files(tmp_path / "a")) == 5


def test_memory_does_not_follow_the_number_asked_for(varlite, model, tmp_path, monkeypatch):
    asked = []

    def stop(model, tokenizer, labels, **_):
        asked.append(labels)
        raise ValueError("enough")

    monkeypatch.setattr(sampling, "generate", stop)
    words = ["sample", "--model", model, "--num-per-class", 10**15, "--batch", 3, "--out", "a"]
    assert varlite(*words)[2] == "varlite: error: enough\n" and asked == [[0, 0, 0]]
    assert json.loads((tmp_path / "a/samples.json").read_text())["num_per_class"] == 10**15
    assert varlite(*words)[2] == "varlite: error: enough\n"  # the record of so many does not take memory either


def test_a_missing_compiler_is_named_before_the_first_image(refused, model, monkeypatch, tmp_path):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    for command in ("sample", "bench"):
        message = "compile: there is no C++ compiler here (no-such-compiler): install one, or leave out --compile"
        refused([command, "--model", model, "--compile", "--device", "cpu"], message)


def test_a_model_in_a_published_file_is_sampled_by_the_name_of_the_file(varlite, model, tmp_path):
    ours, tokenizer = load(model)
    torch.save(to_published(ours), tmp_path / "theirs.pth")
    tokenizer.save_pretrained(tmp_path)
    settings = ("--classes", 1, "--num-per-class", 1, "--cfg", 0)
    for name, folder in ((model, "a"), (tmp_path / "theirs.pth", "b")):
        assert varlite("sample", "--model", name, *settings, "--out", tmp_path / folder)[0] == 0
    (a,), (b,) = (list((tmp_path / folder).glob("*.png")) for folder in "ab")
    assert abs(pixels(a) - pixels(b)).max() <= 1


def test_what_a_model_cannot_do_is_refused_and_earlier_images_stay(varlite, tmp_path):
    common = ["--classes", "0,1", "--num-per-class", 1, "--out", "kept"]
    assert varlite("sample", *common)[0] == 0
    before = files(tmp_path / "kept")
    raster, dit = "fashion-raster-d4", "fashion-dit-d4"
    for name, option in ((raster, ["--smooth"]), (dit, ["--smooth"]), (raster, ["--ssg", "0.5"]), (dit, ["--ssg", 1])):
        status, _, stderr = varlite("sample", "--model", name, *common, *option)
        assert status == 1 and ("mixtures of codes" in stderr or "one scale" in stderr or "no logits" in stderr)
        assert files(tmp_path / "kept") == before


def test_a_strip_is_drawn_a_batch_at_a_time(varlite, model, tmp_path, monkeypatch):
    sizes, generate = [], sampling.generate

    def counted(model, tokenizer, labels, **settings):
        sizes.append(len(labels))
        return generate(model, tokenizer, labels, **settings)

    monkeypatch.setattr(sampling, "generate", counted)
    common = ["sample", "--model", model, "--num-per-class", 1, "--out", tmp_path / "out"]
    for batch in (1, 2):
        assert varlite(*common, "--batch", batch, "--strip", tmp_path / f"{batch}.png")[0] == 0
    assert sizes == [1, 1, 1, 1, 2, 2]  # samples, then the strip
    assert (abs(pixels(tmp_path / "1.png") - pixels(tmp_path / "2.png")) <= 1).all()
