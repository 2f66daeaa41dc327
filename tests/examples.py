"""Models and data small enough for tests."""

import os
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from PIL import Image

from varlite import cli
from varlite.io import files
from varlite.models import KINDS, VAR, VARConfig
from varlite.presets import MODELS, TOKENIZERS, ModelPreset, TokenizerPreset, TokenizerRecipe, TransformerRecipe
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, TokenizerConfig
from varlite.training import loop
from varlite.training import run as runs
from varlite.training import train_tokenizer as stage1
from varlite.training import train_transformer as stage2
from varlite.training.options import Options
from varlite.training.run import Run

SIDES = [1, 2, 3, 5]
ONE = SIDES[-1:]
RECTANGULAR = [[1, 2], [2, 3], [3, 5]]
SCHEDULES = [SIDES, RECTANGULAR, [1, 4, 7]]
LABELS = torch.tensor([1, 2])
NET = {"ch": 32, "multipliers": (1, 1), "encoder_blocks": (0, 1), "decoder_blocks": (0, 1)}


def tokenizer_config(**changes) -> TokenizerConfig:
    return TokenizerConfig(**{"channels": 1, "vocab": 32, "z": 8, "scales": SIDES} | NET | changes)


def var_config(**changes) -> VARConfig:
    small = {"depth": 2, "width": 64, "heads": 2, "classes": 10, "vocab": 32, "z": 8, "scales": SIDES}
    return VARConfig(**small | changes)


def tiny_tokenizer(seed=0, **changes) -> VQVAE:
    """In evaluation mode, with codes about as large as what they stand for, so that many of them are chosen."""
    torch.manual_seed(seed)
    tokenizer = VQVAE(tokenizer_config(**changes)).eval()
    torch.nn.init.normal_(tokenizer.quantizer.codebook.weight, std=0.2)
    return tokenizer


def tiny_var(seed=0, **changes) -> VAR:
    torch.manual_seed(seed)
    return VAR(var_config(**changes)).eval()


def lively_var(**changes) -> VAR:
    """Every weight matters: gates are open, no vector is zero or one."""
    model = tiny_var(**changes)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model


# A row a kind: configurations that together make every branch of it run.
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "var": [{}, {"attn_norm": False}, {"shared_adaln": True}, {"adaln": False}, {"scales": RECTANGULAR}],
    "mvar": [{}, {"attn_norm": False, "shared_adaln": True}, {"scales": [1, 3, 6, 9]}],
    "raster": [{"scales": ONE}, {"scales": ONE, "adaln": False}],
    "markov": [{}, {"attn_norm": False, "shared_adaln": True}, {"scales": RECTANGULAR}],
    "maskgit": [{"scales": ONE}, {"scales": ONE, "attn_norm": False, "steps": 3}],
    "flexvar": [
        {"scales": ONE, "sides": [1, 2, 5], "trained": [[1, 2, 5], [1, 3, 4, 5]]},
        {"scales": [[3, 5]], "sides": [1, [2, 3], [3, 5]], "trained": [[1, [3, 5]]], "shared_adaln": True},
    ],
    "dit": [{"steps": 3}, {"steps": 4, "solver": "euler", "attn_norm": False}, {"steps": 1, "scales": RECTANGULAR}],
}


def lively(kind: str, **changes) -> Any:
    """A model in evaluation mode whose every weight matters: gates open, no vector zero or one."""
    torch.manual_seed(0)
    found = KINDS[kind]
    model = found.model(found.config(**vars(var_config()) | changes)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith(("A_log", "dt_bias")):  # of Mamba-2: its state would grow without bound
                weight.add_(0.2 * torch.randn_like(weight))
    return model


def tokenizer_for(model) -> VQVAE:
    """A tokenizer that the model could have been trained with."""
    scales = Scales.of(model.config.scales)
    return tiny_tokenizer(scales=scales.sides, phi_shared=min(4, scales.K))


def steps_of(model, x_BLZ: torch.Tensor) -> torch.Tensor:
    """Teacher-forced inputs, given step by step: logits_BLV."""
    lengths = [end - start for start, end in model.spans(model.scales)]
    parts, cache = [None, *x_BLZ.split(lengths[1:], 1)], model.make_cache()
    return torch.cat([model.step(part, LABELS, k, cache) for k, part in enumerate(parts)], 1)


def lively_raster(**changes) -> Any:
    return lively("raster", **{"scales": ONE} | changes)


def one_scale_tokenizer():
    return tiny_tokenizer(scales=ONE, phi_shared=1)


def tiny_images(batch=2, side: int | tuple[int, int] = 10, channels=1) -> torch.Tensor:
    """Smooth noise in [-1, 1]."""
    coarse = torch.randn(batch, channels, 4, 4, generator=torch.Generator().manual_seed(batch))
    return torch.nn.functional.interpolate(coarse, size=side, mode="bicubic").clamp(-1, 1)


def random_tokens(scales, batch=2, vocab=32) -> list[torch.Tensor]:
    return [torch.randint(vocab, (batch, length)) for length in Scales.of(scales).lengths]


def random_example(model, batch=2) -> Any:
    """What the model's loss takes."""
    if model.learns == "latents":
        return torch.randn(batch, model.config.z, *model.scales.last)
    return random_tokens(model.config.scales, batch, model.config.vocab)


def chances(model, label: float, batch=2) -> torch.Tensor:
    """The same random numbers for a loss at every call, but for the first of each image, which may drop its label."""
    chance_Bn = torch.rand(batch, model.chances, generator=torch.Generator().manual_seed(4))
    chance_Bn[:, 0] = label
    return chance_Bn


def random_inputs(model, batch=2) -> torch.Tensor:
    scales = model.scales
    return torch.randn(batch, scales.total - scales.lengths[0], model.config.z, dtype=model.pos_LC.dtype)


def image_folder(root: Path, per_class=20, classes=("round", "square"), side=14, seed=0) -> Path:
    """Grey PNGs, bright in the middle or at the border by class."""
    r = np.random.RandomState(seed)
    y, x = np.mgrid[:side, :side] / (side - 1) - 0.5
    middle = np.exp(-8 * (x**2 + y**2))
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            shape = middle if c == 0 else 1 - middle
            noisy = shape * r.uniform(0.6, 1) + 0.05 * r.standard_normal(shape.shape)
            Image.fromarray((noisy.clip(0, 1) * 255).astype(np.uint8)).save(root / name / f"{i:03d}.png")
    return root


def add_presets(patch: pytest.MonkeyPatch):
    """`tiny-vq` and `tiny-var`, which train in a second or two, with a checkpoint every few steps."""
    recipe = {"steps": 40, "batch": 8, "warmup": 5, "ema": 0.9, "lr": 3e-3}
    vq = TokenizerPreset(tokenizer_config(), TokenizerRecipe(**recipe, l1=0.2, quantizer=0.2))
    patch.setitem(TOKENIZERS, "tiny-vq", vq)
    var = ModelPreset(var_config(gamma_init=0.1), "tiny-vq", TransformerRecipe(**recipe))
    patch.setitem(MODELS, "tiny-var", var)
    patch.setattr(loop, "EVERY", loop.Every(log=5, save=7, validate=20))


CLOCK = ("seconds", "images_per_second", "tokens_per_second", "gib")


def without_clock(log):
    """The lines of a log without what differs from run to run."""
    return [{name: value for name, value in record.items() if name not in CLOCK} for record in log]


def train_both(data: Path, out: Path, options: Options = Options(), vq: Path | None = None):
    """Both stages, in `out`/vq and `out`/var, or the second alone with the tokenizer `vq`."""
    if vq is None:
        stage1.train_tokenizer("tiny-vq", str(data), out / "vq", options)
    stage2.train("tiny-var", str(data), out / "var", tokenizer=vq or out / "vq", options=options)


def die_after_saving(step: int):
    """The process ends, as if killed, when the checkpoint of `step` or a later one is written."""
    save = Run.save

    def save_and_die(run: Run, state: dict):
        save(run, state)
        if state["step"] >= step:
            os._exit(9)

    Run.save = save_and_die


def pretend_to_have_gpus():
    """accelerate offers FSDP to GPUs alone, but torch shards over processes on the CPU all the same."""
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def train_in_child(data: Path, out: Path, settings: dict[str, Any]):
    """`train_both` with options from `settings`, in a process of its own; "vq" and "die" as above."""
    add_presets(pytest.MonkeyPatch())
    settings = dict(settings)
    vq = settings.pop("vq", None)
    if "die" in settings:
        die_after_saving(settings.pop("die"))
    options = Options(device="cpu", **settings)
    if options.shard:
        pretend_to_have_gpus()
    train_both(data, out, options, vq)


def killed_while_saving(data: Path, out: Path, settings: dict[str, Any]):
    """`train_in_child`, killed when half of the checkpoint of step 14 is written."""
    whole = torch.save

    def half(state, file):
        whole(state, file)
        if state["step"] == 14:
            file.truncate(file.tell() // 2)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half
    train_in_child(data, out, settings)


def command_with_full_disk(words: list[str], limit: int, file: str):
    """`varlite` where no file can grow beyond `limit` bytes, which is how a full disk looks; if given, only `file`."""
    add_presets(pytest.MonkeyPatch())
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    atomic = runs.atomic

    @contextmanager
    def limited(path: Path, *more):
        whole = resource.getrlimit(resource.RLIMIT_FSIZE)
        if path.name == file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, whole[1]))
        with atomic(path, *more) as temporary:
            yield temporary

    files.atomic = runs.atomic = limited
    sys.argv[1:] = words
    cli.main()
