"""M-VAR with its state carried from scale to scale, against scanning all earlier tokens again at each: timed.

Re-scanning is what the published implementation does (M-VAR, section 3): each Mamba-2 layer keeps its inputs, and every
scale runs it over all of them for the outputs of the newest. Attention and feed-forward see the newest tokens alone in
both ways.
"""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any, TypeVar

import torch

from varlite.checkpoints.assemble import twin
from varlite.drawing import draw, guide, image_seeds
from varlite.mamba2 import Mamba2
from varlite.models import MVAR, VAR, MVARConfig, VARConfig
from varlite.models.mvar import MVARBlock
from varlite.presets import SCALES_512
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, TokenizerConfig

# Sides of the token maps by side of the image; that of 1024 ends in 64 x 64, and only its memory is measured.
SCHEDULES: dict[int, list] = {
    256: TokenizerConfig().scales,
    512: SCALES_512,
    1024: [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64],
}
# d12; at 512 a third of its layers do, since time is linear in their number.
WIDTH, DEPTHS = 768, {256: 12, 512: 4}
CFG = 1.5


Model = TypeVar("Model", bound=VAR)


class RescanningMamba(Mamba2):
    """The same layer; its state is the list of all inputs so far."""

    def forward(self, u_BlC: torch.Tensor, state: Any = None) -> torch.Tensor:
        state.append(u_BlC)
        return super().forward(torch.cat(state, 1))[:, -u_BlC.shape[1] :]


class RescanningBlock(MVARBlock):
    """M-VAR's block with that layer."""

    def __init__(self, C: int, *rest: Any):
        super().__init__(C, *rest)
        self.mamba = RescanningMamba(C)

    def make_cache(self, length: int) -> Any:
        return []


class RescanningMVAR(MVAR):
    """M-VAR that samples with no state but its inputs."""

    block = RescanningBlock


def rescanning(model: MVAR) -> RescanningMVAR:
    """A model with the weights of `model`, not copies of them, that re-scans where `model` carries its state."""
    return twin(model, RescanningMVAR)


@torch.no_grad()
def open_gates(model: Model) -> Model:
    """Gates of one and logits of ordinary size, so that every layer of a new model has a say in its tokens."""
    for block in model.blocks:
        block.ada_ln.linear.bias[: len(model.branches) * model.config.width] = 1
    model.head.linear.weight.mul_(50)
    return model


@torch.inference_mode()
def sample_scales(model: VAR, tokenizer: VQVAE, seed: int) -> Iterator[torch.Tensor]:
    """The codes of one scale after another, (l,), of one image of class 0: `generate`, pausing, without decoding.

    With guidance and without filters: sorting codes for top-p would take as long in both ways.
    """
    label_2B, K = torch.tensor([0, model.class_embed.null]), model.scales.K
    seed_1 = image_seeds(seed, label_2B[:1])
    given, cache = model.condition(label_2B), model.make_cache()
    f_hat, x_2BlZ = tokenizer.empty(1), None
    for k in range(K):
        cond_BlV, null_BlV = model.step(x_2BlZ, given, k, cache).chunk(2)
        idx_Bl = draw(guide(cond_BlV, null_BlV, CFG * k / (K - 1)), seed_1, k)
        if k < K - 1:
            f_hat = tokenizer.accumulate(f_hat, tokenizer.embed(idx_Bl), k)
            x_2BlZ = tokenizer.next_input(f_hat, k).repeat(2, 1, 1)
        yield idx_Bl[0]


def time_both_ways(sides: list, depth: int, width: int, rounds: int) -> dict[str, Any]:
    """Both ways on one set of random weights, in turns at each scale, so that a slow moment of the machine hits both.

    The first round is not counted. `ms_per_scale` are medians, and `speedup` is the ratio of their sums.
    Raises ValueError for fewer rounds than one.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be 1 or more, got {rounds}")
    torch.manual_seed(0)
    model = open_gates(MVAR(MVARConfig(depth=depth, width=width, heads=width // 64, scales=sides)).eval())
    ways: dict[str, VAR] = {"carried": model, "rescanned": rescanning(model)}
    # Hardly a decoder: it is not used.
    net: dict[str, Any] = {"ch": 32, "multipliers": (1, 1), "encoder_blocks": (0, 0), "decoder_blocks": (0, 0)}
    tokenizer = VQVAE(TokenizerConfig(scales=sides, **net)).eval()
    ms: dict[str, list[list[float]]] = {way: [] for way in ways}
    equal = []
    for i in range(rounds + 1):
        images = {w: sample_scales(m, tokenizer, i) for w, m in ways.items()}
        for way in ms:
            ms[way].append([])
        for _ in range(model.scales.K):
            drawn = {}
            for way in list(ways)[:: 1 if i % 2 else -1]:
                start = time.perf_counter()
                drawn[way] = next(images[way])
                ms[way][-1].append(round(1000 * (time.perf_counter() - start), 2))
            equal.append(drawn["carried"] == drawn["rescanned"])
    medians = {way: [median(t) for t in zip(*of_rounds[1:], strict=True)] for way, of_rounds in ms.items()}
    per_round = zip(ms["carried"][1:], ms["rescanned"][1:], strict=True)
    return {
        "config": {"depth": depth, "width": width, "sides": Scales.of(sides).sides},
        "tokens_equal": torch.cat(equal).float().mean().item(),
        "ms_per_scale": medians,
        "speedup": round(sum(medians["rescanned"]) / sum(medians["carried"]), 3),
        "speedup_of_rounds": [round(sum(rescanned) / sum(carried), 3) for carried, rescanned in per_round],
    }


@torch.inference_mode()
def state_bytes(sides: list, width: int) -> dict[str, int]:
    """What one layer keeps for one image once all scales are sampled, in float32: keys and values, all inputs, or the
    carried state."""
    small: dict[str, Any] = {"depth": 1, "width": width, "heads": width // 64, "vocab": 16, "scales": sides}
    kinds: dict[str, tuple[type[VAR], type[VARConfig]]] = {
        "VAR": (VAR, VARConfig), "M-VAR, rescanned": (RescanningMVAR, MVARConfig), "M-VAR, carried": (MVAR, MVARConfig)
    }  # fmt: skip
    sizes, scales, label = {}, Scales.of(sides), torch.tensor([0])
    for name, (cls, config_cls) in kinds.items():
        model = cls(config_cls(**small)).eval()
        cache = model.make_cache()
        for k, length in enumerate(scales.lengths):
            model.step(torch.zeros(1, length, model.config.z) if k else None, label, k, cache)
        kept = cache[0] if isinstance(cache[0], list) else vars(cache[0]).values()
        sizes[name] = sum(t.untyped_storage().nbytes() for t in kept if isinstance(t, torch.Tensor))
    return sizes
