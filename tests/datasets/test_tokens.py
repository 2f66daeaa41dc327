import errno
import json
import os
import shutil
import threading

import messy
import numpy as np
import pytest
import torch
from examples import image_folder, tiny_tokenizer

from varlite.datasets import ImageFolder, checksums, open_dataset, pixels, tokens
from varlite.datasets.pixels import to_float
from varlite.datasets.tokens import FreshTokens, cache_tokens, view_seed
from varlite.tokenizer import VQVAE, fingerprint

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def encoded(monkeypatch):
    """Batch sizes that the encoder was given."""
    sizes, encode = [], VQVAE.encode
    monkeypatch.setattr(VQVAE, "encode", lambda self, img, *more: sizes.append(len(img)) or encode(self, img, *more))
    return sizes


def test_the_cache_holds_the_tokens_and_labels_of_every_image(data):
    tokenizer = tiny_tokenizer()
    cached, dataset = cache_tokens(tokenizer, data, "train", batch=16), ImageFolder(data, "train", (10, 10), 1)
    rows = torch.tensor([53, 0, 17, 17])
    idx_BL, label_B = cached.batch(rows)
    with torch.inference_mode():
        expected = torch.cat(tokenizer.encode(to_float(dataset.images(rows))), 1)
    assert len(cached) == 54 and idx_BL.dtype == torch.int64
    assert torch.equal(idx_BL, expected) and torch.equal(label_B, dataset.labels[rows])
    assert (cached.meta["classes"], cached.meta["scales"]) == (["round", "square"], [1, 2, 3, 5])


def test_a_second_call_does_not_run_the_encoder(data, encoded):
    tokenizer = tiny_tokenizer()
    first = cache_tokens(tokenizer, data, "train", batch=16)
    assert encoded == [16, 16, 16, 6]
    second = cache_tokens(tokenizer, data, "train")
    assert len(encoded) == 4 and second.folder == first.folder


def test_an_interrupted_call_is_resumed_where_it_was(data, encoded, monkeypatch, tmp_path, break_off):
    tokenizer, read = tiny_tokenizer(), break_off(ImageFolder, "images", 3)
    with pytest.raises(KeyboardInterrupt):
        cache_tokens(tokenizer, data, "train", batch=16)
    resumed = cache_tokens(tokenizer, data, "train", batch=16)
    assert encoded == [16, 16, 16, 6]
    assert [int(indices[0]) for _, indices in read] == [0, 16, 32, 32, 48]
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path / "other"))
    whole = cache_tokens(tokenizer, data, "train", batch=54)
    assert (resumed.rows == whole.rows).all() and torch.equal(resumed.labels, whole.labels)


@pytest.mark.parametrize("how", [{}, {"flip": True}, {"views": 2, "flip": True}])
def test_a_stop_at_any_write_is_made_up_for_by_the_next_call(data, tmp_path, monkeypatch, how):
    """A kill, or a full disk: at every point where something reaches the disk, one after the other."""
    monkeypatch.setattr(checksums, "SETTLED", 1e9)  # which keeps them from being written as well
    (tmp_path / "images" / "round" / "005.png").write_bytes(b"")
    tokenizer, whole = tiny_tokenizer(), cache_tokens(tiny_tokenizer(), data, "train", batch=54, **how)
    real = {"fsync": os.fsync, "replace": os.replace}
    countdown, stops = [0], 0

    def until_the_end(name):
        def write(*arguments):
            countdown[0] -= 1
            if countdown[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real[name](*arguments)

        return write

    for name in real:
        monkeypatch.setattr(os, name, until_the_end(name))
    while True:
        monkeypatch.setenv("VARLITE_CACHE", str(tmp_path / f"stopped after {stops}"))
        countdown[0] = stops + 1
        try:
            cache_tokens(tokenizer, data, "train", batch=27, **how)
        except OSError:
            stops += 1
        else:
            break
        resumed = cache_tokens(tokenizer, data, "train", batch=16, **how)
        assert (resumed.rows == whole.rows).all() and torch.equal(resumed.labels, whole.labels)
        assert resumed.meta["skipped"] == whole.meta["skipped"] and len(resumed.meta["skipped"]) == 1
    assert stops == 2 * 4 + 3  # two batches, each of four; the description, and its folder


def test_rows_written_once_are_not_encoded_again(data, encoded, monkeypatch):
    """Not even where all were written, and the process ended just before the cache was complete."""
    tokenizer, write_json = tiny_tokenizer(), tokens.write_json

    def stopped(path, value):
        if path.name == "meta.json":
            raise KeyboardInterrupt
        write_json(path, value)

    monkeypatch.setattr(tokens, "write_json", stopped)
    with pytest.raises(KeyboardInterrupt):
        cache_tokens(tokenizer, data, "train", batch=27)
    monkeypatch.setattr(tokens, "write_json", write_json)
    assert len(cache_tokens(tokenizer, data, "train")) == 54 and encoded == [27, 27]


def test_a_disk_that_is_too_small_is_told_before_anything_is_encoded(data, encoded, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(tokens.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"the tokens need \d+ MB more, 0 MB are free"):
        cache_tokens(tiny_tokenizer(), data, "train")
    assert not encoded


def test_mirror_images_have_rows_of_their_own(data):
    tokenizer, dataset = tiny_tokenizer(), ImageFolder(data, "train", (10, 10), 1)
    both = cache_tokens(tokenizer, data, "train", batch=16, flip=True)
    plain = cache_tokens(tokenizer, data, "train", batch=16)
    assert len(both) == 2 * len(plain) == 108 and both.folder != plain.folder
    assert (both.meta["flip"], plain.meta["flip"]) == (True, False)
    assert torch.equal(both.labels, plain.labels.repeat_interleave(2)) and (both.rows[::2] == plain.rows).all()
    rows = torch.tensor([3, 40])
    with torch.inference_mode():
        expected = torch.cat(tokenizer.encode(to_float(dataset.images(rows).flip(-1))), 1)
    assert torch.equal(both.batch(2 * rows + 1)[0], expected)


def test_the_row_of_an_unreadable_image_is_that_of_the_next_label_included(data, tmp_path):
    for name in ("round/029.png", "square/005.png"):  # the last round one: a square one takes its place
        (tmp_path / "images" / name).write_text("<html>")
    cached, names = cache_tokens(tiny_tokenizer(), data, "train"), ImageFolder(data, "train", (10, 10), 1).names
    assert len(cached) == 54 and sorted(cached.meta["skipped"]) == ["round/029.png", "square/005.png"]
    for name in cached.meta["skipped"]:
        (a, *_), (label, after) = cached.batch(torch.tensor([names.index(name), names.index(name) + 1]))
        assert torch.equal(a, cached.batch(torch.tensor([names.index(name) + 1]))[0][0])
        assert label == after == 1


@pytest.mark.parametrize("how", [{}, {"flip": True}, {"views": 2}])
def test_an_image_that_was_unreadable_for_a_moment_gets_tokens_of_its_own(data, tmp_path, monkeypatch, encoded, how):
    tokenizer, read = tiny_tokenizer(), pixels.read_image
    whole = cache_tokens(tokenizer, data, "train", **how)
    expected, labels = np.array(whole.rows), whole.labels
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path / "other"))
    broken = {"round/001.png", "round/029.png"}

    def fail(path, *more, **named):
        if any(str(path).endswith(name) for name in broken):
            raise OSError(errno.EIO, "Input/output error")
        return read(path, *more, **named)

    monkeypatch.setattr("varlite.datasets.encoded.read_image", fail)
    for _ in range(2):
        cached = cache_tokens(tokenizer, data, "train", **how)
        assert cached.meta["skipped"] == dict.fromkeys(sorted(broken), "Input/output error")
        assert (cached.rows != expected).any() and not torch.equal(cached.labels, labels)
    broken.clear()
    encoded.clear()
    cached = cache_tokens(tokenizer, data, "train", **how)
    assert (cached.rows == expected).all() and torch.equal(cached.labels, labels) and cached.meta["skipped"] == {}
    assert encoded == [2 if how else 1] * 2  # the others stay


# Several views of an image


def test_pass_after_pass_takes_the_next_of_the_views_that_are_kept(data):
    """Each a function of seed, image and its own number alone."""
    tokenizer = tiny_tokenizer()
    dataset = open_dataset(data, "train", (10, 10), 1, as_published=True)
    cached = cache_tokens(tokenizer, data, "train", batch=16, flip=True, views=3, seed=5)
    rows = torch.tensor([53, 0, 7])
    assert len(cached) == 54 and len(cached.rows) == 3 * 54 and cached.meta["views"] == 3
    seen = []
    for passes in range(7):
        idx_BL, label_B = cached.batch(rows, passes)
        with torch.inference_mode():
            img = to_float(dataset.images(rows, view_seed(5, passes % 3), flip=True))
            assert torch.equal(idx_BL, torch.cat(tokenizer.encode(img), 1))
        assert torch.equal(label_B, dataset.labels[rows])
        seen.append(idx_BL)
    assert torch.equal(seen[0], seen[3]) and torch.equal(seen[2], seen[5])
    assert all((a != b).any(1).sum() > 1 for a, b in [(seen[0], seen[1]), (seen[1], seen[2]), (seen[0], seen[2])])


def test_tokens_made_at_every_step_are_those_that_would_be_kept(data):
    tokenizer = tiny_tokenizer()
    cached = cache_tokens(tokenizer, data, "train", flip=True, views=4, seed=2)
    fresh = FreshTokens(tokenizer, open_dataset(data, "train", (10, 10), 1, as_published=True), flip=True, seed=2)
    assert len(fresh) == len(cached) == 54
    for passes, rows in ((0, torch.arange(20)), (3, torch.tensor([9, 50])), (1, torch.tensor([9, 50]))):
        (kept_BL, kept_B), (img, label_B) = cached.batch(rows, passes), fresh.batch(rows, passes)
        expected, made = (x.example(tokenizer.scales, y) for x, y in ((cached, kept_BL), (fresh, img)))
        assert all(torch.equal(a, b) for a, b in zip(expected, made, strict=True)) and torch.equal(kept_B, label_B)
        assert torch.equal(cached.label(rows), kept_B) and torch.equal(fresh.label(rows), kept_B)


def test_images_of_the_size_wanted_have_one_view_or_are_enlarged(tmp_path):
    data, tokenizer = str(image_folder(tmp_path / "fitting", per_class=10, side=10)), tiny_tokenizer()
    middle = cache_tokens(tokenizer, data, "train")
    with torch.inference_mode():
        as_they_are = ImageFolder(data, "train", (10, 10), 1).images(torch.arange(18))
        assert torch.equal(middle.batch(torch.arange(18))[0], torch.cat(tokenizer.encode(to_float(as_they_are)), 1))
    cached = cache_tokens(tokenizer, data, "train", views=2)
    assert (cached.batch(torch.arange(18), 0)[0] != cached.batch(torch.arange(18), 1)[0]).any()


def test_views_and_seeds_have_caches_of_their_own_and_the_test_split_has_its_middle(data):
    tokenizer = tiny_tokenizer()
    ways = [{}, {"views": 2}, {"views": 3}, {"views": 2, "seed": 1}, {"views": 2, "flip": True}]
    assert len({cache_tokens(tokenizer, data, "train", **how).folder for how in ways}) == len(ways)
    few, fresh = (cache_tokens(tokenizer, data, "test", views=views, seed=views) for views in (2, 0))
    assert few.folder == fresh.folder != cache_tokens(tokenizer, data, "test").folder and len(few.rows) == len(few)
    with pytest.raises(ValueError, match="views must be at least 1 to be kept, got 0"):
        cache_tokens(tokenizer, data, "train", views=0)


def test_the_row_of_an_unreadable_image_has_the_label_of_each_views_stand_in(data, tmp_path):
    (tmp_path / "images" / "round/029.png").write_text("<html>")
    cached = cache_tokens(tiny_tokenizer(), data, "train", views=2)
    names = ImageFolder(data, "train", (10, 10), 1).names
    for passes in (0, 1):
        assert cached.batch(torch.tensor([names.index("round/029.png")]), passes)[1] == 1


def test_redone_images_of_the_same_names_and_sizes_get_new_tokens(tmp_path):
    """In the same place, one after the other, even with the times of the first."""
    tokenizer, place = tiny_tokenizer(), tmp_path / "now"
    messy.stale(tmp_path)
    found = []
    for state in ("before", "after"):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tmp_path / state, place)
        for path in place.rglob("*.bmp"):
            os.utime(path, (10**9, 10**9))
        found.append(cache_tokens(tokenizer, str(place), "train"))
    assert found[0].folder != found[1].folder and (found[0].rows != found[1].rows).any()


def test_the_sixteenth_bit_is_kept(data, monkeypatch):
    tokenizer = tiny_tokenizer(vocab=2**16)
    highest = [torch.full((8, length), 2**16 - 1) for length in tokenizer.scales.lengths]
    monkeypatch.setattr(VQVAE, "encode", lambda self, img: [idx[: len(img)] for idx in highest])
    cached = cache_tokens(tokenizer, data, "test", batch=8)
    assert (cached.batch(torch.arange(len(cached)))[0] == 2**16 - 1).all()


def test_a_damaged_cache_is_named(data):
    folder = cache_tokens(tiny_tokenizer(), data, "train").folder
    os.truncate(folder / "tokens.npy", 500)
    with pytest.raises(ValueError, match=rf"{folder} is damaged \(.*\): delete it, and the tokens are made again"):
        cache_tokens(tiny_tokenizer(), data, "train")


@pytest.mark.parametrize(
    "file, content",
    [
        ("tokens.npy", np.zeros((54, 12), np.uint16)),
        ("tokens.npy", np.zeros((54, 39), np.int64)),
        ("labels.npy", np.zeros(53, np.int64)),
        ("labels.npy", np.full(54, 7)),
        ("labels.npy", np.zeros(54)),
    ],
)
def test_a_cache_whose_content_does_not_fit_its_description_is_damaged(data, file, content):
    folder = cache_tokens(tiny_tokenizer(), data, "train").folder
    np.save(folder / file, content)
    with pytest.raises(ValueError, match=rf"{folder} is damaged \(.*{file} .*\): delete it"):
        cache_tokens(tiny_tokenizer(), data, "train")


def test_a_cache_with_other_rows_than_its_views_is_damaged(data):
    folder = cache_tokens(tiny_tokenizer(), data, "train", views=2).folder
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"views": 5}))
    with pytest.raises(ValueError, match=rf"{folder} is damaged \(tokens.npy has 108 rows, not 5 for each image\)"):
        cache_tokens(tiny_tokenizer(), data, "train", views=2)


def test_tokens_are_not_held_in_memory(data):
    assert isinstance(cache_tokens(tiny_tokenizer(), data, "train").rows, np.memmap)


def test_a_batch_of_nothing_is_refused(data):
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        cache_tokens(tiny_tokenizer(), data, "train", batch=0)


def test_splits_tokenizers_and_changed_data_have_caches_of_their_own(data, tmp_path):
    tokenizer = tiny_tokenizer()
    folders = [cache_tokens(tokenizer, data, split).folder for split in ("train", "test")]
    folders.append(cache_tokens(tiny_tokenizer(seed=1), data, "train").folder)
    (tmp_path / "images" / "round" / "001.png").unlink()
    folders.append(cache_tokens(tokenizer, data, "train").folder)
    assert len(set(folders)) == 4


def test_the_fingerprint_follows_what_tokens_depend_on_and_nothing_else():
    tokenizer = tiny_tokenizer()
    first = fingerprint(tokenizer)
    with torch.no_grad():
        tokenizer.decoder.conv_out.bias.add_(1)
        assert fingerprint(tokenizer) == first == fingerprint(tiny_tokenizer())
        tokenizer.quantizer.codebook.weight[3, 2].add_(1)
    assert fingerprint(tokenizer) != first
    assert fingerprint(tiny_tokenizer(scales=[1, 2, 4, 5])) != first


def test_two_that_want_the_same_tokens_at_once_encode_them_once(data, encoded):
    tokenizer, results = tiny_tokenizer(), []
    threads = [
        threading.Thread(target=lambda: results.append(cache_tokens(tokenizer, data, "train", batch=4)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and (results[0].rows == results[1].rows).all()
    assert sum(encoded) == 54
    assert json.loads((results[0].folder / "meta.json").read_text())["split"] == "train"


def test_a_codebook_too_large_for_16_bits_is_refused(data):
    with pytest.raises(ValueError, match="a codebook of 65537 codes is too large"):
        cache_tokens(tiny_tokenizer(vocab=2**16 + 1), data, "train")


def test_a_class_that_has_no_picture_in_a_split_still_numbers_the_others(tmp_path):
    for split in ("train", "val"):
        image_folder(tmp_path / split, per_class=2)
    first = cache_tokens(tiny_tokenizer(), str(tmp_path), "test")
    shutil.copytree(tmp_path / "train" / "round", tmp_path / "train" / "shard")
    second = cache_tokens(tiny_tokenizer(), str(tmp_path), "test")
    assert first.labels.tolist() == [0, 0, 1, 1] and second.labels.tolist() == [0, 0, 2, 2]
    assert second.meta["classes"] == ["round", "shard", "square"]
