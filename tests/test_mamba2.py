import inspect
import math
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode

from varlite import mamba2
from varlite.mamba2 import TAPS, E, Mamba2, Mamba2State, S, scan

TOLERANCE = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


def plain_scan(x_BlNE, dt_BlN, A_N, b_BlS, c_BlS, h_BNES):
    """The recurrence as it is written, one token after another."""
    y_BNE = []
    for x, dt, b, c in zip(x_BlNE.unbind(1), dt_BlN.unbind(1), b_BlS.unbind(1), c_BlS.unbind(1), strict=True):
        decay = torch.exp(dt * A_N)[:, :, None, None]
        h_BNES = decay * h_BNES + (dt[:, :, None] * x)[:, :, :, None] * b[:, None, None, :]
        y_BNE.append((h_BNES * c[:, None, None, :]).sum(-1))
    return torch.stack(y_BNE, 1), h_BNES


def plain_layer(layer, u_BlC):
    """The layer as it is described, convolution and scan token by token."""
    z, xbc, dt = F.linear(u_BlC, layer.in_proj.weight).split(layer.sizes, -1)
    convolved = torch.zeros_like(xbc) + layer.conv1d.bias
    for t in range(xbc.shape[1]):
        for tap in range(TAPS):
            if (source := t - (TAPS - 1) + tap) >= 0:
                convolved[:, t] += layer.conv1d.weight[:, 0, tap] * xbc[:, source]
    x, b, c = F.silu(convolved).split((z.shape[-1], S, S), -1)
    x = x.unflatten(-1, (layer.heads, E))
    h = x.new_zeros(x.shape[0], layer.heads, E, S)
    y, _ = plain_scan(x, torch.log1p(torch.exp(dt + layer.dt_bias)), -torch.exp(layer.A_log), b, c, h)
    gated = (y + layer.D[:, None] * x).flatten(-2) * F.silu(z)
    normed = gated / gated.pow(2).mean(-1, keepdim=True).add(1e-5).sqrt()
    return F.linear(normed * layer.norm.weight, layer.out_proj.weight)


def scan_inputs(l, dtype=torch.float64, B=2, N=3):
    """Steps and decays from hardly any to nearly complete forgetting, and a state to start from."""
    g = torch.Generator().manual_seed(l)
    x, b, c, h = (torch.randn(s, generator=g, dtype=dtype) for s in ((B, l, N, 5), (B, l, 7), (B, l, 7), (B, N, 5, 7)))
    dt = F.softplus(3 * torch.randn(B, l, N, generator=g, dtype=dtype) - 3)
    return x, dt, -torch.tensor([0.01, 1.0, 16.0], dtype=dtype), b / 7**0.5, c, h


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Mamba2(64).double()


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE)
@pytest.mark.parametrize(("l", "chunk"), [(1, 64), (5, 64), (64, 64), (150, 64), (150, 16), (150, 1), (150, 1000)])
def test_the_chunked_scan_equals_the_recurrence(l, chunk, dtype, tolerance):
    inputs = scan_inputs(l, dtype)
    for ours, plain in zip(scan(*inputs, chunk=chunk), plain_scan(*inputs), strict=True):
        torch.testing.assert_close(ours, plain, atol=tolerance, rtol=tolerance)


def test_the_chunked_scan_has_the_gradients_of_the_recurrence():
    gradients = []
    for function in (scan, plain_scan):
        inputs = [t.requires_grad_() for t in scan_inputs(70)]
        y, h = function(*inputs)
        gradients.append(torch.autograd.grad(y.square().sum() + h.sin().sum(), inputs))
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=1e-10)


def test_a_scan_without_a_state_starts_from_zero():
    *inputs, h = scan_inputs(9)
    assert torch.equal(scan(*inputs)[0], scan(*inputs, torch.zeros_like(h))[0])


def test_float32_still_resolves_small_decays_after_a_token_that_made_the_state_forget_all():
    x, dt, A, b, c, h = scan_inputs(40, torch.float32)
    dt = torch.full_like(dt, 1e-3)
    dt[:, 3] = 1e4
    y, _ = scan(x, dt, A, b, c, h)
    exact, _ = plain_scan(*(t.double() for t in (x, dt, A, b, c, h)))
    torch.testing.assert_close(y[:, 4:].double(), exact[:, 4:], atol=0, rtol=1e-4)
    assert y.isfinite().all()


def test_the_scan_is_not_made_coarser_by_autocast():
    inputs = scan_inputs(100, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y, h = scan(*inputs)
    assert torch.equal(y, scan(*inputs)[0]) and h.dtype == torch.float32


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE)
def test_the_layer_equals_its_description_token_by_token(layer, dtype, tolerance):
    u_BlC = torch.randn(2, 150, 64, dtype=dtype)
    torch.testing.assert_close(layer.to(dtype)(u_BlC), plain_layer(layer, u_BlC), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("lengths", [(1, 4, 9, 16, 70), (1, 1, 1, 1, 1, 1), (2, 1, 3, 2), (80, 2, 80), (3, 4)])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE)
def test_pieces_with_a_carried_state_equal_the_whole(layer, lengths, dtype, tolerance):
    layer, u_BlC, state = layer.to(dtype), torch.randn(2, sum(lengths), 64, dtype=dtype), Mamba2State()
    pieces = torch.cat([layer(piece, state) for piece in u_BlC.split(lengths, 1)], 1)
    torch.testing.assert_close(pieces, layer(u_BlC), atol=tolerance, rtol=tolerance)


def test_two_states_do_not_disturb_each_other(layer):
    one, other = torch.randn(2, 1, 20, 64, dtype=torch.float64)
    states, outputs = (Mamba2State(), Mamba2State()), ([], [])
    for pair in zip(one.split(5, 1), other.split(5, 1), strict=True):
        for u, state, output in zip(pair, states, outputs, strict=True):
            output.append(layer(u, state))
    torch.testing.assert_close(torch.cat(outputs[0], 1), layer(one), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(torch.cat(outputs[1], 1), layer(other), atol=1e-10, rtol=1e-10)


def test_a_state_takes_the_same_memory_after_one_token_and_after_many(layer):
    def memory(tokens):
        state = Mamba2State()
        layer(torch.randn(1, tokens, 64, dtype=torch.float64), state)
        return [t.untyped_storage().nbytes() for t in (state.conv, state.ssm)]

    assert memory(1) == memory(300)


def test_an_output_does_not_change_with_later_tokens(layer):
    u_BlC = torch.randn(1, 100, 64, dtype=torch.float64)
    changed = u_BlC.clone()
    changed[:, 70:] += 1
    before, after = layer(u_BlC), layer(changed)
    assert torch.equal(before[:, :70], after[:, :70])
    assert not torch.isclose(before[:, 70:], after[:, 70:]).all(-1).any()


def test_a_new_layer_has_decays_and_steps_in_the_usual_ranges():
    layer = Mamba2(1024)
    A, dt = layer.A_log.exp(), F.softplus(layer.dt_bias)
    assert A.min() >= 1 and A.max() <= 16 and A.std() > 2
    assert dt.min() >= 0.99e-3 and dt.max() <= 1.01e-1
    assert abs(dt.log().mean() - math.log(1e-2)) < 1  # log-uniform: the median is the geometric mean of the ends
    assert torch.equal(layer.D, torch.ones(32))


def test_a_width_that_does_not_divide_into_heads_is_refused():
    with pytest.raises(ValueError, match=r"multiple of 32 .*, got 48"):
        Mamba2(48)


def published_kernel(
    x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None, initial_states=None, return_final_states=False
):
    """What mamba_ssm documents of mamba_chunk_scan_combined: (B, l, N, E), (B, l, N), (N,), two (B, l, groups, S)."""
    assert dt.shape == x.shape[:3] and A.shape == x.shape[2:3] and return_final_states
    assert B.shape == C.shape == (*x.shape[:2], 1, S) and chunk_size == mamba2.CHUNK
    state = x.new_zeros(x.shape[0], *x.shape[2:], S)
    assert initial_states is None or initial_states.shape == state.shape
    return torch.zeros_like(x), state


def test_on_a_gpu_the_fused_kernel_does_the_scan_where_it_is_installed(monkeypatch):
    calls = []

    def kernel(*args, **kwargs):
        calls.append(inspect.signature(published_kernel).bind(*args, **kwargs).arguments)
        return published_kernel(*args, **kwargs)

    monkeypatch.setattr(mamba2, "cuda_kernel", lambda: kernel)
    for device in ("cuda", "cpu"):
        with FakeTensorMode(), torch.device(device):
            layer, state, u_BlC = Mamba2(64), Mamba2State(), torch.rand(2, 9, 64)
            for _ in range(2):
                assert layer(u_BlC, state).shape == u_BlC.shape
    assert [call["initial_states"] is None for call in calls] == [True, False]  # and none on the CPU


def test_the_fused_kernel_is_that_of_mamba_ssm_and_none_where_that_is_missing(monkeypatch):
    name = "mamba_ssm.ops.triton.ssd_combined"
    for part in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton"):
        monkeypatch.setitem(sys.modules, part, SimpleNamespace(__path__=[]))
    for module, expected in (
        (None, None),
        (SimpleNamespace(mamba_chunk_scan_combined=published_kernel), published_kernel),
    ):
        monkeypatch.setitem(sys.modules, name, module)
        mamba2.cuda_kernel.cache_clear()
        assert mamba2.cuda_kernel() is expected
    mamba2.cuda_kernel.cache_clear()
