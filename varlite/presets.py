"""One table of every model: what it is, how it is trained. A preset is a row here; a trained one has a card as well."""

from dataclasses import dataclass

from varlite.tokenizer import TokenizerConfig


@dataclass(frozen=True)
class TokenizerRecipe:
    """How a tokenizer is trained: AdamW, linear warm-up, cosine to zero, EMA of the weights."""

    steps: int
    batch: int
    lr: float
    warmup: int
    ema: float
    l1: float  # weight of the absolute error beside the squared error


TOKENIZERS: dict[str, tuple[TokenizerConfig, TokenizerRecipe | None]] = {
    # The published tokenizer; its training code and recipe were never released.
    "imagenet-vq": (TokenizerConfig(), None),
    # 28 x 28 -> 7 x 7, straight to stride 2: full resolution has one convolution each way and no residual block.
    "fashion-vq": (
        TokenizerConfig(
            channels=1, vocab=512, z=16, ch=32, multipliers=(1, 2, 4), encoder_blocks=(0, 1, 1), decoder_blocks=(0, 2, 1),
            scales=[1, 2, 3, 5, 7],
        ),
        TokenizerRecipe(steps=4500, batch=64, lr=1e-3, warmup=200, ema=0.998, l1=0.2),
    ),
}  # fmt: skip


def choose(table: dict, name: str, what: str):
    """A row of a table of presets. Raises ValueError that lists the rows there are."""
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}; there are: {', '.join(table)}")
    return table[name]
