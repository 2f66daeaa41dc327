import inspect
import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import lively_var

import varlite as varlite_package
from varlite import cli
from varlite.checkpoints.key_map import to_published
from varlite.commands import sample as writing
from varlite.inference import JointAttention
from varlite.presets import MODELS, TOKENIZERS
from varlite.training.options import Options


@pytest.fixture
def model(trained):
    return trained / "var"


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


# Sampling


def test_int8_is_what_samples_are_made_with_and_is_on_record(varlite, model, tmp_path, monkeypatch):
    made = []
    generate_many = writing.generate_many
    monkeypatch.setattr(writing, "generate_many", lambda m, *rest, **o: made.append(m) or generate_many(m, *rest, **o))
    status, _, _ = varlite("sample", "--model", model, "--precision", "int8", "--num-per-class", 1, "--out", tmp_path)
    assert status == 0 and json.loads((tmp_path / "samples.json").read_text())["precision"] == "int8"
    assert isinstance(made[0].blocks[0].attn, JointAttention)
    status, _, stderr = varlite("sample", "--model", model, "--precision", "int8", "--compile", "--out", tmp_path)
    assert status == 1 and "compile: int8 layers cannot be compiled" in stderr


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
    assert record["command"].startswith(f"varlite sample --model {model}") and f"'{out}'" in record["command"]
    assert record["precision"] == "float32"
    assert len(record["weights_sha256"]) == 64 and record["versions"]["torch"] == torch.__version__


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


def test_images_go_to_disk_as_they_are_made(varlite, model, tmp_path, monkeypatch):
    """So that memory does not grow with their number."""
    from varlite.commands import sample as writing

    on_disk, generate_many = [], writing.generate_many

    def watched(*arguments, **settings):
        for part in generate_many(*arguments, **settings):
            on_disk.append(len(list((tmp_path / "out").glob("*.png"))))
            yield part

    monkeypatch.setattr(writing, "generate_many", watched)
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
        (["--classes", "0,2"], "classes must be 'all' or different numbers from 0 to 1 such as 0,3, got '0,2'"),
        (["--classes", "shirt"], "got 'shirt'"),
        (["--classes", "1,1"], "classes must be"),
        (["--classes", ""], "classes must be"),
        (["--classes=-1"], "classes must be"),
        (["--num-per-class", "0"], "num_per_class must be at least 1, got 0"),
        (["--num-per-class=-3"], "num_per_class must be at least 1, got -3"),
        (["--batch", "0"], "batch must be at least 1, got 0"),
        (["--cfg=-1"], "cfg must be 0 or more (0 is no guidance), got -1.0"),
        (["--cfg", "nan"], "cfg must be 0 or more"),
        (["--top-k", "33"], "top_k must be an integer from 0 (off) to the codebook size 32, got 33"),
        (["--top-p", "1.5"], "top_p must lie in 0 (off) .. 1, got 1.5"),
        (["--out", "a-file/out"], "a-file"),  # tests may run as root, who may write anywhere else
        (["--grid", "a-file/grid.png"], "a-file"),
        (["--grid", "grid.jpg"], "grid must be a .png file, got grid.jpg"),
        (["--device", "tpu"], "device must be auto or one that is here (cpu"),
        (["--model", "a-file"], "a-file is truncated or not a safetensors file"),
        (["--model", "a-folder"], "no checkpoint at a-folder/model.safetensors"),
        (["--model", "var-d16", "--weights", "a-file"], "a-file is not a checkpoint written by torch.save"),
        (["--model", "var-d16", "--weights", "small.pth"], "small.pth is not var-d16: it has depth 2, not 16"),
    ],
)
def test_a_wrong_argument_of_sampling_is_answered_in_one_line_before_the_first_image(
    varlite, model, tmp_path, arguments, message
):
    (tmp_path / "a-file").write_text("not a folder, and no checkpoint")
    (tmp_path / "a-folder").mkdir()
    if "small.pth" in arguments:
        torch.save(to_published(lively_var()), tmp_path / "small.pth")
    given = arguments if "--model" in arguments else ["--model", model, *arguments]
    status, out, err = varlite("sample", *given)
    assert (status, out) == (1, "")
    assert err.startswith("varlite: error: ") and message in err and err.count("\n") == 1
    assert not list(tmp_path.rglob("*.png"))


# The other commands


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--preset", "x"], "unknown model preset 'x'; there are: fashion-var-d4"),
        (["train", "--recipe", "gan=1"], "recipe: there is no entry 'gan'; there are: steps, batch, lr"),
        (["train", "--start", "nothing"], "unknown model 'nothing': neither a file or folder here"),
        (["train", "--accumulate", "0"], "accumulate must be at least 1, got 0"),
        (["train", "--accumulate", "5"], "batch must be a multiple of processes x micro-steps (1 x 5), got 64"),
        (["train", "--tokenizer", "nothing"], "unknown tokenizer 'nothing'"),
        (["train", "--steps", "0"], "steps must be positive, got 0"),
        (["train-tokenizer", "--preset", "x"], "unknown tokenizer preset 'x'; there are: fashion-vq"),
        (["train-tokenizer", "--lr=-1"], "lr must be positive, got -1.0"),
        (
            ["train-tokenizer", "--data", "nothing"],
            "data: nothing is neither the name of a dataset (fashion, cifar10) nor",
        ),
        (["train-tokenizer", "--data", "empty"], "data: empty must hold one sub-folder of images for each class"),
        (["train-tokenizer", "--steps", "1", "--out", "a-file/x"], "a-file"),
        (["tokenize", "--tokenizer", "x"], "unknown tokenizer 'x'"),
        (["tune-decoder", "--tokenizer", "x"], "unknown tokenizer 'x'"),
        (["convert", "nothing.pth", "out.safetensors"], "no checkpoint at nothing.pth"),
        (
            ["convert", "a-file", "out.bin"],
            "OUT must end in .safetensors (varlite) or .pth",
        ),
        (["info", "x"], "unknown model 'x': neither a folder with a card.json nor one of fashion-vq"),
        (["evaluate", "--model", "x"], "no checkpoint at x"),
    ],
)
def test_a_wrong_argument_of_another_command_is_answered_in_one_line(varlite, tmp_path, arguments, message):
    (tmp_path / "a-file").write_text("")
    (tmp_path / "empty").mkdir()
    status, out, err = varlite(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("varlite: error: ") and message in err and err.count("\n") == 1


def test_a_traceback_is_shown_to_who_asks_for_it(varlite, monkeypatch):
    monkeypatch.setenv("VARLITE_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown model"):
        varlite("sample", "--model", "x")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_help_of_a_command_explains_every_option(varlite, command):
    status, out, _ = varlite(command, "--help")
    assert status == 0
    flat = " ".join(out.replace("│", " ").split())
    function = cli.COMMANDS[command]
    explained = dict(
        line.strip().split(": ", 1) for line in function.__doc__.split("Args:")[1].splitlines() if ": " in line
    )
    parameters = dict(inspect.signature(function).parameters)
    if parameters.pop("options", None):
        assert all(f"--{field.name.replace('_', '-')}" in out for field in fields(Options))
    for name, parameter in parameters.items():
        if parameter.default is not inspect.Parameter.empty and "Positional" not in str(parameter.annotation):
            assert f"--{name.replace('_', '-')}" in out or f"[{name.upper()}]" in out or command == "info"
        assert " ".join(explained[name].split()[:5]) in flat, f"{name} is not explained"
    assert function.__doc__.split("\n")[0].split(".")[0] in flat


def test_help_lists_the_commands_and_a_wrong_option_is_status_2(varlite):
    status, out, _ = varlite("--help")
    assert status == 0 and all(command in out for command in cli.COMMANDS)
    for arguments in (["sample", "--colour", "red"], ["paint"], ["sample", "--num-per-class", "many"]):
        assert varlite(*arguments)[0] == 2


def test_info_lists_every_preset_with_parameters_and_tokens(varlite):
    status, out, _ = varlite("info")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert status == 0 and lines.keys() >= (TOKENIZERS | MODELS).keys()
    assert "310,283,520    680  1,2,3,4,5,6,8,10,13,16" in lines["var-d16"]
    assert len({line.index(" 1,2,3") for line in lines.values() if " 1,2,3" in line}) == 1  # columns are straight


def test_info_of_one_model_is_its_configuration_and_card(varlite, model):
    shown = json.loads(varlite("info", "var-d36")[1])
    assert shown["parameters"] == 2_353_893_904 and shown["config"]["shared_adaln"] is True
    card = json.loads(varlite("info", model)[1])
    assert card["training"]["preset"] == "tiny-var" and card["last_logged"]["step"] == 40
    health = json.loads(varlite("info", model.parent / "vq")[1])["last_logged"]
    assert len(health["perplexity_per_scale"]) == len(health["dead_codes_per_scale"]) == 4


def test_the_command_line_answers_before_torch_is_imported():
    code = "import sys, varlite, varlite.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    for name in varlite_package.__all__:
        assert getattr(varlite_package, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'sampel'"):
        varlite_package.sampel  # noqa: B018


def test_info_measures_what_a_model_costs(varlite, presets, monkeypatch):
    monkeypatch.setitem(MODELS, "tiny-hub", replace(MODELS["tiny-var"], hub=("a", "b")))
    _, out, _ = varlite("info", "tiny-hub", "--measure")
    assert "one image of 10 x 10" in out and "random weights" in out and "peak memory of the process" in out


def test_a_checkpoint_is_converted_there_and_back(varlite, tmp_path):
    tensors = to_published(lively_var())
    torch.save(tensors, tmp_path / "a.pth")
    for source, out in (("a.pth", "b.safetensors"), ("b.safetensors", "c.pth")):
        assert varlite("convert", source, out) == (0, f"{out}\n", "")
    back = torch.load(tmp_path / "c.pth", weights_only=True)
    assert back.keys() == tensors.keys() and all(torch.equal(back[name], t) for name, t in tensors.items())
    assert varlite("convert", "a.pth", "d.pth", "--dtype", "float16")[0] == 0
    assert torch.load(tmp_path / "d.pth", weights_only=True)["head.weight"].dtype == torch.float16


def test_tokenizing_and_training_go_by_the_command_line(varlite, trained, presets, tmp_path):
    data = ["--data", trained / "images"]
    status, out, _ = varlite("tokenize", "--tokenizer", trained / "vq", *data, "--split", "test")
    assert status == 0 and "6 images of 39 tokens in" in out
    status, out, _ = varlite("train-tokenizer", "--preset", "tiny-vq", *data, "--steps", 1, "--batch", 4)
    assert status == 0 and out.strip() == "runs/tiny-vq/model.safetensors"
    status, out, _ = varlite("train", "--preset", "tiny-var", *data, "--tokenizer", "runs/tiny-vq", "--steps", 1)
    assert status == 0 and out.strip() == "runs/tiny-var/model.safetensors"
    card = json.loads((tmp_path / "runs/tiny-var/card.json").read_text())
    assert card["training"]["command"].startswith("varlite train --preset tiny-var --data")


def test_importing_varlite_pulls_in_no_plotting_or_notebook_library():
    code = "import sys, varlite; varlite.generate; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "varlite.sampling" in modules
    heavy = {"matplotlib", "seaborn", "pandas", "IPython", "ipywidgets", "jupyterlab", "torchvision", "torch_fidelity"}
    assert not heavy & set(modules)
