"""Sizes and costs of the transformers, by the configuration alone: also of models that fit on no machine here.

A FLOP is an addition or a multiplication within a matrix product or convolution; all else is left out, as it is in
`torch.utils.flop_counter`. Letters: C width, V codebook, Z latent channels, l tokens.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from varlite.io.meta import on_meta
from varlite.scales import Scales

What = Literal["forward", "sampling", "training"]
PARTS = {"attn": "attention", "mamba": "mamba", "ffn": "ffn", "ada_ln": "adaln"}
TIMES = {
    "forward": 1,
    "sampling": 2,
    "training": 3,
}  # guidance: two images; backward: two passes


@dataclass(frozen=True)
class Pass:
    """One run through the blocks: new tokens, those of them that are not the start, pairs of tokens attended."""

    tokens: int
    embedded: int
    pairs: int


def part_of(name: str) -> str:
    """Which part of a model a weight belongs to, by its name."""
    if name.startswith("blocks."):
        return PARTS.get(name.split(".")[2], name.split(".")[2])
    return "adaln" if name.startswith("shared_ada_ln") else "head" if name.startswith("head.") else "embeddings"


class TransformerCosts:
    """What a transformer weighs and costs, as class methods of its configuration.

    Operations are counted on a model without memory, unless the class brings a formula (`block_formula` is that of
    attention and feed-forward). A variant with a block of its own does not inherit the formula of another.
    """

    spans: ClassVar[Any]
    scales_of: ClassVar[Any]
    branches: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "block" in vars(cls) and "flops_by_part" not in vars(cls):
            cls.flops_by_part = TransformerCosts.__dict__["flops_by_part"]  # type: ignore[method-assign]

    @classmethod
    def weights_by_part(cls, config: Any) -> dict[str, int]:
        """Every weight by part: embeddings, attention, mamba, ffn, adaln (of the blocks) and head."""
        return dict(_weights(*_key(cls, config))[0])

    @classmethod
    def size(cls, config: Any) -> int:
        """N of the scaling laws: the entries of the matrices in the blocks. For VAR 18 d C^2, or 73728 d^3 at C = 64 d.

        Of 18 C^2 in a block 4 are attention's, 8 the feed-forward's, 6 AdaLN's. Embeddings, head, biases and other
        vectors do not count.
        """
        return _weights(*_key(cls, config))[1]

    @classmethod
    def flops(cls, config: Any, what: What = "forward") -> int:
        """FLOPs for one image, all parts; see `flops_by_part`."""
        return sum(cls.flops_by_part(config, what).values())

    @classmethod
    def flops_by_part(cls, config: Any, what: What = "forward") -> dict[str, int]:
        """FLOPs for one image by part.

        forward: teacher-forced. training: three times that. sampling: with guidance, so two images; without the
        tokenizer's decoder. Raises ValueError for another `what`.
        """
        times = check_what(what)
        return {name: times * n for name, n in _counted(*_key(cls, config), what == "sampling")}

    @classmethod
    def passes(cls, config: Any, what: What) -> list[Pass]:
        """The passes for one image, without guidance: all tokens at once, or in sampling one step after another.

        Teacher forcing computes all pairs and masks those that may not see each other; sampling computes what it needs.
        """
        scales = cls.scales_of(config)
        spans = cls.spans(scales)
        if what == "sampling":
            return [Pass(b - a, b - a if a else 0, (b - a) * cls.in_sight(spans, k)) for k, (a, b) in enumerate(spans)]
        return [Pass(scales.total, scales.total - spans[0][1], cls.pairs(scales))]

    @classmethod
    def evaluations(cls, config: Any) -> int:
        """How often sampling an image runs the model, guidance not counted: K scales, l tokens, a solver's steps."""
        return len(cls.passes(config, "sampling"))

    @staticmethod
    def in_sight(spans: Sequence[tuple[int, int]], k: int) -> int:
        """How many tokens a token of step k attends to in sampling: all up to the end of its own step."""
        return spans[k][1]

    @staticmethod
    def pairs(scales: Scales) -> int:
        """Pairs of tokens whose attention is computed under teacher forcing: every one, masked or not."""
        return scales.total**2


def check_what(what: str) -> int:
    """How many forward passes of one image `what` is worth."""
    if what not in TIMES:
        raise ValueError(f"what must be forward, sampling or training, got {what!r}")
    return TIMES[what]


def _key(cls: Any, config: Any) -> tuple[Any, str, Any]:
    """What a cache can be asked for: configurations hold lists."""
    return cls, json.dumps(asdict(config)), type(config)


@lru_cache(maxsize=256)
def _weights(cls: Any, text: str, config: Any) -> tuple[tuple[tuple[str, int], ...], int]:
    """(weights by part, entries of the matrices in the blocks) of a model without memory."""
    found = dict.fromkeys(("embeddings", "attention", "mamba", "ffn", "adaln", "head"), 0)
    matrices = 0
    for name, weight in on_meta(cls, config(**json.loads(text))).named_parameters():
        part = part_of(name)
        found[part] = found.get(part, 0) + weight.numel()
        if name.startswith(("blocks.", "shared_ada_ln")) and name.endswith("weight") and weight.ndim == 2:
            matrices += weight.numel()
    return tuple(found.items()), matrices


def block_formula(cls: Any, config: Any, what: What = "forward") -> dict[str, int]:
    """`flops_by_part` of blocks of attention and feed-forward: embeddings, attention (projections), pairs (attention
    proper), mamba, ffn, adaln (of the blocks) and head."""
    times = check_what(what)
    c, C, ran, n = config, config.width, cls.passes(config, what), len(cls.branches)
    tokens, embedded, pairs = (sum(getattr(p, name) for p in ran) for name in ("tokens", "embedded", "pairs"))
    layers = {"own": c.depth, "shared": 1, "none": 0}[c.ada_ln]
    parts = {
        "embeddings": 2 * embedded * c.z * C,
        "attention": c.depth * 2 * tokens * 4 * C * C,
        "pairs": c.depth * 4 * pairs * C,
        "mamba": 0,
        "ffn": c.depth * 4 * tokens * C * round(C * c.ffn_ratio),
        "adaln": layers * 2 * C * 3 * n * C,  # once an image, whatever the number of steps: see `condition`
        "head": 2 * tokens * C * c.vocab + (4 * C * C if c.adaln else 0),
    }
    return {name: times * count for name, count in parts.items()}


class Counted(nn.Module):
    """Runs a model within a module: only then does the counter know the names of layers that `step` calls."""

    def __init__(self, model: nn.Module, run: Callable[[], Any]):
        super().__init__()
        self.model, self.run = model, run

    def forward(self) -> None:
        self.run()


@lru_cache(maxsize=256)
def _counted(cls: Any, text: str, config: Any, by_step: bool) -> tuple[tuple[str, int], ...]:
    model = on_meta(cls, config(**json.loads(text))).eval().requires_grad_(False)
    label_B, Z, spans = torch.zeros(1, dtype=torch.long, device="meta"), model.config.z, model.spans(model.scales)

    def tokens(start: int, end: int) -> torch.Tensor:
        return torch.empty(1, end - start, Z, device="meta")

    def step_by_step() -> None:
        given, cache = model.condition(label_B), model.make_cache()
        for k, span in enumerate(spans):
            model.step(tokens(*span) if k else None, given, k, cache)

    work = Counted(model, step_by_step if by_step else lambda: model(tokens(spans[0][1], model.scales.total), label_B))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad(), torch.device("meta"):
        work()
    counts = {name.partition(".model.")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    parts = [name for name, _ in model.named_children() if name != "blocks"]
    parts += [f"blocks.{i}.{name}" for i, block in enumerate(model.blocks) for name, _ in block.named_children()]
    found: dict[str, int] = {}
    for name in parts:
        found[part_of(name)] = found.get(part_of(name), 0) + counts.get(name, 0)
    return (*found.items(), ("other", counter.get_total_flops() - sum(found.values())))
