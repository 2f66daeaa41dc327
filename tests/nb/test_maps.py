import matplotlib.pyplot as plt
import torch
from examples import SIDES

from varlite.nb.maps import shades, token_pyramid
from varlite.scales import Scales


def test_like_codes_have_like_shades_and_each_its_own():
    codes_VZ = torch.linspace(-1, 1, 9)[:, None] * torch.tensor([[0.3, -2.0]])
    shade_V = shades(codes_VZ[torch.randperm(9)])
    assert sorted(shade_V.tolist()) == torch.linspace(0, 1, 9).tolist()
    steps = shades(codes_VZ).diff()
    assert (steps > 0).all() or (steps < 0).all()


def test_equal_tokens_have_equal_shades_and_their_numbers_on_every_map():
    scales, codes_VZ = Scales.of(SIDES), torch.randn(20, 3)
    idx = [torch.arange(length) % 20 for length in scales.lengths]
    drawn = token_pyramid(idx, scales, codes_VZ)
    shade_V = shades(codes_VZ)
    assert all(torch.equal(shade_hw.flatten(), shade_V[idx_l]) for shade_hw, idx_l in zip(drawn, idx, strict=True))
    for axis, shade_hw, idx_l in zip(plt.gcf().axes, drawn, idx, strict=True):
        assert torch.equal(torch.as_tensor(axis.images[0].get_array().data), shade_hw)
        assert [text.get_text() for text in axis.texts] == [str(v) for v in idx_l.tolist()]


def test_large_maps_have_no_numbers():
    scales = Scales.of((1, 8))
    token_pyramid([torch.zeros(length, dtype=torch.long) for length in scales.lengths], scales, torch.randn(4, 2))
    assert [len(axis.texts) for axis in plt.gcf().axes] == [1, 0]
