import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import messy
import numpy as np
import pytest
import torch
from examples import image_folder, without_clock
from picture_sources import SIZE, add, opened, same, shards_of, tar_of
from PIL import Image

from varlite.checkpoints.cards import read_log
from varlite.datasets import ImageFolder, open_dataset
from varlite.datasets.sources import expanded, files_of
from varlite.datasets.survey import report
from varlite.datasets.tars import TarImages
from varlite.evaluation.image_sources import Npz
from varlite.io.files import read_model
from varlite.training import train_tokenizer as stage1
from varlite.training import train_transformer as stage2
from varlite.training.options import Options
from varlite.training.run import Run


@pytest.fixture
def folder(tmp_path):
    return image_folder(tmp_path / "photos", per_class=15, side=20)


# Tar archives


@pytest.mark.parametrize("wrapper", ["", "photos"])
def test_a_tar_of_a_folder_is_the_same_data_set_with_the_same_checksum(folder, tmp_path, wrapper):
    (folder / "round" / "notes.txt").write_text("left out")
    archive = opened(tar_of(folder, tmp_path / "photos.tar", wrapper))
    assert same(opened(folder), archive)
    for split in ("train", "test"):
        assert archive[split].checksum == opened(folder)[split].checksum
    assert archive["train"].notes == ("left out: 1 .txt",)


def test_splits_inside_a_tar_are_those_of_the_folder(tmp_path):
    messy.split_folders(tmp_path / "animals", "train", "val")
    for wrapper in ("", "animals"):
        archive = opened(tar_of(tmp_path / "animals", tmp_path / f"a{wrapper}.tar", wrapper), 3)
        plain = opened(tmp_path / "animals", 3)
        assert same(plain, archive)
        assert all(archive[split].checksum == plain[split].checksum for split in plain)


def test_a_tar_of_class_tars_is_read_where_its_pictures_lie(folder, tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as outer:
        for name in ("round", "square"):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for path in sorted((folder / name).iterdir()):
                    add(tar, path.name, path.read_bytes())
            add(outer, f"{name}.tar", inner.getvalue())
    archive = opened(tmp_path / "train.tar")
    assert same(opened(folder), archive) and archive["train"].checksum == opened(folder)["train"].checksum


@pytest.mark.parametrize("pattern", ["{}", "{}/shards-{{0000..0003}}.tar", "{}/*.tar"])
def test_shards_with_numbers_as_classes_are_read_by_folder_braces_or_pattern(tmp_path, pattern):
    plain = ImageFolder(image_folder(tmp_path / "train", per_class=14).parent / "train", "train", SIZE, 1)
    shards_of(plain, tmp_path / "shards")
    found = opened(pattern.format(tmp_path / "shards"))
    assert found["train"].classes == ("0", "1") and len(found["train"].labels) + len(found["test"].labels) == 25
    (tmp_path / "shards" / "classes.txt").write_text("round\nsquare\n")
    assert opened(pattern.format(tmp_path / "shards"))["train"].classes == ("round", "square")
    (tmp_path / "shards" / "classes.txt").write_text("crane\ncrane\n")  # a bird and a machine
    assert opened(pattern.format(tmp_path / "shards"))["train"].classes == ("crane (0)", "crane (1)")
    (tmp_path / "shards" / "classes.txt").unlink()
    (tmp_path / "shards" / "classes.json").write_text(json.dumps({"0": "round"}))
    with pytest.raises(ValueError, match=r"names 1 classes, and a \.cls file says 1"):
        opened(pattern.format(tmp_path / "shards"))


def test_pictures_without_a_class_and_archives_of_no_split_are_left_out_and_told_of(folder, tmp_path):
    pictures = sorted((folder / "round").iterdir())
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for i, path in enumerate(pictures):
            add(tar, f"{i}.png", path.read_bytes())
            if i < 5:
                add(tar, f"{i}.cls", b"0")
    (note,) = TarImages([tmp_path / "some.tar"], "train", SIZE, 1).notes
    assert note == f"left out: {len(pictures) - 5} images without a .cls file"
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(folder, ".")
        add(tar, "loose.png", path.read_bytes())
    assert (
        "1 images in no class, or in a split that is not used"
        in TarImages([tmp_path / "x.tar"], "train", SIZE, 1).notes[0]
    )
    for name in ("train-0", "notes"):
        (tmp_path / f"{name}.tar").write_bytes((tmp_path / "x.tar").read_bytes())
    paths = [tmp_path / "notes.tar", tmp_path / "train-0.tar"]
    assert "1 archives of splits that are not used" in TarImages(paths, "train", SIZE, 1).notes[0]


def test_a_class_that_is_a_hard_link_is_read_where_it_leads(folder, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for i, path in enumerate(sorted((folder / "round").iterdir())):
            add(tar, f"{i}.png", path.read_bytes())
            if i == 0:
                add(tar, "0.cls", b"0")
                continue
            link = tarfile.TarInfo(f"{i}.cls")
            link.type, link.linkname = tarfile.LNKTYPE, "0.cls"
            tar.addfile(link)
    train, test = (TarImages([tmp_path / "x.tar"], split, SIZE, 1) for split in ("train", "test"))
    assert len(train.members) + len(test.members) == i + 1 and train.classes == ("0",)


def test_shards_whose_names_say_it_are_the_splits_and_classes_may_be_names(tmp_path):
    data = opened(messy.split_folders(tmp_path / "a", "train", "val") and tmp_path / "a", 3)
    shards_of(data["train"], tmp_path / "s", "imagenet-train-{:03d}.tar", cls=lambda c: ("cats", "dogs")[c])
    shards_of(data["test"], tmp_path / "s", "imagenet-validation-{:03d}.tar", cls=lambda c: ("cats", "dogs")[c])
    assert same(data, opened(tmp_path / "s", 3))


def test_the_index_of_an_archive_is_kept_and_made_again_when_the_archive_changes(folder, tmp_path, monkeypatch):
    from varlite.datasets import tar_index

    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tar_index, "SETTLED", -1.0)
    path, made = tar_of(folder, tmp_path / "x.tar"), []
    make = tar_index.make_index
    monkeypatch.setattr(tar_index, "make_index", lambda path: made.append(path) or make(path))
    assert same(opened(path), opened(path)) and made == [path]
    messy.folder(folder, {"round": 1}, first=7)
    tar_of(folder, path)
    opened(path)
    assert made == [path, path]


def test_archives_that_cannot_be_read_from_anywhere_are_refused_with_what_to_do(folder, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.add(folder, ".")
    with pytest.raises(ValueError, match=r"x\.tar is compressed, .*: gunzip it first"):
        opened(tmp_path / "x.tar")
    (tmp_path / "y.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(ValueError, match=r"y\.tar is no tar archive, or is damaged"):
        opened(tmp_path / "y.tar")
    with tarfile.open(tmp_path / "z.tar", "w") as tar:
        add(tar, "a.png", b"")
    with pytest.raises(ValueError, match=r"z\.tar are in no class: .* a file of its name that ends in \.cls"):
        opened(tmp_path / "z.tar")


def test_a_picture_that_is_damaged_in_an_archive_is_replaced_as_in_a_folder(folder, tmp_path):
    (folder / "round" / "003.png").write_text("<html>")
    data = TarImages([tar_of(folder, tmp_path / "x.tar")], "train", SIZE, 1)
    plain = ImageFolder(folder, "train", SIZE, 1)
    assert torch.equal(data.images(torch.arange(8)), plain.images(torch.arange(8)))
    assert list(data.skipped) == ["x.tar/round/003.png"] and "not an image" in data.skipped["x.tar/round/003.png"]
    assert len(data.retry(data.skipped)) == 0


def test_a_folder_of_images_with_an_archive_beside_them_stays_a_folder(folder, tmp_path):
    tar_of(folder, folder / "backup.tar")
    assert isinstance(opened(folder)["train"], ImageFolder)


# Lists


def write_list(folder: Path, path: Path, head: str = "path,label", split: str | None = None) -> Path:
    data = ImageFolder(folder, "train", SIZE, 1), ImageFolder(folder, "test", SIZE, 1)
    rows = sorted((name, ds.classes[c], word) for ds, word in zip(data, ("train", "test"), strict=True)
                  for name, c in zip(ds.names, ds.labels.tolist(), strict=True))  # fmt: skip
    lines = [f"{folder.name}/{name},{cls}" + (f",{word}" if split else "") for name, cls, word in rows]
    path.write_text("\n".join([head] * bool(head) + lines) + "\n")
    return path


def test_a_list_of_paths_and_labels_is_the_same_data_set_with_or_without_a_first_line(folder, tmp_path):
    plain, with_head = opened(folder), opened(write_list(folder, tmp_path / "list.csv"))
    assert same(plain, with_head)
    assert same(plain, opened(write_list(folder, tmp_path / "bare.csv", head="")))
    assert same(plain, opened(write_list(folder, tmp_path / "split.csv", "file_name,class,split", split="yes")))
    tabs = (tmp_path / "list.csv").read_text().replace(",", "\t")
    (tmp_path / "list.tsv").write_text(tabs)
    assert same(plain, opened(tmp_path / "list.tsv"))
    before = with_head["train"].checksum
    Image.new("L", (9, 9)).save(folder / "round" / "001.png")
    assert opened(tmp_path / "list.csv")["train"].checksum != before


@pytest.mark.parametrize(("text", "complaint"), [
    ("", "must have a path and a label on each line"),
    ("path,size\na.png,3\n", "has no column of labels: it is to be called label"),
    ("path,label\na.png\n", "line 2 must have a path and a label, got 'a.png'"),
    ("path,label,split\na.png,x,train\n", "none of its lines says val or test"),
])  # fmt: skip
def test_a_list_without_paths_or_labels_is_refused(tmp_path, text, complaint):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        opened(tmp_path / "x.csv")


def test_a_list_of_files_that_are_elsewhere_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("".join(f"nowhere/{i}.png,a\n" for i in range(20)))
    with pytest.raises(FileNotFoundError, match=r"x\.csv lists nowhere/1\.png, which is not in"):
        opened(tmp_path / "x.csv")


# npz


def arrays(folder: Path) -> dict:
    data = opened(folder)
    images = torch.cat([data[split].images(torch.arange(len(data[split].labels))) for split in ("train", "test")])
    return {"images": images[:, 0].numpy(), "labels": torch.cat([data[s].labels for s in ("train", "test")]).numpy()}


def test_an_npz_of_images_and_labels_is_a_data_set_in_any_order_of_axes(folder, tmp_path):
    found = arrays(folder)
    grey = np.arange(len(found["labels"])) % 10 == 0
    for name, images in {"a": found["images"], "b": found["images"][..., None], "c": found["images"][:, None]}.items():
        np.savez(tmp_path / f"{name}.npz", images=images, labels=found["labels"], classes=["round", "square"])
        data = opened(tmp_path / f"{name}.npz")
        assert data["train"].classes == ("round", "square")
        assert torch.equal(data["test"].images(torch.arange(3))[:, 0], torch.from_numpy(found["images"][grey]))
        assert data["train"].labels.tolist() == found["labels"][~grey].tolist()
    sums = {data[split].checksum for split in data}
    assert len(sums) == 2 and sums == {opened(tmp_path / "c.npz")[split].checksum for split in data}


def test_an_npz_may_have_a_test_split_and_labels_that_are_names(folder, tmp_path):
    found, names = arrays(folder), np.array(["round", "square"])
    np.savez(tmp_path / "x.npz", x_train=found["images"][:20], y_train=names[found["labels"][:20]],
             x_test=found["images"][20:], y_test=names[found["labels"][20:]])  # fmt: skip
    data = opened(tmp_path / "x.npz")
    assert [len(data[split].labels) for split in ("train", "test")] == [20, 10]
    assert data["test"].classes == ("round", "square")
    assert data["test"].labels.tolist() == found["labels"][20:].tolist()


@pytest.mark.parametrize(("changes", "complaint"), [
    ({"images": None}, "it must hold images and labels, and holds labels"),
    ({"images": np.zeros((4, 8, 8))}, "images must be bytes"),
    ({"images": np.zeros((4, 8, 8, 2), np.uint8)}, r"images must be .* got \(4, 8, 8, 2\)"),
    ({"images": np.zeros((), np.uint8)}, r"images must be \(N, H, W\), .* got \(\)"),
    ({"images": np.zeros((4, 0, 8), np.uint8)}, r"images must have pixels, got \(4, 0, 8\)"),
    ({"labels": np.arange(3)}, "4 images have 3 labels"),
    ({"labels": np.array([0, 1, 2, 3]), "classes": ["a", "b"]}, "labels are from 0 to 3, and there are 2 names"),
    ({"labels": np.ones(4) / 2}, "labels must be whole numbers or names, got float64"),
])  # fmt: skip
def test_an_npz_of_something_else_is_refused(tmp_path, changes, complaint):
    whole = {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.arange(4) % 2} | changes
    np.savez(tmp_path / "x.npz", **{name: array for name, array in whole.items() if array is not None})
    with pytest.raises(ValueError, match=rf"data: .*x\.npz cannot be used: {complaint}"):
        opened(tmp_path / "x.npz")


# Names and reports


def test_braces_are_written_out_and_a_shard_that_is_missing_is_named(tmp_path):
    assert expanded("a-{08..10}.{tar,zip}") == [f"a-{n}.{end}" for n in ("08", "09", "10") for end in ("tar", "zip")]
    for name in ("a-0.tar", "a-2.tar"):
        (tmp_path / name).touch()
    assert [path.name for path in files_of(f"{tmp_path}/a-*.tar")] == ["a-0.tar", "a-2.tar"]
    with pytest.raises(FileNotFoundError, match=r"there is no .*a-1\.tar"):
        files_of(f"{tmp_path}/a-{{0..2}}.tar")


def test_what_is_no_source_is_refused_with_what_is_accepted(tmp_path):
    (tmp_path / "x.zip").touch()
    with pytest.raises(ValueError, match=r"x\.zip is a file of a kind that is not read: name a folder .* hf:NAME"):
        opened(tmp_path / "x.zip")
    with pytest.raises(FileNotFoundError, match=r"neither the name of a dataset \(fashion, .*\) nor a folder"):
        opened(tmp_path / "*.tar")


def test_varlite_data_reports_every_source(folder, tmp_path):
    text = report(tar_of(folder, tmp_path / "x.tar"))
    assert "train: 27 images (round 13, square 14)" in text and "test: 3 images" in text
    assert "of 27 opened (height x width): grey; all 20 x 20" in text
    np.savez(tmp_path / "x.npz", **arrays(folder))
    assert "of 27 opened (height x width): grey; all 14 x 14" in report(tmp_path / "x.npz")


# Training


def trained(data: Path, out: Path, steps: int = 14):
    """A tokenizer and a transformer on new views at every step: everything that came out, but for the clock."""
    options = Options(device="cpu", steps=steps, flip=True)
    stage1.train_tokenizer("tiny-vq", str(data), out / "vq", options)
    options = replace(options, recipe=("views=0",))
    stage2.train("tiny-var", str(data), out / "var", out / "vq", options=options)
    models = [read_model(out / name / "model.safetensors")[1] for name in ("vq", "var")]
    return models, [without_clock(read_log(out / name)) for name in ("vq", "var")]


def equal(a, b) -> bool:
    return a[1] == b[1] and all(
        torch.equal(x[name], y[name]) for x, y in zip(a[0], b[0], strict=True) for name in x
    )  # fmt: skip


def test_training_from_a_tar_gives_what_training_from_the_folder_gives_bit_for_bit(folder, tmp_path, presets):
    from_folder = trained(folder, tmp_path / "a")
    assert equal(from_folder, trained(tar_of(folder, tmp_path / "photos.tar"), tmp_path / "b"))
    assert not equal(from_folder, trained(image_folder(tmp_path / "others", 15, side=20, seed=1), tmp_path / "c"))


def test_a_training_on_shards_goes_on_bit_for_bit_where_it_was_stopped(folder, tmp_path, presets, monkeypatch):
    shards = shards_of(ImageFolder(folder, "train", SIZE, 1), tmp_path / "shards")
    whole = trained(shards, tmp_path / "whole")
    save = Run.save

    def stop(run, state):
        save(run, state)
        if state["step"] == 7:
            raise KeyboardInterrupt

    for stage in ("vq", "var"):
        monkeypatch.setattr(Run, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            trained(shards, tmp_path / "stopped")
        assert not (tmp_path / "stopped" / stage / "model.safetensors").exists()
        monkeypatch.setattr(Run, "save", save)
        if stage == "vq":
            stage1.train_tokenizer("tiny-vq", str(shards), tmp_path / "stopped" / "vq",
                                   Options(device="cpu", steps=14, flip=True))  # fmt: skip
    assert equal(whole, trained(shards, tmp_path / "stopped"))


def test_a_single_array_that_is_called_npz_is_refused(tmp_path):
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"one.npz cannot be used: it is a single array"):
        open_dataset(str(tmp_path / "one.npz"), "train", (8, 8), 1)
    with pytest.raises(ValueError, match=r"one.npz is not an npz of ADM's evaluator \(it is a single array"):
        Npz(tmp_path / "one.npz")


def test_an_npz_whose_compressed_bytes_are_damaged_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((30, 8, 8, 1), np.uint8), labels=np.arange(30) % 2)
    whole = bytearray((tmp_path / "x.npz").read_bytes())
    name, extra = (int.from_bytes(whole[at : at + 2], "little") for at in (26, 28))
    whole[30 + name + extra] = 0xFF  # no such type of block
    (tmp_path / "x.npz").write_bytes(whole)
    with pytest.raises(ValueError, match=r"data: .*x.npz cannot be used: Error -3 while decompressing"):
        open_dataset(str(tmp_path / "x.npz"), "train", (8, 8), 1)


def test_a_list_of_whole_paths_may_lie_below_a_link(folder, tmp_path):
    (tmp_path / "far" / "away" / "disk").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runs").symlink_to(tmp_path / "far" / "away" / "disk")
    lines = [f"{path},{path.parent.name}" for path in sorted(folder.glob("*/*.png"))]
    (tmp_path / "home" / "runs" / "x.csv").write_text("path,label\n" + "\n".join(lines))
    data = opened(tmp_path / "home" / "runs" / "x.csv")
    assert data["train"].images(torch.arange(4)).float().std() > 0 and not data["train"].skipped
