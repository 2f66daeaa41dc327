"""Outputs of the published implementations, tensor by tensor, as varlite computes them on any device.

A case is NAME.json + NAME.safetensors in tests/golden: the JSON describes models, whose weights follow from a recipe
and a seed, and the safetensors file holds what the published code computes with them.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file

from varlite import drawing, editing
from varlite.checkpoints import key_map
from varlite.drawing import Rules, Step
from varlite.inference import autocast
from varlite.io.places import PACKAGE
from varlite.models import KINDS, VAR
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, TokenizerConfig

SAMPLINGS: dict[str, dict[str, Any]] = {
    "sample_guided": {"cfg": 1.5, "top_p": 0.96},
    "sample_plain": {"cfg": 0, "top_k": 0, "top_p": 0},
    "sample_smooth": {"cfg": 3, "top_k": 10, "top_p": 0.95, "smooth": True},
}
BOX, WIDE_BOX = (0.25, 0.25, 0.75, 0.75), (0.1, 0.3, 0.5, 0.95)
EDITS = {  # name: (class or None for the null class, box, keep the inside of the box, smooth)
    "edit_inpaint_null_class": (None, BOX, False, False),
    "edit_outpaint_null_class": (None, BOX, True, False),
    "edit_outpaint_class0_wide_box": (0, WIDE_BOX, True, False),
    "edit_inpaint_class0_smooth": (0, BOX, False, True),
}
CPU = torch.device("cpu")
KEPT = ("ema_vocab_hit_SV", "lvl_1L", "attn_bias", "zero_k_bias", "patch_nums")


def recipe_weights(
    shapes: dict[str, list[int]], seed: int, constants: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The weights that a seed stands for, under published names; constants are kept as they are."""
    weights = {}
    for i, name in enumerate(sorted(shapes)):
        kept = any(word in name for word in KEPT)
        weights[name] = constants[name] if kept else recipe_tensor(name, shapes[name], seed * 100003 + i)
    return weights


def recipe_tensor(name: str, shape: list[int], seed: int) -> torch.Tensor:
    """One tensor of the recipe: noise whose size depends on the name. Float32 arithmetic throughout."""
    r, leaf = np.random.RandomState(seed).standard_normal(shape).astype(np.float32), name.rsplit(".")[-1]
    if "norm" in name and leaf == "weight":
        value = 1 + np.float32(0.1) * r
    elif leaf in ("bias", "q_bias", "v_bias"):
        value = np.float32(0.05) * r
    elif leaf == "scale_mul_1H11":
        value = np.float32(np.log(4)) + np.float32(0.1) * r
    elif name == "quantize.embedding.weight":
        value = np.float32(0.5) * r
    elif leaf == "A_log":
        value = np.log(np.abs(r) + np.float32(0.5))
    elif leaf == "D":
        value = 1 + np.float32(0.1) * r
    elif len(shape) >= 2:
        fan = shape[-1] if len(shape) == 3 and "conv1d" not in name else int(np.prod(shape[1:]))
        value = r / np.float32(np.sqrt(fan))
    else:
        value = np.float32(0.1) * r
    return torch.from_numpy(np.asarray(value, np.float32))


def model_kind(case: dict) -> str:
    """Which model the case is about: a name in the registry of models."""
    kinds = [kind for kind in KINDS if kind in case["keys"]]
    if len(kinds) != 1 or "vqvae" not in case["keys"]:
        raise ValueError(f"keys must hold 'vqvae' and one of {', '.join(KINDS)}, got {list(case['keys'])}")
    return kinds[0]


def build(case: dict) -> tuple[VAR, VQVAE]:
    """The models of a case, with its weights."""
    c, keys = case["config"], case["keys"]
    kind = model_kind(case)
    Model, Config = KINDS[kind].model, KINDS[kind].config
    tokenizer = VQVAE(
        TokenizerConfig(
            vocab=c["vocab_size"], z=c["z_channels"], ch=c["ch"], scales=c["patch_nums"], znorm=c["using_znorm"],
            phi_shared=c["share_quant_resi"], phi_ratio=c.get("quant_resi", 0.5),
        )
    )  # fmt: skip
    model = Model(
        Config(
            depth=c["depth"], width=c["embed_dim"], heads=c["num_heads"], classes=c["num_classes"],
            vocab=c["vocab_size"], z=c["z_channels"], scales=c["patch_nums"], shared_adaln=c["shared_aln"],
            attn_norm=c["attn_l2_norm"], ffn_ratio=c.get("mlp_ratio", 4.0),
        )
    )  # fmt: skip
    for module, key, seed in ((tokenizer, "vqvae", c["seed"]), (model, kind, c["seed"] + 1)):
        weights = recipe_weights(keys[key], seed, key_map.constants(module))
        module.load_state_dict(key_map.from_published(module, weights, f"{key} of the case"))
    return model.eval(), tokenizer.eval()


@contextmanager
def host_draws() -> Iterator[None]:
    """Random numbers of a generator on the CPU, whatever the device: those of the published tokens."""
    draw, noise = drawing.draw, drawing.gumbel_noise
    with (
        patch.object(drawing, "draw", lambda x, *rest: draw(x.cpu(), *rest).to(x.device)),
        patch.object(drawing, "gumbel_noise", lambda x, *rest: noise(x.cpu(), *rest).to(x.device)),
    ):
        yield


def compute(
    case: dict, reference: dict[str, torch.Tensor], device: torch.device = CPU, sampled: bool = True
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of a case as varlite computes it on `device`: (name, value). `sampled`: also what is drawn."""
    model, tokenizer = build(case)
    model, tokenizer = model.to(device), tokenizer.to(device)
    reference = {name: x.to(device) for name, x in reference.items()}
    c: dict[str, Any] = case["config"]
    seeds: dict[str, int] = case["seeds"] if sampled else {}
    scales = Scales.of(c["patch_nums"])

    def drawn(
        name: str, seed: int, settings: dict, sample_labels=None, hook=None
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Tokens as they were drawn, before a hook replaces any, and the image."""
        tokens: list[torch.Tensor] = []

        def on_scale(step: Step) -> None:
            tokens.append(step.idx_Bl)
            if hook is not None:
                hook(step)

        generator = torch.Generator().manual_seed(seed)
        chosen = labels if sample_labels is None else sample_labels
        if device.type == "cpu":
            image = generate(model, tokenizer, chosen, generator=generator, on_scale=on_scale, **settings)
        else:
            rules = Rules(generator=generator, on_scale=on_scale, **settings)
            with host_draws():
                image = (model.sample(tokenizer, torch.as_tensor(chosen, device=device), rules, scales) + 1) / 2
        yield from ((f"{name}.tokens.{k}", idx_Bl) for k, idx_Bl in enumerate(tokens))
        yield f"{name}.image", image

    given = idx = [reference[f"tokens.{k}"] for k in range(scales.K)] if "tokens.0" in reference else []
    if "image" in reference:
        img = reference["image"]
        f = tokenizer.features(img)
        idx, f_hats = tokenizer.quantizer.encode(f, scales)
        yield "encoder_features", f
        yield from ((f"tokens.{k}", idx[k]) for k in range(scales.K))
        yield "f_hat", f_hats[-1]
        yield "reconstruction", tokenizer.to_image(f_hats[-1])
        yield "reconstruction_after_scale.1", tokenizer.decode(idx[:2])
    labels = reference["labels"]
    idx = given or idx  # in half precision some that were computed may differ
    x_BLZ = tokenizer.inputs(idx)
    yield "teacher_forcing_input", x_BLZ
    yield "logits", model(x_BLZ, labels)

    for name, settings in SAMPLINGS.items():
        if name in seeds:
            yield from drawn(name, seeds[name], settings | {"top_k": settings.get("top_k", c["top_k_guided"])})
    for name, (label, box, inside, smooth) in EDITS.items():
        if name in seeds:
            keep_hw = editing.box_mask(box, scales, inside).to(device)
            yield f"{name}.mask", keep_hw.float()
            edit_labels = [c["num_classes"] if label is None else label] * len(labels)
            settings = {"cfg": 3, "top_k": 10, "top_p": 0.95, "smooth": smooth}
            yield from drawn(name, seeds[name], settings, edit_labels, editing.keep_tokens(idx, keep_hw))


def tolerance(name: str) -> float:
    """Largest absolute difference allowed; tokens must be equal."""
    if ".tokens." in name or name.startswith("tokens.") or name.endswith(".mask"):
        return 0.0
    if name == "sample_smooth.image":
        return 3e-2  # at the last scale smooth mode multiplies differences of logits by about 150
    return 1e-3 if name.endswith(".image") or name.startswith("reconstruction") else 1e-4


@dataclass(frozen=True)
class Found:
    """How one case came out."""

    tensors: int
    exact: int
    tokens: int
    equal: int
    worst: str  # the tensor that takes up most of its tolerance
    share: float  # of its tolerance
    logits: float  # root mean square of their error, in standard deviations of the logits


def cases() -> list[Path]:
    """The cases of a checkout; an installed package has none."""
    return sorted(path.with_suffix(".json") for path in (PACKAGE.parent / "tests" / "golden").glob("*.safetensors"))


@torch.inference_mode()
def compare(path: Path, device: torch.device, precision: str = "float32") -> Found:
    """A case on a device; in half precision without what is drawn, which one token that differs would change."""
    case, reference = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    kept = {name: x for name, x in reference.items() if name not in ("image", "labels")}
    with autocast(device, precision):  # type: ignore[arg-type]
        computed = dict(compute(case, reference, device, precision == "float32"))
    if precision == "float32" and (missing := kept.keys() - computed.keys()):
        raise ValueError(f"{path.stem}: not computed: {', '.join(sorted(missing))}")
    counts, worst, logits = [0] * 4, ("", 0.0), 0.0
    for name, expected in kept.items():
        if name not in computed:
            continue
        x = computed[name].cpu()
        equal = torch.equal(x, expected)
        counts[0], counts[1] = counts[0] + 1, counts[1] + equal
        if not x.is_floating_point():
            counts[2], counts[3] = counts[2] + x.numel(), counts[3] + int((x == expected).sum())
        off = 0.0 if equal else (x.double() - expected.double()).abs().max().item()
        share = off / limit if (limit := tolerance(name)) else float(off > 0)
        worst = max(worst, (name, share), key=lambda pair: pair[1])
        if name == "logits":
            logits = ((x - expected).square().mean().sqrt() / expected.std()).item()
    return Found(counts[0], counts[1], counts[2], counts[3], *worst, logits)
