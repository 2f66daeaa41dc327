import pytest
import torch
import torch.nn.functional as F

from varlite.autoencoder import Decoder, Downsample, Encoder, ResidualBlock, SpatialAttention, Upsample
from varlite.tokenizer import VQVAE, TokenizerConfig


@pytest.mark.parametrize(
    ("size", "channels", "ch", "multipliers", "blocks"),
    [
        ((8, 8), 1, 32, (1, 1), (1, 1)),
        ((12, 20), 3, 32, (1, 2, 3), (0, 1, 2)),
        ((5, 3), 2, 64, (1,), (1,)),
        ((16, 8), 4, 32, (2, 1, 1, 1), (1, 0, 0, 1)),
    ],
)
def test_sides_channels_width_and_levels_are_free(size, channels, ch, multipliers, blocks):
    encoder, decoder = (cls(channels, 6, ch, multipliers, blocks) for cls in (Encoder, Decoder))
    f = encoder(torch.randn(2, channels, *size))
    stride = 2 ** (len(multipliers) - 1)
    assert f.shape == (2, 6, size[0] // stride, size[1] // stride)
    assert decoder(f).shape == (2, channels, *size)


@pytest.mark.parametrize("side", [256, 512])
def test_the_published_sizes_give_maps_of_a_sixteenth_and_109_million_parameters(side):
    with torch.device("meta"):
        tokenizer = VQVAE(TokenizerConfig())
        f = tokenizer.encoder(torch.empty(1, 3, side, side))
        assert f.shape == (1, 32, side // 16, side // 16)
        assert tokenizer.decoder(f).shape == (1, 3, side, side)
    assert round(sum(p.numel() for p in tokenizer.parameters()) / 1e6) == 109


def test_attention_stands_at_the_lowest_resolution_and_in_the_middle_alone():
    encoder, decoder = (cls(3, 8, 32, (1, 1, 2), (2, 2, 2)) for cls in (Encoder, Decoder))
    assert [len(level.attentions) for level in encoder.levels] == [0, 0, 2]
    assert [len(level.attentions) for level in decoder.levels] == [2, 0, 0]
    for net in (encoder, decoder):
        assert isinstance(net.middle[1], SpatialAttention)


def test_spatial_attention_is_softmax_attention_over_positions_with_a_residual():
    torch.manual_seed(0)
    layer, x = SpatialAttention(32), torch.randn(2, 32, 3, 4)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, dim=1)
    weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / 32**0.5, dim=-1)
    expected = x + layer.proj(torch.einsum("bij,bcj->bci", weights, v).unflatten(2, (3, 4)))
    torch.testing.assert_close(layer(x), expected)


def test_downsampling_pads_with_zeros_right_and_below_and_upsampling_repeats_pixels():
    torch.manual_seed(0)
    down, up, x = Downsample(4), Upsample(4), torch.randn(1, 4, 6, 8)
    canvas = torch.zeros(1, 4, 7, 9)
    canvas[..., :6, :8] = x
    torch.testing.assert_close(down(x), F.conv2d(canvas, down.conv.weight, down.conv.bias, stride=2))
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(up(x), F.conv2d(doubled, up.conv.weight, up.conv.bias, padding=1))


def test_a_residual_block_has_a_shortcut_convolution_only_where_channels_change():
    x = torch.randn(1, 32, 4, 4)
    same, wider = ResidualBlock(32, 32), ResidualBlock(32, 64)
    for block, shortcut in ((same, x), (wider, wider.shortcut(x))):
        torch.nn.init.zeros_(block.conv2.weight)
        torch.nn.init.zeros_(block.conv2.bias)
        assert torch.equal(block(x), shortcut)
    assert not list(same.shortcut.parameters())
