import numpy as np
import pytest
import torch
from examples import tiny_tokenizer

from varlite.datasets import ImageFolder
from varlite.datasets.latents import CACHES, LatentCache
from varlite.datasets.pixels import to_float
from varlite.datasets.tokens import TokenCache, cache_tokens

pytestmark = pytest.mark.usefixtures("cache")


def latents(tokenizer, data, **more):
    return cache_tokens(tokenizer, data, "train", kept=LatentCache, **more)


def test_the_cache_holds_what_the_encoder_gives_before_quantization_rounded_to_16_bits(data):
    tokenizer, rows = tiny_tokenizer(), torch.tensor([53, 0, 17, 17])
    cached, dataset = latents(tokenizer, data, batch=16), ImageFolder(data, "train", (10, 10), 1)
    f_BZhw, label_B = cached.batch(rows)
    with torch.inference_mode():
        expected = tokenizer.features(to_float(dataset.images(rows)))
    assert isinstance(cached, LatentCache) and isinstance(cached.rows, np.memmap) and len(cached) == 54
    assert f_BZhw.dtype == torch.float32 and f_BZhw.shape == (4, 8, 5, 5)
    torch.testing.assert_close(f_BZhw, expected, rtol=2e-3, atol=1e-3)
    assert torch.equal(f_BZhw, f_BZhw.half().float()) and torch.equal(label_B, dataset.labels[rows])


def test_tokens_and_latents_of_the_same_images_lie_beside_each_other(data):
    tokenizer = tiny_tokenizer()
    kept = {name: cache_tokens(tokenizer, data, "train", kept=cls) for name, cls in CACHES.items()}
    assert {name: type(cache) for name, cache in kept.items()} == {"tokens": TokenCache, "latents": LatentCache}
    assert kept["tokens"].folder != kept["latents"].folder
    assert torch.equal(kept["tokens"].labels, kept["latents"].labels)


def test_an_interrupted_call_is_resumed_and_mirror_images_have_rows_of_their_own(data, break_off):
    tokenizer = tiny_tokenizer()
    break_off(ImageFolder, "images", 3)
    with pytest.raises(KeyboardInterrupt):
        latents(tokenizer, data, batch=16, flip=True)
    resumed, plain = latents(tokenizer, data, batch=16, flip=True), latents(tokenizer, data, batch=16)
    assert (resumed.rows[::2] == plain.rows).all() and (resumed.rows[1::2] != plain.rows).any((1, 2, 3)).all()


@pytest.mark.parametrize("content", [np.zeros((54, 8, 5, 4), np.float16), np.zeros((54, 8, 5, 5), np.float32)])
def test_a_cache_whose_content_does_not_fit_its_description_is_damaged(data, content):
    folder = latents(tiny_tokenizer(), data).folder
    np.save(folder / "latents.npy", content)
    with pytest.raises(ValueError, match=rf"{folder} is damaged \(latents.npy .*\): delete it, and the latents"):
        latents(tiny_tokenizer(), data)


def test_a_codebook_of_any_size_will_do_since_latents_are_no_codes(data):
    assert len(latents(tiny_tokenizer(vocab=2**16 + 1), data)) == 54
