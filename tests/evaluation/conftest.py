from dataclasses import asdict

import examples
import pytest
import torch

from varlite.evaluation.judges import jury
from varlite.evaluation.judges.diversity import WithinClass
from varlite.evaluation.judges.sliced_wasserstein import SlicedWasserstein
from varlite.evaluation.judges.token_histogram import TokenHistogram
from varlite.io.files import save_model


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A folder with an untrained model of 28 x 28 in ten classes."""
    folder = tmp_path_factory.mktemp("small")
    net = {"multipliers": (1, 1, 1), "encoder_blocks": (0, 0, 1), "decoder_blocks": (0, 0, 1)}
    tokenizer = examples.tiny_tokenizer(scales=[1, 2, 7], **net)
    model = examples.lively_var(scales=[1, 2, 7])
    for name, kind, module in (("tokenizer", "tokenizer", tokenizer), ("model", "var", model)):
        about = {"kind": kind, "config": asdict(module.config), "tokenizer": "none"}
        save_model(folder / f"{name}.safetensors", about, module.state_dict())
    return folder


@pytest.fixture
def quick_panel(monkeypatch):
    """Three judges instead of all, and a reference of 300 pictures."""

    def few_judges(tokenizer, training, imagenet):
        return [SlicedWasserstein("sw_patches"), TokenHistogram(tokenizer, drawn=True), WithinClass("spread", "pixels")]

    pictures = jury.fashion_pictures

    def few_pictures(num, views):
        reference, real, training = pictures(num, views)
        few = torch.arange(300)
        return reference.part(few), real, training.part(few)

    monkeypatch.setattr(jury, "open_judges", few_judges)
    monkeypatch.setattr(jury, "fashion_pictures", few_pictures)
