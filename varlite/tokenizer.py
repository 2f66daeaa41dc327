"""VQVAE: image <-> token maps, coarse to fine (VAR, arXiv 2404.02905, section 3.2)."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from varlite.autoencoder import Decoder, Encoder
from varlite.io.checks import brief, value_range
from varlite.io.hub_habits import HubHabits
from varlite.quantizer import MultiScaleQuantizer
from varlite.scales import Scales


@dataclass(frozen=True)
class TokenizerConfig:
    """Everything that shapes a tokenizer; the defaults are the published ImageNet model's.

    `multipliers`, `encoder_blocks` and `decoder_blocks` list the levels from full resolution to the lowest.
    """

    channels: int = 3
    vocab: int = 4096
    z: int = 32
    ch: int = 160
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    encoder_blocks: tuple[int, ...] = (2, 2, 2, 2, 2)
    decoder_blocks: tuple[int, ...] = (3, 3, 3, 3, 3)
    scales: list = field(default_factory=lambda: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16])
    phi_shared: int = 4
    phi_ratio: float = 0.5
    znorm: bool = False

    def __post_init__(self):
        for name in ("multipliers", "encoder_blocks", "decoder_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        object.__setattr__(self, "scales", Scales.of(self.scales).sides)
        if not len(self.multipliers) == len(self.encoder_blocks) == len(self.decoder_blocks):
            raise ValueError(
                "multipliers, encoder_blocks and decoder_blocks must have one entry for each level, got "
                f"{len(self.multipliers)}, {len(self.encoder_blocks)} and {len(self.decoder_blocks)}"
            )
        if self.ch % 32:
            raise ValueError(f"ch must be a multiple of 32 (group normalisation has 32 groups), got {self.ch}")


class VQVAE(HubHabits, nn.Module):
    """The multi-scale tokenizer.

    Images go in and come out as (B, channels, H, W) in [-1, 1]. `scales` is an argument with a default everywhere: the
    same weights serve other schedules and sides, as the published tokenizer serves 256 and 512 pixels.
    """

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        c = self.config = config
        self.scales = Scales.of(c.scales)
        self.encoder = Encoder(c.channels, c.z, c.ch, c.multipliers, c.encoder_blocks)
        self.pre_quant = nn.Conv2d(c.z, c.z, 3, padding=1)
        self.quantizer = MultiScaleQuantizer(c.vocab, c.z, self.scales, c.phi_shared, c.phi_ratio, c.znorm)
        self.post_quant = nn.Conv2d(c.z, c.z, 3, padding=1)
        self.decoder = Decoder(c.channels, c.z, c.ch, c.multipliers, c.decoder_blocks)

    def schedule(self, scales: Scales | None) -> Scales:
        """The scales of a call: its own, or else the tokenizer's. Raises ValueError for more than it can serve."""
        found = self.scales if scales is None else Scales.of(scales)
        if self.config.phi_shared == 0 and len(self.quantizer.phis) < found.K:
            raise ValueError(
                f"scales: this tokenizer has a convolution of its own for each of {len(self.quantizer.phis)} scales, "
                f"got {found.K}"
            )
        return found

    @property
    def stride(self) -> int:
        """Pixels of the image for each side of a latent."""
        return 2 ** (len(self.config.multipliers) - 1)

    def image_size(self, scales: Scales | None = None) -> tuple[int, int]:
        """(H, W) that a schedule of scales stands for."""
        h, w = self.schedule(scales).last
        return h * self.stride, w * self.stride

    # Image -> tokens

    def features(self, img_B3HW: torch.Tensor, scales: Scales | None = None) -> torch.Tensor:
        """Encoder output f_BZhw before quantization, for images in [-1, 1].

        Raises ValueError for anything but floats of the schedule's shape on the tokenizer's device.
        """
        self.check_image(img_B3HW, scales)
        return self.pre_quant(self.encoder(img_B3HW.to(self.pre_quant.weight.dtype)))

    def encode(self, img_B3HW: torch.Tensor, scales: Scales | None = None) -> list[torch.Tensor]:
        """Images in [-1, 1] -> token maps [idx_Bl], one for each scale, int64 in [0, V).

        Raises ValueError as `features` does, and for values outside [-1, 1]. Warns if they seem to be in [0, 1].
        """
        self.check_image(img_B3HW, scales)
        check_pixels(img_B3HW)
        return self.quantizer.encode(self.features(img_B3HW, scales), self.schedule(scales))[0]

    def check_image(self, img_B3HW: torch.Tensor, scales: Scales | None) -> None:
        """Raises ValueError for images of another type, shape or device than `features` takes."""
        shape, device = (self.config.channels, *self.image_size(scales)), self.pre_quant.weight.device
        if not isinstance(img_B3HW, torch.Tensor):
            raise ValueError(f"img must be a tensor of floats in [-1, 1], got {brief(img_B3HW)}")
        if img_B3HW.ndim != 4 or tuple(img_B3HW.shape[1:]) != shape:
            raise ValueError(f"img must have shape (B, {', '.join(map(str, shape))}), got {tuple(img_B3HW.shape)}")
        if not img_B3HW.is_floating_point():
            raise ValueError(f"img must be floating point in [-1, 1], got {img_B3HW.dtype}; bytes are x / 127.5 - 1")
        if img_B3HW.device != device:
            raise ValueError(f"img must be on the tokenizer's device, {device}, got {img_B3HW.device}")

    # Tokens -> image, in the three steps that sampling takes as well

    def embed(self, idx_Bl: torch.Tensor) -> torch.Tensor:
        """Code embeddings h_BlZ of tokens."""
        return self.quantizer.codebook(idx_Bl)

    def empty(self, batch: int, scales: Scales | None = None) -> torch.Tensor:
        """f_hat_BZhw before the first scale: zeros."""
        weight = self.quantizer.codebook.weight
        return weight.new_zeros(batch, self.config.z, *(scales or self.scales).last)

    def accumulate(
        self, f_hat: torch.Tensor, h_BlZ: torch.Tensor, k: int, scales: Scales | None = None
    ) -> torch.Tensor:
        """f_hat after scale k, from f_hat before it and the scale's code embeddings."""
        return self.quantizer.accumulate(f_hat, h_BlZ, k, scales or self.scales)

    def next_input(self, f_hat: torch.Tensor, k: int, scales: Scales | None = None) -> torch.Tensor:
        """What the transformer is given at scale k + 1, (B, l, Z), from f_hat after scale k."""
        return self.quantizer.next_input(f_hat, k, scales or self.scales)

    def to_image(self, f_hat: torch.Tensor) -> torch.Tensor:
        """Decode f_hat_BZhw, finished or not, to images in [-1, 1]."""
        # Convolutions are quickest in this layout, which each layer passes on to the next.
        f_hat = f_hat.contiguous(memory_format=torch.channels_last)
        return self.decoder(self.post_quant(f_hat)).clamp(-1, 1).contiguous()

    def inputs(self, idx: list[torch.Tensor], scales: Scales | None = None) -> torch.Tensor:
        """Teacher-forcing inputs of scales 1 .. K-1, (B, L - l_0, Z), from token maps."""
        scales = self.schedule(scales)
        self.check_tokens(idx, scales, max(1, scales.K - 1))
        f_hat = self.empty(len(idx[0]), scales)
        inputs = [f_hat.new_empty(len(f_hat), 0, self.config.z)]
        for k in range(scales.K - 1):
            f_hat = self.accumulate(f_hat, self.embed(idx[k]), k, scales)
            inputs.append(self.next_input(f_hat, k, scales))
        return torch.cat(inputs, 1)

    def decode(self, idx: list[torch.Tensor], scales: Scales | None = None) -> torch.Tensor:
        """Token maps [idx_Bl] -> images in [-1, 1]; the first k maps alone give the picture after k scales."""
        scales = self.schedule(scales)
        self.check_tokens(idx, scales)
        f_hat = self.empty(len(idx[0]), scales)
        for k, idx_Bl in enumerate(idx):
            f_hat = self.accumulate(f_hat, self.embed(idx_Bl), k, scales)
        return self.to_image(f_hat)

    def check_tokens(self, idx: list[torch.Tensor], scales: Scales, least: int = 1) -> None:
        """Raises ValueError unless these are the token maps of the first scales, at least so many of them."""
        V, device, K = self.config.vocab, self.quantizer.codebook.weight.device, scales.K
        if not isinstance(idx, list | tuple) or not all(isinstance(idx_Bl, torch.Tensor) for idx_Bl in idx):
            raise ValueError(f"idx must be a list of token maps (B, l), one for each scale, got {brief(idx)}")
        shapes = [tuple(idx_Bl.shape) for idx_Bl in idx]
        if not least <= len(idx) <= K or shapes != [(*shapes[0][:1], l) for l in scales.lengths[: len(idx)]]:
            raise ValueError(f"idx must be {least} to {K} maps (B, l) with l = {scales.lengths}, got shapes {shapes}")
        for idx_Bl in idx:
            if idx_Bl.dtype not in (torch.int64, torch.int32) or idx_Bl.device != device:
                raise ValueError(f"idx must be int64 on {device}, got {idx_Bl.dtype} on {idx_Bl.device}")
        # Looking at values makes a GPU wait, and training comes by here at every step.
        found = value_range(torch.cat(idx, 1)) if device.type == "cpu" else None
        if found is not None and not 0 <= found[0] <= found[1] < V:
            raise ValueError(f"idx must hold codes in 0 .. {V - 1}, got {found[0]:g} to {found[1]:g}")

    # Training

    def forward(self, img_B3HW: torch.Tensor, beta: float = 0.25) -> "Pass":
        """One training pass.

        The quantizer loss is the mean over scales of beta |sg(f_hat_k) - f|^2 + |f_hat_k - sg(f)|^2, where f_hat_k is
        the sum after scale k; the decoder's gradient reaches the encoder by one straight-through step at the end.
        """
        f = self.features(img_B3HW).float()
        idx, f_hats = self.quantizer.encode(f, self.scales)
        losses = [beta * F.mse_loss(f, h.detach()) + F.mse_loss(h, f.detach()) for h in f_hats]
        f_hat = f + (f_hats[-1] - f).detach()
        return Pass(self.decoder(self.post_quant(f_hat)), torch.stack(losses).mean(), idx, f.detach(), f_hats)


def check_pixels(img_B3HW: torch.Tensor) -> None:
    """Raises ValueError for NaN and for values outside [-1, 1] by more than rounding.

    Warns, once, where no pixel is below 0 and they are too different for a flat picture: it is probably in [0, 1].
    """
    low, high = value_range(img_B3HW) or (0.0, 0.0)
    if not (low >= -1.05 and high <= 1.05):
        raise ValueError(
            f"img must lie in [-1, 1] without NaN, got values from {low:g} to {high:g}; bytes are x / 127.5 - 1"
        )
    if low >= 0 and high - low > 0.5:
        warnings.warn("img has no value below 0; it must lie in [-1, 1], and one in [0, 1] is 2 x - 1", stacklevel=1)


class Pass(NamedTuple):
    """What a training pass gives."""

    reconstruction: torch.Tensor  # (B, channels, H, W), not clamped
    quantizer_loss: torch.Tensor  # a scalar
    idx: list[torch.Tensor]  # token maps [idx_Bl]
    f: torch.Tensor  # encoder output f_BZhw, without gradient
    f_hats: list[torch.Tensor]  # the sum after each scale


DECODER = ("decoder.", "post_quant.")


def fingerprint(tokenizer: VQVAE) -> str:
    """SHA-256 of the weights that tokens depend on, encoder, codebook and phi, and of the schedule; no decoder."""
    return _digest(tokenizer, str(tokenizer.scales.sides), lambda name: not name.startswith(DECODER))


def decoder_fingerprint(tokenizer: VQVAE) -> str:
    """SHA-256 of what else pictures depend on: the decoder, which may be trained further while tokens stay."""
    return _digest(tokenizer, "", lambda name: name.startswith(DECODER))


def _digest(tokenizer: VQVAE, about: str, part: Callable[[str], bool]) -> str:
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tokenizer.state_dict().items()):
        if part(name):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
