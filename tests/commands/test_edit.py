import json
from pathlib import Path

import numpy as np
import pytest
from painted import mask, picture
from PIL import Image

from varlite import editing


@pytest.fixture
def varlite(varlite):
    """Runs a command line in a folder with the picture `image.png`: (exit status, stdout, stderr)."""
    Image.fromarray(picture(10, 10)).save("image.png")
    return varlite


@pytest.fixture
def edit(varlite, trained):
    return lambda *arguments: varlite("edit", "image.png", "--model", trained / "var", "--device", "cpu", *arguments)


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_edits_are_written_with_a_record_and_a_picture_of_all(edit, tmp_path):
    status, stdout, _ = edit("--mask", mask("mask.png"), "--num", 3, "--seed", 4, "--grid", "some where/grid.png")
    assert status == 0 and "3 images in out/edits, some where/grid.png" in stdout
    out = tmp_path / "out" / "edits"
    assert files(out) == ["00000.png", "00001.png", "00002.png", "edits.json"]
    grid = pixels("some where/grid.png")
    assert grid.shape == (2 + 12, 2 + 5 * 12)
    assert (grid[2:12, 2:12] == pixels("image.png")).all()
    assert (grid[2:12, 26:36] == pixels(out / "00000.png")).all()
    record = json.loads((out / "edits.json").read_text())
    assert record["options"] == {"hide": True, "thin": False, "paste": True, "refine": False}
    assert (record["task"], record["label"], record["seed"], record["num"]) == ("inpaint", None, 4, 3)
    assert len({record["image_sha256"], record["mask_sha256"], record["weights_sha256"]}) == 3
    assert record["command"].startswith("varlite edit image.png")


def test_an_edit_depends_on_seed_and_number_alone_and_changes_only_what_is_white(edit, tmp_path):
    mask("mask.png")
    edit("--mask", "mask.png", "--num", 3, "--batch", 2, "--out", "a")
    edit("--mask", "mask.png", "--num", 2, "--batch", 1, "--out", "b")
    edit("--mask", "mask.png", "--seed", 1, "--out", "c")
    a = [pixels(f"a/{i:05d}.png") for i in range(3)]
    for i in range(2):
        assert abs(a[i] - pixels(f"b/{i:05d}.png")).max() <= 1  # rounding of another batch size
    assert (a[0] != a[1]).any() and (a[0] != pixels("c/00000.png")).any()
    far = np.ones((10, 10), bool)
    far[1:7, 3:9] = False  # the mask and half a token around it
    changed = a[0] != pixels("image.png")
    assert changed.any() and not changed[far].any()


def test_refined_edits_change_only_what_is_white_and_say_that_they_are_refined(edit, tmp_path):
    mask("mask.png")
    assert edit("--mask", "mask.png", "--num", 2, "--refine")[0] == 0
    record = json.loads((tmp_path / "out/edits/edits.json").read_text())
    assert record["options"] == {"hide": True, "thin": True, "paste": True, "refine": True}
    edits = [pixels(f"out/edits/{i:05d}.png") for i in range(2)]
    far = np.ones((10, 10), bool)
    far[1:7, 3:9] = False
    assert not (edits[0] != pixels("image.png"))[far].any() and (edits[0] != edits[1]).any()
    status, _, stderr = edit("--mask", "mask.png", "--refine", "--no-hide")
    assert status == 1 and "refine hides and pastes: leave out --no-hide and --no-paste" in stderr


def test_a_box_is_repainted_and_in_outpainting_kept(edit):
    box = ("--box", 0.2, 0.2, 0.6, 0.6)
    for task, kept in (("inpaint", False), ("outpaint", True)):
        assert edit(*box, "--task", task, "--out", task)[0] == 0
        same = pixels(f"{task}/00000.png") == pixels("image.png")
        assert same[3:5, 3:5].all() == kept
        assert same[:1, :1].all() != kept


def test_a_class_changes_the_edit_and_the_published_behaviour_is_an_option_away(edit):
    mask("mask.png")
    edit("--mask", "mask.png", "--out", "none")
    edit("--mask", "mask.png", "--task", "class", "--label", 1, "--out", "one", "--cfg", 4)
    edit("--mask", "mask.png", "--out", "published", "--no-hide", "--no-paste")
    assert (pixels("none/00000.png") != pixels("one/00000.png")).any()
    assert (pixels("published/00000.png") != pixels("image.png"))[8:, :2].any()  # a reconstruction, far from the mask


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("size", [(10, 10), (50, 50), (31, 64), (7, 5)])
def test_an_image_of_any_size_and_kind_is_resized_to_what_the_model_works_on(edit, mode, size):
    Image.fromarray(picture(*size)).convert(mode).save("image.png")
    status, _, stderr = edit("--box", 0, 0, 0.4, 0.4)
    assert (status, stderr) == (0, "")
    assert pixels("out/edits/00000.png").shape == (10, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --mask or --box"),
        (["--mask", "mask.png", "--box", 0, 0, 1, 1], "either --mask or --box"),
        (["--box", 0, 0, 1, 2], "box must be y0 < y1"),
        (["--mask", "missing.png"], "missing.png"),
        (["--mask", "a-file"], "a-file cannot be read: not an image"),
        (["--mask", "dots.png"], "less than half of every token"),
        (["--mask", "mask.png", "--task", "class"], "task class needs a --label"),
        (["--mask", "mask.png", "--label", 1], "--label is for --task class; inpaint uses no class"),
        (
            ["--mask", "mask.png", "--task", "class", "--label", 10],
            "there is no class '10': classes are round",
        ),
        (["--mask", "mask.png", "--task", "class", "--label", "0,1"], "label: one class is needed, got '0,1'"),
        (["--mask", "mask.png", "--task", "class", "--label=-1"], "label: there is no class '-1'"),
        (["--mask", "mask.png", "--task", "class", "--label", "sqare"], "Did you mean 'square'?"),
        (["--mask", "mask.png", "--task", "class", "--label="], "label: no class is given"),
        (["--box", "nan", 0, 1, 1], "box must be y0 < y1"),
        (["--box", 0, 0, "inf", 1], "box must be y0 < y1"),
        (["--box=-1", 0, 1, 1], "box must be y0 < y1"),
        (["--mask", "mask.png", "--num=-1"], "num must be at least 1"),
        (["--mask", "mask.png", "--cfg", "1e38"], "at most 1,000,000"),
        (["--mask", "mask.png", "--cfg", "nan"], "cfg must be 0 or more"),
        (["--mask", "mask.png", "--top-p", "nan"], "top_p must lie in"),
        (["--mask", "mask.png", "--top-k", 33], "top_k must be an integer"),
        (["--mask", "mask.png", "--grid", "a-folder.png"], "grid: a-folder.png is a folder"),
        (["--mask", "mask.png", "--out", "pictures"], "out: pictures holds 1 images that would be counted in"),
        (["--mask", "mask.png", "--num", 0], "num must be at least 1"),
        (["--mask", "mask.png", "--cfg", -1], "cfg must be 0 or more"),
        (["--mask", "mask.png", "--grid", "grid.jpg"], "grid must be a .png file"),
        (["--mask", "mask.png", "--grid", "mask.png"], "would take the place of mask.png"),
        (["--mask", "mask.png", "--grid", "a-file/grid.png"], "grid: a-file is a file"),
        (["--mask", "mask.png", "--out", "a-file"], "out: a-file is a file, and a folder is needed there"),
        (["--mask", "mask.png", "--out", "a-file/out"], "out: a-file is a file, and a folder is needed there"),
        (["--mask", "mask.png", "--grid", "out/edits/00000.png"], "is where an edit will be written; choose another"),
        (["--box", 0.41, 0.41, 0.43, 0.43, "--task", "outpaint"], "leaves nothing to keep"),
        (["--mask", "mask.png", "--batch", 0], "batch must be at least 1"),
        (["--mask", "mask.png", "--device", "mps"], "device: there is no mps here"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_before_anything_is_written(varlite, refused, trained, arguments, message):
    mask("mask.png")
    mask("dots.png", rows=slice(0, 1), columns=slice(0, 1))
    Path("a-folder.png").mkdir()
    Path("pictures").mkdir()
    mask("pictures/mine.png")
    refused(["edit", "image.png", "--model", trained / "var", *arguments], message)


@pytest.mark.parametrize("image", ["missing.png", "a-file"])
def test_an_image_that_cannot_be_read_is_named(refused, trained, image):
    refused(["edit", image, "--model", trained / "var", "--box", 0, 0, 1, 0.5], image)


@pytest.mark.parametrize("refined", [(), ("--refine",)])
def test_a_bright_picture_is_no_cause_for_a_warning(edit, recwarn, refined):
    Image.fromarray(np.linspace(150, 255, 300).reshape(10, 10, 3).astype(np.uint8)).save("image.png")
    assert edit("--box", 0, 0, 1, 0.5, *refined)[0] == 0
    assert not [warning for warning in recwarn if "no value below 0" in str(warning.message)]


def test_a_model_that_cannot_edit_is_refused_and_earlier_edits_stay(edit, varlite):
    edit("--box", 0, 0, 1, 0.5, "--num", 2)
    status, _, stderr = varlite("edit", "image.png", "--model", "fashion-raster-d4", "--box", 0, 0, 1, 0.5)
    assert status == 1 and "model: fashion-raster-d4" in stderr
    assert Path("out/edits/00000.png").exists() and Path("out/edits/00001.png").exists()


def test_the_image_is_not_overwritten_by_its_edit(varlite, trained, tmp_path):
    Image.fromarray(picture(10, 10)).save("00000.png")
    status, _, stderr = varlite(
        "edit", "00000.png", "--model", trained / "var", "--box", 0, 0, 1, 0.5, "--out", tmp_path
    )
    assert status == 1 and "would take the place of 00000.png; choose another folder" in stderr


def test_a_class_is_given_by_name_and_the_record_holds_it(edit, tmp_path):
    box = ["--box", 0, 0, 1, 0.5, "--task", "class"]
    assert edit(*box, "--label", "square", "--out", "a")[0] == edit(*box, "--label", 1, "--out", "b")[0] == 0
    assert (pixels("a/00000.png") == pixels("b/00000.png")).all()
    for out in "ab":
        record = json.loads((tmp_path / out / "edits.json").read_text())
        assert (record["label"], record["class_name"]) == (1, "square")


def test_edits_of_an_earlier_run_are_removed(edit, tmp_path):
    box = ["--box", 0, 0, 1, 0.5, "--grid", "out/edits/grid.png"]
    assert edit(*box, "--num", 3)[0] == edit(*box, "--num", 2)[0] == 0
    assert files(tmp_path / "out/edits") == ["00000.png", "00001.png", "edits.json", "grid.png"]
    mask("out/edits/00005.png")
    status, _, err = edit(*box)
    assert status == 1 and "out: out/edits holds 1 images that would be counted in, such as 00005.png" in err


def test_memory_does_not_follow_the_number_asked_for(edit, monkeypatch):
    def stop(*_, **__):
        raise ValueError("enough")

    monkeypatch.setattr(editing, "edit", stop)
    for _ in range(2):
        assert edit("--box", 0, 0, 1, 0.5, "--num", 10**15)[2] == "varlite: error: enough\n"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "int8"])
def test_every_task_runs_in_every_precision_and_keeps_what_is_kept(edit, precision):
    box = ["--box", 0, 0, 1, 0.4, "--precision", precision]
    for name, words in {
        "inpaint": [], "class": ["--task", "class", "--label", 1], "smooth": ["--smooth"], "thin": ["--thin"],
        "published": ["--no-hide", "--no-paste"],
    }.items():  # fmt: skip
        status, _, err = edit(*box, *words, "--out", name)
        assert status == 0, err
        same = (pixels(f"{name}/00000.png") == pixels("image.png"))[:, 7:].all()
        assert same == (name != "published")
    assert edit(*box, "--task", "outpaint", "--out", "outpaint")[0] == 0
