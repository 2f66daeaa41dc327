"""`varlite info`: the table of models, the card of one, and what it costs on this machine."""

import json
import time
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.load import load
from varlite.io.memory import peak_memory
from varlite.io.meta import on_meta
from varlite.io.places import CHECKPOINTS
from varlite.models import VAR, kind_of
from varlite.presets import MODELS, TOKENIZERS
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build_empty(name: str) -> Any:
    """A preset's model on the meta device: shapes without memory."""
    if name in TOKENIZERS:
        return on_meta(VQVAE, TOKENIZERS[name].config)
    config = MODELS[name].config
    return on_meta(kind_of(config).model, config)


def read_card(name: str) -> dict[str, Any]:
    """The card of a model that ships, or of a folder written by a training; {} where there is none."""
    folder = CHECKPOINTS / name if (CHECKPOINTS / name).is_dir() else Path(name)
    path = folder / "card.json"
    return json.loads(path.read_text()) if path.exists() else {}


def last_logged(name: str) -> dict[str, Any]:
    """The last line of the log beside a card: losses, speed, and of a tokenizer the health of its codebook."""
    folder = CHECKPOINTS / name if (CHECKPOINTS / name).is_dir() else Path(name)
    lines = (folder / "log.jsonl").read_text().splitlines() if (folder / "log.jsonl").exists() else []
    return json.loads(lines[-1]) if lines else {}


def table() -> str:
    """All presets: parameters, sides of the scales, tokens, and scores where weights ship."""
    names = [*TOKENIZERS, *MODELS]
    wide = max(map(len, names))
    lines = [f"{'name':{wide}s} {'parameters':>13s} {'tokens':>6s}  {'scales':36s} scores"]
    for name in names:
        config = (TOKENIZERS | MODELS)[name].config
        scales, scores = Scales.of(config.scales), read_card(name).get("scores", {})
        if not scores:
            shown = "weights from the hub, or --weights" if (TOKENIZERS | MODELS)[name].hub else "to be trained"
        elif name in TOKENIZERS:
            perplexity = ", ".join(f"{p:.0f}" for p in scores["perplexity_per_scale"])
            shown = f"MSE {scores['val_mse']:.4f}, {scores['codes_used']:.0%} of codes used, perplexity {perplexity}"
        elif "accuracy" in scores:
            shown = f"accuracy {scores['accuracy']:.1%}, FD ratio {scores['fd_ratio']:.2f}"
        else:
            shown = f"test loss {scores['val_loss']:.2f}"
        sides = ",".join(map(str, scales.sides))
        lines.append(f"{name:{wide}s} {parameters(build_empty(name)):13,d} {scales.total:6d}  {sides:36s} {shown}")
    lines.append(
        "FD ratio: Fréchet distance of samples in features of fashion-classifier, over that of reconstructions."
    )
    return "\n".join(lines)


def one(name: str) -> str:
    """The configuration and card of one model. Raises ValueError for one that does not exist."""
    card = read_card(name)
    if name not in MODELS | TOKENIZERS and not card:
        known = ", ".join([*TOKENIZERS, *MODELS])
        raise ValueError(f"unknown model {name!r}: neither a folder with a card.json nor one of {known}")
    shown: dict[str, Any] = {"name": name}
    if name in MODELS | TOKENIZERS:
        shown |= {"parameters": parameters(build_empty(name)), "config": vars((TOKENIZERS | MODELS)[name].config)}
    return json.dumps(shown | card | {"last_logged": last_logged(name)}, indent=1)


def measure(name: str, weights: Path | None) -> str:
    """Load a model and sample one image: seconds and peak memory. On random weights where none are given or shipped."""
    start = time.monotonic()
    if name in MODELS and MODELS[name].hub is not None and weights is None:
        model, tokenizer = random_model(name)
        source = "random weights"
    else:
        model, tokenizer = load(name, weights)
        source = str(weights or name)
    loaded = time.monotonic()
    image = generate(model, tokenizer, [0], generator=torch.Generator().manual_seed(0))
    done = time.monotonic()
    peak = peak_memory()
    weight_bytes = sum(p.numel() * p.element_size() for m in (model, tokenizer) for p in m.parameters())
    return "\n".join(
        [
            f"{name}: {parameters(model):,d} + {parameters(tokenizer):,d} parameters, "
            f"{weight_bytes / 2**30:.2f} GiB ({source})",
            f"one image of {image.shape[-2]} x {image.shape[-1]}: {done - loaded:.1f} s, "
            f"after {loaded - start:.1f} s to load",
            f"peak memory of the process: {peak / 2**30:.2f} GiB, {peak / weight_bytes:.2f} times the weights",
        ]
    )


def random_model(name: str) -> tuple[VAR, VQVAE]:
    """A preset's model and tokenizer on random weights, without paying for an initialisation that nobody needs."""
    modules = []
    for part in (name, MODELS[name].tokenizer):
        module = build_empty(part)
        weights = {k: random_tensor(k, t.shape) for k, t in module.state_dict().items()}
        module.load_state_dict(weights, assign=True)
        modules.append(module.eval())
    modules[1].scales = modules[0].scales
    return modules[0], modules[1]


def random_tensor(name: str, shape: torch.Size) -> torch.Tensor:
    """Small noise, around one for the weights of norms: enough for activations to stay finite."""
    return torch.ones(shape) if "norm" in name and name.endswith("weight") else torch.empty(shape).uniform_(-0.03, 0.03)
