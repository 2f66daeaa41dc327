import math

import torch
import torch.nn.functional as F
from examples import SIDES, tiny_images

from varlite.nb.quantizer_fitting import fit_quantizer
from varlite.scales import Scales

SCALES = Scales.of(SIDES)


def test_a_fitted_quantizer_beats_its_start_and_phi_lowers_the_error():
    f = F.pixel_unshuffle(tiny_images(300, side=10), 2)
    errors = {}
    for ratio, steps in ((0.0, 0), (0.0, 60), (0.5, 60)):
        quantizer = fit_quantizer(f, SCALES, phi_shared=4, phi_ratio=ratio, V=16, steps=steps)
        assert not any(p.requires_grad for p in quantizer.parameters())
        errors[ratio, steps] = F.mse_loss(quantizer.encode(f, SCALES)[1][-1], f).item()
    assert errors[0.5, 60] < errors[0.0, 60] < errors[0.0, 0]


def test_without_phi_the_sum_is_that_of_the_enlarged_codes():
    f = F.pixel_unshuffle(tiny_images(20, side=10), 2)
    quantizer = fit_quantizer(f, SCALES, phi_shared=1, phi_ratio=0.0, V=16, steps=1)
    idx, f_hats = quantizer.encode(f, SCALES)
    maps = [quantizer.codebook(i).mT.unflatten(2, shape) for i, shape in zip(idx, SCALES.shapes, strict=True)]
    total = sum(F.interpolate(m, size=SCALES.last, mode="bicubic") for m in maps)
    torch.testing.assert_close(f_hats[-1], total)
    assert len(quantizer.phis) == 1 and math.isclose(quantizer.phis[0].ratio, 0)
