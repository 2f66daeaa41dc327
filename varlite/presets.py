"""One table of every model: what it is, how it is trained, where the published weights are.

One dial, depth. A row whose weights ship has a folder in `data/checkpoints/` with the scores on its model card.
"""

import os
import sys
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from varlite.models import MVARConfig, RasterConfig, VARConfig
from varlite.models.dit import DiTConfig
from varlite.models.flexvar import FlexVARConfig
from varlite.models.markov import MarkovConfig
from varlite.models.maskgit import MaskGITConfig
from varlite.tokenizer import TokenizerConfig


class Range(NamedTuple):
    """Which values an entry of a recipe may have: from `low` up to but excluding `high`. `open` excludes `low` too."""

    low: float
    high: float = float("inf")
    open: bool = False


Count = Annotated[int, Range(1)]
Steps = Annotated[int, Range(0)]
Positive = Annotated[float, Range(0, open=True)]
Weight = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class TokenizerRecipe:
    """How a tokenizer is trained: AdamW, linear warm-up, cosine to zero, EMA of the weights.

    Loss weights are relative to the squared error. How codes are initialised and updated: varlite/training/codebook.py.
    """

    steps: Count
    batch: Count
    lr: Positive
    warmup: Steps
    ema: Share
    l1: Weight  # weight of the absolute error
    quantizer: Weight  # weight of the quantizer loss
    start: Literal["noise", "residuals", "kmeans", "kept"] = "residuals"  # initial codes
    reseed: bool = True  # move dead codes, during the first two thirds
    codebook: Literal["gradient", "mean"] = "gradient"  # what updates the codes
    perceptual: Literal["none", "lpips", "fashion", "still"] = "none"
    perceptual_weight: Weight = 1.0
    gan: Weight = 0.0  # weight of the adversarial loss, beside its adaptive factor
    discriminator: Literal["patch", "features"] = "patch"  # varlite/training/discriminators.py
    gan_pace: Positive = 1.0  # learning rate of the discriminator over the tokenizer's
    gan_from: Share = 0.22  # share of the steps after which the discriminator joins
    betas: tuple[Share, Share] = (0.9, 0.99)


@dataclass(frozen=True)
class TransformerRecipe:
    """How a transformer is trained: AdamW (0.9, 0.95), EMA of the weights, warm-up, then a cosine to zero or, as in the
    papers, a linear decay to `final` times the peak rate.

    Weight decay moves from `weight_decay` to `final_weight_decay` along a cosine. `views` says what of an image is
    learned: 1 its middle, encoded once; more as many random cuts, encoded once, and each pass takes the next of them; 0
    as in VAR's training code a new cut at every step, encoded then. But for 1, images are prepared as there, too.
    """

    steps: Count
    batch: Count
    lr: Positive
    warmup: Steps
    ema: Share
    weight_decay: Weight = 0.05
    clip: Positive = 2.0
    schedule: Literal["cosine", "linear"] = "cosine"
    final: Share = 0.0
    final_weight_decay: Weight = 0.05
    views: Annotated[int, Range(0)] = 1


@dataclass(frozen=True)
class TokenizerPreset:
    config: TokenizerConfig
    recipe: TokenizerRecipe
    hub: tuple[str, str] | None = None  # repository and file of the published weights


@dataclass(frozen=True)
class ModelPreset:
    config: Any  # of a kind that varlite/models/ registers
    tokenizer: str
    recipe: TransformerRecipe
    hub: tuple[str, str] | None = None
    origin: "Origin | None" = None
    fid: float = 0.0  # by the authors of `origin`, at its settings, of 50,000 images


class Origin(NamedTuple):
    """Where published weights are from, and how they are meant to be used: printed when they are loaded."""

    repository: str  # on huggingface.co
    file: str
    licence: str
    paper: str
    sampling: str = "cfg 1.5, top-k 900, top-p 0.96"


VAR_HUB = Origin("FoundationVision/var", "var_d{}.pth", "MIT", "arXiv 2404.02905")
MVAR_HUB = Origin("OliverRen/M-VAR", "d{}.pth", "no licence stated: ask its authors", "arXiv 2411.10433")
SCALES_512 = [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]
FASHION_SCALES = [1, 2, 3, 5, 7]
EMOJI_SCALES = [1, 2, 3, 4, 6, 8]
STILL_SCALES = [1, 2, 3, 4, 5, 6, 8]
FASHION_VQ = TokenizerConfig(
    channels=1, vocab=512, z=16, scales=FASHION_SCALES,
    ch=32, multipliers=(1, 2, 4), encoder_blocks=(0, 1, 1), decoder_blocks=(0, 2, 1),
)  # fmt: skip

TOKENIZERS: dict[str, TokenizerPreset] = {
    # 28 x 28 -> 7 x 7, straight to stride 2: full resolution has one convolution each way and no residual block.
    "fashion-vq": TokenizerPreset(
        FASHION_VQ,
        TokenizerRecipe(steps=4500, batch=64, lr=1e-3, warmup=100, ema=0.998, l1=0.2, quantizer=0.2),
    ),
    # One scale, for the raster models; trained on from fashion-vq (`varlite train-tokenizer --start fashion-vq`).
    "fashion-vq-raster": TokenizerPreset(
        replace(FASHION_VQ, scales=FASHION_SCALES[-1:], phi_shared=1),
        TokenizerRecipe(steps=1500, batch=64, lr=5e-4, warmup=100, ema=0.998, l1=0.2, quantizer=0.2),
    ),
    # RGB, 32 x 32: for folders of one's own as well.
    "emoji-vq": TokenizerPreset(
        replace(FASHION_VQ, channels=3, vocab=1024, scales=EMOJI_SCALES),
        TokenizerRecipe(steps=3200, batch=64, lr=1e-3, warmup=100, ema=0.998, l1=0.2, quantizer=0.2),
    ),
    # RGB, 64 x 64 -> 8 x 8: the colour world that is rendered on the fly.
    "still-vq": TokenizerPreset(
        replace(
            FASHION_VQ, channels=3, vocab=4096, scales=STILL_SCALES,
            ch=64, multipliers=(1, 1, 2, 2), encoder_blocks=(0, 1, 1, 1), decoder_blocks=(0, 1, 2, 1),
        ),
        TokenizerRecipe(steps=5000, batch=32, lr=1e-3, warmup=100, ema=0.998, l1=0.2, quantizer=0.2),
    ),
    # The published tokenizer, one for 256 and 512 pixels. Its recipe was never released: this one is put together from
    # its published relatives (VQGAN's losses, AdamW (0.5, 0.9), lr 3e-4, EMA 0.9999) and has not been run. The weights
    # were trained on OpenImages. What the relatives have and this one has not: a discriminator on frozen DINO features
    # with spectral norm (here: PatchGAN with group norm), augmentation and consistency of what it sees, LeCam, a ramp
    # of its weight, a cosine down to 0.3 (here 0), weight decay 0.005, gradients clipped at 10 (here 1), dropout 0.05.
    "imagenet-vq": TokenizerPreset(
        TokenizerConfig(),
        TokenizerRecipe(
            steps=65_000, batch=768, lr=3e-4, warmup=1000, ema=0.9999, l1=0.2, quantizer=1.0,
            perceptual="lpips", perceptual_weight=1.0, gan=0.4, betas=(0.5, 0.9),
        ),
        hub=(VAR_HUB.repository, "vae_ch160v4096z32.pth"),
    ),
}  # fmt: skip


def fashion(
    depth: int,
    recipe: TransformerRecipe | None = None,
    config: Any = VARConfig,
    tokenizer: str = "fashion-vq",
    **others: Any,
) -> ModelPreset:
    """A small model: on the scales of its tokenizer; width 32 * depth unless told. No recipe is the ladder's."""
    scales, others = TOKENIZERS[tokenizer].config.scales, {"width": 32 * depth, "gamma_init": 0.1} | others
    shape = config(depth=depth, classes=10, vocab=512, z=16, scales=scales, **others)
    return ModelPreset(shape, tokenizer, recipe or ladder(depth))


def ladder(depth: int) -> TransformerRecipe:
    """What models are compared by: as many images in the same order for all, the rate falling with the depth.

    That rule for the rate is a choice, and shapes what losses are found to do with depth; no other was tried.
    """
    return TransformerRecipe(steps=1500, batch=64, lr=4e-3 / depth**0.5, warmup=100, ema=0.995)


def published(
    depth: int,
    gamma_init: float,
    recipe: TransformerRecipe,
    fid: float,
    config: Any = VARConfig,
    origin: Origin = VAR_HUB,
    **others: Any,
) -> ModelPreset:
    """A published ImageNet model: width 64 * depth, drop-path 0.1 * depth / 24."""
    shape = config(depth=depth, drop_path=0.1 * depth / 24, gamma_init=gamma_init, **others)
    return ModelPreset(shape, "imagenet-vq", recipe, (origin.repository, origin.file.format(depth)), origin, fid)


def published_mvar(depth: int, gamma_init: float, recipe: TransformerRecipe, fid: float, **others: Any) -> ModelPreset:
    """A published M-VAR, with the initial values of its code."""
    return published(depth, gamma_init, recipe, fid, MVARConfig, MVAR_HUB, published_start=True, **others)


def imagenet(epochs: int, batch: int, lr: float, final: float, final_weight_decay: float = 0.05) -> TransformerRecipe:
    """VAR's training code on the 1,281,167 images of ImageNet: schedule and views; `lr` is for a batch of 256."""
    steps = epochs * (1_281_167 // batch)
    return TransformerRecipe(
        steps, batch, lr * batch / 256, warmup=steps // 50, ema=0.0,
        schedule="linear", final=final, final_weight_decay=final_weight_decay, views=0,
    )  # fmt: skip


MODELS: dict[str, ModelPreset] = {
    "fashion-var-d4": fashion(4, TransformerRecipe(steps=3600, batch=64, lr=2e-3, warmup=100, ema=0.998)),
    "fashion-var-d6": fashion(6, TransformerRecipe(steps=2600, batch=64, lr=1.5e-3, warmup=100, ema=0.998)),
    # The ladder and the arms of the ablation: `varlite reproduce sweep` trains them all, d4 and d6 by this recipe too.
    "fashion-var-d1": fashion(1),
    "fashion-var-d2": fashion(2),
    "fashion-var-d3": fashion(3),
    "fashion-var-d5": fashion(5),
    "fashion-mvar-d2": fashion(2, None, MVARConfig),
    "fashion-mvar-d4": fashion(4, None, MVARConfig),
    "fashion-mvar-d4-narrow": fashion(4, None, MVARConfig, width=96, heads=3, ffn_ratio=6.25),  # as large as VAR-d4
    "fashion-raster-d4": fashion(4, config=RasterConfig, tokenizer="fashion-vq-raster"),
    "fashion-raster-d4-plain": fashion(4, None, RasterConfig, "fashion-vq-raster", adaln=False, attn_norm=False),
    "fashion-var-d4-plain": fashion(4, adaln=False, attn_norm=False),
    "fashion-var-d4-unnormed": fashion(4, attn_norm=False),
    "fashion-markov-d4": fashion(4, None, MarkovConfig),
    "fashion-maskgit-d4": fashion(4, None, MaskGITConfig, "fashion-vq-raster"),
    "fashion-flexvar-d4": fashion(4, None, FlexVARConfig, "fashion-vq-raster"),
    "fashion-dit-d4": fashion(4, None, DiTConfig, gamma_init=0.0),
    # Of emoji in three styles, a class for each pair of group and style: 10.6 passes over 9,654 pictures. Over 3,426 of
    # one style these steps are 30 passes: past its best, since on one view of each the test loss turns up after eleven.
    "emoji-var-d4": ModelPreset(
        VARConfig(depth=4, width=128, classes=27, vocab=1024, z=16, scales=EMOJI_SCALES, gamma_init=0.1),
        "emoji-vq",
        TransformerRecipe(steps=1600, batch=64, lr=2e-3, warmup=100, ema=0.998),
    ),
    "still-var-d6": ModelPreset(
        VARConfig(depth=6, width=192, classes=10, vocab=4096, z=16, scales=STILL_SCALES, gamma_init=0.1),
        "still-vq",
        TransformerRecipe(steps=3000, batch=64, lr=1.5e-3, warmup=100, ema=0.998),
    ),
    # The FID is the paper's (arXiv 2404.02905, tables 1 and 2); d36 is for 512 x 512.
    "var-d16": published(16, 1e-3, imagenet(200, 768, 1e-4, 0.1), 3.30),
    "var-d20": published(20, 1e-3, imagenet(250, 768, 1e-4, 0.1), 2.57),
    "var-d24": published(24, 1e-4, imagenet(350, 768, 8e-5, 0.01), 2.09),
    "var-d30": published(30, 1e-5, imagenet(350, 1024, 8e-5, 0.01, 0.08), 1.92),
    "var-d36": published(36, 5e-6, imagenet(350, 768, 8e-5, 0.01, 0.08), 2.63, scales=SCALES_512, shared_adaln=True),
    # The FID is the paper's (arXiv 2411.10433); trained as VAR of that depth. d32 by the recipe of d30: its own is not
    # given. The paper counts 3.0 billion parameters for it, as many as a depth of 30 would have; 32 is what its code
    # gives the file. Their repository has d12.pth and d30.pth as well: no preset, since how they were trained is not
    # said.
    "mvar-d16": published_mvar(16, 1e-3, imagenet(200, 768, 1e-4, 0.1), 3.07, attn_norm=False),
    "mvar-d20": published_mvar(20, 1e-3, imagenet(250, 768, 1e-4, 0.1), 2.41, attn_norm=False),
    "mvar-d24": published_mvar(24, 1e-4, imagenet(350, 768, 8e-5, 0.01), 1.93),
    "mvar-d32": published_mvar(32, 1e-5, imagenet(350, 1024, 8e-5, 0.01, 0.08), 1.78),
}


def relative(of: str, origin: Origin, name: str | int, fid: float) -> ModelPreset:
    """A published model that was trained further from another, whose `recipe` it keeps; it loads as that one does."""
    return replace(MODELS[of], hub=(origin.repository, origin.file.format(name)), origin=origin, fid=fid)


# Guidance-free: varlite/training/cca.py. Names of files, FID and settings are those of the repository thu-ml/CCA, which
# has no licence file; MIT is what the weights' page on the hub says.
CCA_HUB = Origin(
    "ChenDRAG/CCA_VAR", "CCA_VAR_Guidance_Free/VAR_d{}_CCA.pth", "MIT", "arXiv 2410.09347",
    "cfg 0, top-k 900, top-p 0.96",
)  # fmt: skip
MODELS |= {
    f"cca-d{depth}": relative(f"var-d{depth}", CCA_HUB, depth, fid)
    for depth, fid in ((16, 4.03), (20, 3.02), (24, 2.63), (30, 2.54))
}
# A large drafter for the first N of ten scales, a small refiner for the rest (repository czg1225/CoDe, whose licence is
# MIT): neither is meant to be used alone. Their temperature, of the first seven scales, is none that sampling here has.
CODE_HUB = Origin(
    "Zigeng/VAR_CoDe", "{}.pth", "MIT", "arXiv 2411.17787",
    "cfg 1.5, top-k 600, top-p 0.96, temperature 1.1 at seven scales, N scales by drafter N and the rest by refiner N",
)  # fmt: skip
MODELS |= {
    f"code-{role}-{n}": relative(of, CODE_HUB, f"{role}_{n}", fid)
    for role, of in (("drafter", "var-d30"), ("refiner", "var-d16"))
    for n, fid in ((9, 1.94), (8, 1.98), (7, 2.11), (6, 2.27))
}

Row = TypeVar("Row")


def choose(table: dict[str, Row], name: str, what: str) -> Row:
    """A row of a table of presets. Raises ValueError that lists the rows there are."""
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}; there are: {', '.join(table)}")
    return table[name]


def import_models(paths: str) -> None:
    """Run files that register a kind of model and add their rows to the tables above.

    `paths` is what VARLITE_MODELS holds: files, separated as in PATH. So a variant can live outside the package.
    Raises ValueError for a file that is not there.
    """
    for path in filter(None, paths.split(os.pathsep)):
        if not Path(path).is_file():
            raise ValueError(f"VARLITE_MODELS: there is no file {path}")
        spec = spec_from_file_location(Path(path).stem, path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[spec.name] = module_from_spec(spec)
        spec.loader.exec_module(module)


import_models(os.environ.get("VARLITE_MODELS", ""))
