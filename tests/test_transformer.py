import math

import pytest
import torch
import torch.nn.functional as F

from varlite.transformer import (
    FFN,
    AdaLN,
    Attention,
    Block,
    ClassEmbedding,
    Head,
    KVCache,
    SharedAdaLN,
    drop_path,
    modulate,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def attention(normalise):
    layer = Attention(16, 2, normalise).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


def plain_attention(layer, x_BlC, mask_ll, scale, normalise):
    """As described, head by head."""
    q, k, v = (x_BlC @ layer.qkv.weight.T).chunk(3, -1)
    heads = []
    for n in range(2):
        part = slice(8 * n, 8 * n + 8)
        q_n, k_n, v_n = q[..., part] + layer.q_bias[part], k[..., part], v[..., part] + layer.v_bias[part]
        if normalise:
            q_n, k_n = (t / t.norm(dim=-1, keepdim=True) for t in (q_n, k_n))
        weights = (q_n @ k_n.mT * scale[n]).masked_fill(~mask_ll, -torch.inf).softmax(-1)
        heads.append(weights @ v_n)
    return layer.proj(torch.cat(heads, -1))


@pytest.mark.parametrize("normalise", [True, False])
def test_attention_equals_its_description(normalise):
    layer, x = attention(normalise), torch.randn(2, 6, 16, dtype=torch.float64)
    mask = torch.ones(6, 6).tril().bool()
    scale = layer.log_scale.exp() if normalise else [0.25 / math.sqrt(8)] * 2
    torch.testing.assert_close(layer(x, mask), plain_attention(layer, x, mask, scale, normalise))
    torch.testing.assert_close(layer(x), layer(x, torch.ones(6, 6).bool()))


def test_the_attention_scale_is_capped_at_100_and_starts_at_4():
    torch.testing.assert_close(Attention(16, 2, True).log_scale.exp(), torch.full((2,), 4.0))
    layer, x = attention(True), torch.randn(2, 6, 16, dtype=torch.float64)
    torch.nn.init.constant_(layer.log_scale, 50.0)
    expected = plain_attention(layer, x, torch.ones(6, 6).bool(), [100, 100], True)
    torch.testing.assert_close(layer(x), expected)
    layer(x).sum().backward()
    assert not layer.log_scale.grad.any()


def test_keys_have_no_bias():
    assert set(dict(attention(True).named_parameters())) == {
        "qkv.weight", "q_bias", "v_bias", "log_scale", "proj.weight", "proj.bias"
    }  # fmt: skip
    assert attention(False).log_scale is None


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("lengths", [(1, 4, 9), (14,), (2, 2, 2)])
def test_attention_with_a_cache_equals_attention_under_the_block_causal_mask(normalise, lengths):
    layer, L = attention(normalise), sum(lengths)
    x, cache = torch.randn(2, L, 16, dtype=torch.float64), KVCache(L)
    pieces = torch.cat([layer(piece, cache=cache) for piece in x.split(lengths, 1)], 1)
    level = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    torch.testing.assert_close(pieces, layer(x, level[:, None] >= level))
    assert cache.used == cache.keys.shape[2] == L


def test_a_cache_takes_its_memory_once_and_hands_out_views():
    cache, kv = KVCache(5), torch.randn(2, 3, 2, 4)
    cache.append(kv, kv)
    storage = cache.keys.data_ptr()
    keys, values = cache.append(2 * kv, 3 * kv)
    assert keys.data_ptr() == storage and keys.shape == (2, 3, 4, 4)
    assert torch.equal(keys, torch.cat((kv, 2 * kv), 2)) and torch.equal(values, torch.cat((kv, 3 * kv), 2))


def test_modulation_is_layer_norm_then_scale_and_shift():
    x, scale, shift = torch.randn(2, 5, 8), torch.randn(2, 1, 8), torch.randn(2, 1, 8)
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(modulate(x, scale, shift), normed * (1 + scale) + shift)


def test_a_shared_adaln_adds_its_own_offset_to_the_common_vectors():
    layer, common = SharedAdaLN(4, 6), torch.randn(3, 24)
    expected = common.view(3, 1, 6, 4) + layer.offset_nC
    for i, vector in enumerate(layer(common)):
        torch.testing.assert_close(vector, expected[:, :, i])


def test_a_block_takes_gates_then_scales_then_shifts_from_the_condition():
    block, x, cond = Block(16, 2, 32, True, "own", 0.0), torch.randn(2, 5, 16), torch.randn(2, 16)
    vectors = F.linear(F.silu(cond), block.ada_ln.linear.weight, block.ada_ln.linear.bias)
    g1, g2, s1, s2, b1, b2 = (v[:, None] for v in vectors.chunk(6, -1))
    norm = torch.nn.LayerNorm(16, eps=1e-6, elementwise_affine=False)
    h = x + g1 * block.attn(norm(x) * (1 + s1) + b1)
    h = h + g2 * block.ffn(norm(h) * (1 + s2) + b2)
    torch.testing.assert_close(block(x, cond), h)


def test_without_adaln_a_block_and_a_head_are_plain_and_deaf_to_the_condition():
    block, head = Block(16, 2, 32, True, "none", 0.0), Head(16, 6, "none")
    x, cond = torch.randn(2, 5, 16), torch.randn(2, 16)
    for weight in (block.ada_ln.norm_nC, head.ada_ln.norm_nC):
        torch.nn.init.normal_(weight)
    (s1, s2, b1, b2), (s3, b3) = block.ada_ln.norm_nC, head.ada_ln.norm_nC
    norm = torch.nn.LayerNorm(16, eps=1e-6, elementwise_affine=False)
    h = x + block.attn(norm(x) * (1 + s1) + b1)
    h = h + block.ffn(norm(h) * (1 + s2) + b2)
    torch.testing.assert_close(block(x, cond), h)
    torch.testing.assert_close(head(x, cond), head.linear(norm(x) * (1 + s3) + b3))
    assert torch.equal(block(x, cond), block(x, -cond)) and torch.equal(head(x, cond), head(x, -cond))


def test_the_feed_forward_uses_the_tanh_form_of_gelu():
    ffn, x = FFN(4, 8), torch.randn(3, 4)
    h = ffn.fc1(x)
    gelu = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    torch.testing.assert_close(ffn(x), ffn.fc2(gelu))


def test_the_head_takes_scale_then_shift_and_gives_float32_under_autocast():
    head, x, cond = Head(8, 6, "own"), torch.randn(2, 3, 8), torch.randn(2, 8)
    scale, shift = AdaLN.forward(head.ada_ln, cond)
    torch.testing.assert_close(head(x, cond), head.linear(modulate(x, scale, shift)))
    with torch.autocast("cpu", torch.bfloat16):
        assert head(x, cond).dtype == torch.float32


def test_drop_path_leaves_out_whole_images_in_training_and_keeps_the_mean():
    x = torch.ones(20_000, 2, 3)
    dropped = drop_path(x, 0.25, training=True)
    per_image = dropped.flatten(1)
    assert (per_image == per_image[:, :1]).all()
    torch.testing.assert_close(per_image[:, 0].unique(), torch.tensor([0, 1 / 0.75]))
    assert abs(per_image[:, 0].mean() - 1) < 0.02
    assert drop_path(x, 0.25, training=False) is x and drop_path(x, 0.0, training=True) is x


def test_the_class_table_has_one_row_more_for_the_null_class():
    embed = ClassEmbedding(10, 4)
    assert embed.null == 10 and embed.table.weight.shape == (11, 4)
    assert torch.equal(embed(torch.tensor([10, 3])), embed.table.weight[[10, 3]])
