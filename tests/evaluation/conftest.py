from dataclasses import asdict

import examples
import pytest

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
