import json
import threading

import pytest
import torch
from tiny import image_folder, tiny_tokenizer

from varlite.data import ImageFolder, to_float
from varlite.tokenizer import VQVAE
from varlite.training import tokens
from varlite.training.tokens import cache_tokens, fingerprint


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path):
    return str(image_folder(tmp_path / "images", per_class=30))


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


def test_an_interrupted_call_is_resumed_where_it_was(data, encoded, monkeypatch):
    tokenizer, images = tiny_tokenizer(), ImageFolder.images

    def interrupted(self, indices):
        if indices[0] == 32:
            raise KeyboardInterrupt
        return images(self, indices)

    monkeypatch.setattr(ImageFolder, "images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache_tokens(tokenizer, data, "train", batch=16)
    monkeypatch.setattr(ImageFolder, "images", images)
    resumed = cache_tokens(tokenizer, data, "train", batch=16)
    assert encoded == [16, 16, 16, 6]
    monkeypatch.setattr(tokens, "CACHE", tokens.CACHE / "other")
    whole = cache_tokens(tokenizer, data, "train", batch=54)
    assert (resumed.tokens == whole.tokens).all() and torch.equal(resumed.labels, whole.labels)


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
    assert len(results) == 2 and (results[0].tokens == results[1].tokens).all()
    assert sum(encoded) == 54
    assert json.loads((results[0].folder / "meta.json").read_text())["split"] == "train"


def test_a_codebook_too_large_for_16_bits_is_refused(data):
    with pytest.raises(ValueError, match="a codebook of 65537 codes is too large"):
        cache_tokens(tiny_tokenizer(vocab=2**16 + 1), data, "train")
