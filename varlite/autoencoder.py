"""The convolutional encoder and decoder of VQGAN (arXiv 2012.09841, table 7), at any size.

img_B3HW --Encoder--> f_BZhw          f_hat_BZhw --Decoder--> img_B3HW
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with the 32 groups and the epsilon of the published models."""
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1x1 convolution on x where the channels change."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.norm1, self.conv1 = norm(channels_in), nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2, self.conv2 = norm(channels_out), nn.Conv2d(channels_out, channels_out, 3, padding=1)
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class SpatialAttention(nn.Module):
    """x + proj(attention(norm(x))): one head, every position sees every other."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
        """Queries, keys and values (B, 1, h w, channels), and the factor of q k before softmax."""
        B, channels, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(B, 3, channels, h * w).transpose(2, 3)
        # The axis of one head sends short sequences to the fused kernel as well.
        q, k, v = qkv.unsqueeze(2).unbind(1)
        return q, k, v, 1 / math.sqrt(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v, scale = self.project(x)
        out = F.scaled_dot_product_attention(q, k, v, scale=scale).squeeze(1)
        return x + self.proj(out.transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Halve the sides. Zeros go right and below only, so that an even side gives exactly half."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the sides: nearest neighbour, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Level(nn.Module):
    """All that happens at one resolution: residual blocks, each with its attention if any, then the change of size."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int, attention: bool, resample: type | None):
        super().__init__()
        widths = [channels_in] + [channels_out] * blocks
        self.blocks = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise(widths))
        self.attentions = nn.ModuleList(SpatialAttention(channels_out) for _ in range(blocks if attention else 0))
        # A level without blocks (the small preset's full resolution) keeps the channels it was given.
        self.channels = widths[-1]
        self.resample = nn.Identity() if resample is None else resample(self.channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x)
            if self.attentions:
                x = self.attentions[i](x)
        return self.resample(x)


def middle(channels: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(channels, channels), SpatialAttention(channels), ResidualBlock(channels, channels)
    )


class Encoder(nn.Module):
    """img (B, channels, H, W) -> f (B, Z, h, w), where h = H / 2 ** (levels - 1).

    `multipliers` give the width of each level as a multiple of `ch`, full resolution first; `blocks` how many residual
    blocks each has.
    """

    def __init__(self, channels: int, Z: int, ch: int, multipliers: tuple[int, ...], blocks: tuple[int, ...]):
        super().__init__()
        self.conv_in = nn.Conv2d(channels, ch, 3, padding=1)
        self.levels = nn.ModuleList()
        width, last = ch, len(multipliers) - 1
        for i, (multiplier, n) in enumerate(zip(multipliers, blocks, strict=True)):
            level = Level(width, ch * multiplier, n, attention=i == last, resample=None if i == last else Downsample)
            self.levels.append(level)
            width = level.channels
        self.middle = middle(width)
        self.norm_out, self.conv_out = norm(width), nn.Conv2d(width, Z, 3, padding=1)

    def forward(self, img_B3HW: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(img_B3HW)
        for level in self.levels:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.middle(x))))


class Decoder(nn.Module):
    """f_hat (B, Z, h, w) -> img (B, channels, H, W): the encoder's levels in the opposite order.

    `multipliers` and `blocks` are listed as for the encoder, full resolution first.
    """

    def __init__(self, channels: int, Z: int, ch: int, multipliers: tuple[int, ...], blocks: tuple[int, ...]):
        super().__init__()
        width, last = ch * multipliers[-1], len(multipliers) - 1
        self.conv_in = nn.Conv2d(Z, width, 3, padding=1)
        self.middle = middle(width)
        self.levels = nn.ModuleList()
        for i in reversed(range(last + 1)):
            level = Level(width, ch * multipliers[i], blocks[i], attention=i == last, resample=Upsample if i else None)
            self.levels.append(level)
            width = level.channels
        self.norm_out, self.conv_out = norm(width), nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, f_hat_BZhw: torch.Tensor) -> torch.Tensor:
        x = self.middle(self.conv_in(f_hat_BZhw))
        for level in self.levels:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))
