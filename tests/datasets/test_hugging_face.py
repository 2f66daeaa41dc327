import sys

import pytest
import torch
from examples import image_folder
from picture_sources import SIZE, opened, same

from varlite.datasets import ImageFolder, hugging_face

datasets = pytest.importorskip("datasets", reason="needs varlite[data]")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


@pytest.fixture
def folder(tmp_path):
    return image_folder(tmp_path / "photos", per_class=15, side=20)


def table_of(folder, split):
    data = ImageFolder(folder, split, SIZE, 1)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(data.classes))})
    cells = [{"bytes": (folder / name).read_bytes(), "path": None} for name in data.names]
    return datasets.Dataset.from_dict({"image": cells, "label": data.labels.tolist()}, features)


def test_a_data_set_saved_on_disk_keeps_splits_pictures_and_names_of_classes(folder, tmp_path):
    saved = datasets.DatasetDict({split: table_of(folder, split) for split in ("train", "test")})
    saved.save_to_disk(str(tmp_path / "saved"))
    found, plain = opened(tmp_path / "saved"), opened(folder)
    assert same(plain, found)
    sums = {found[split].checksum for split in found}
    assert len(sums) == 2 and sums == {opened(tmp_path / "saved")[split].checksum for split in found}


def test_parquet_files_are_read_by_folder_and_by_name_and_their_names_say_the_split(folder, tmp_path):
    (tmp_path / "p").mkdir()
    for split, name in (("train", "train-00000-of-00001"), ("test", "validation-00000-of-00001")):
        table_of(folder, split).to_parquet(str(tmp_path / "p" / f"{name}.parquet"))
    assert same(opened(folder), opened(tmp_path / "p"))
    (tmp_path / "training").mkdir()
    (tmp_path / "p").rename(tmp_path / "training" / "p")  # a folder further up says nothing
    (tmp_path / "p").symlink_to(tmp_path / "training" / "p")
    assert same(opened(folder), opened(tmp_path / "training" / "p"))
    one = opened(tmp_path / "p" / "train-00000-of-00001.parquet")
    assert len(one["train"].labels) == 24 and len(one["test"].labels) == 3


@pytest.mark.parametrize("label", [-1, None])
def test_a_test_split_without_labels_is_not_used(folder, tmp_path, label):
    train, hidden = table_of(folder, "train"), table_of(folder, "test")
    hidden = hidden.map(lambda row: {"label": label}, features=hidden.features)
    datasets.DatasetDict({"train": train, "test": hidden}).save_to_disk(str(tmp_path / "saved"))
    found = opened(tmp_path / "saved")
    assert len(found["train"].labels) == 24 and len(found["test"].labels) == 3
    assert found["train"].notes == ("splits that are not used: test",)


def test_labels_may_be_words_and_images_may_be_plain_bytes(folder, tmp_path):
    data = ImageFolder(folder, "train", SIZE, 1)
    rows = {"png": [(folder / name).read_bytes() for name in data.names]}
    rows["label"] = [data.classes[c] for c in data.labels.tolist()]
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "x.parquet"))
    found = opened(tmp_path / "x.parquet")
    assert found["train"].classes == ("round", "square")
    assert torch.equal(found["test"].images(torch.arange(3)), data.images(torch.arange(0, 27, 10)))


@pytest.mark.parametrize(("missing", "complaint"), [
    ("image", "has no column of images; it has label"), ("label", "has no column of labels, .* it has image"),
])  # fmt: skip
def test_a_table_without_images_or_labels_is_refused(folder, tmp_path, missing, complaint):
    table_of(folder, "train").remove_columns([missing]).to_parquet(str(tmp_path / "x.parquet"))
    with pytest.raises(ValueError, match=complaint):
        opened(tmp_path / "x.parquet")


def test_what_is_not_on_the_hub_is_said_in_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def load(name, configuration):
        raise RuntimeError(f"no {name},\nof {configuration}")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(ValueError, match=r"data: hf:nobody/nothing:big cannot be opened: no nobody/nothing, of big"):
        opened("hf:nobody/nothing:big")


def test_without_the_library_the_extra_is_named_and_other_sources_work(folder, tmp_path, monkeypatch):
    table_of(folder, "train").to_parquet(str(tmp_path / "x.parquet"))
    monkeypatch.setattr(hugging_face, "find_spec", lambda name: None)
    for name in (tmp_path / "x.parquet", "hf:ylecun/mnist"):
        with pytest.raises(ValueError, match=r"need: pip install 'varlite\[data\]'"):
            opened(name)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert len(opened(folder)["train"].labels) == 27
