"""Models of a preset without its weights: without memory, to be counted, or on random weights, to be timed."""

from typing import Any

import torch

from varlite.io.meta import on_meta
from varlite.models import kind_of
from varlite.presets import MODELS, TOKENIZERS
from varlite.scales import Scales
from varlite.tokenizer import VQVAE


def parameters(module: torch.nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in module.parameters())


def build_empty(name: str) -> Any:
    """A preset's model or tokenizer on the meta device: shapes without memory."""
    if name in TOKENIZERS:
        return on_meta(VQVAE, TOKENIZERS[name].config)
    config = MODELS[name].config
    return on_meta(kind_of(config).model, config)


def random_model(name: str, device: torch.device | str = "cpu") -> tuple[Any, VQVAE]:
    """A preset's model and tokenizer on random weights, drawn at once instead of by the slower initialisers.

    They are drawn on `device`: two billion take a CPU a minute.
    """
    modules = []
    for part in (name, MODELS[name].tokenizer):
        module = build_empty(part)
        weights = {k: random_tensor(k, t.shape, device) for k, t in module.state_dict().items()}
        module.load_state_dict(weights, assign=True)
        modules.append(module.eval())
    modules[1].scales = Scales.of(modules[0].config.scales)
    return modules[0], modules[1]


def random_tensor(name: str, shape: torch.Size, device: torch.device | str = "cpu") -> torch.Tensor:
    """Small noise, and ones for the weights of norms, so that activations stay finite."""
    if "norm" in name and name.endswith("weight"):
        return torch.ones(shape, device=device)
    return torch.empty(shape, device=device).uniform_(-0.03, 0.03)
