import torch
from torch._subclasses import FakeTensorMode

from varlite.presets import MODELS
from varlite.scales import Scales
from varlite.speed.verify_memory import CACHES, LARGEST, Held, counted


def test_the_peak_is_what_tensors_held_at_once():
    with FakeTensorMode(), Held() as held:
        a = torch.empty(1000)
        b = a * 2
        del b
        c = a.view(10, 100)[:, :3]  # no memory of its own
        assert held.now == 4000 and held.most == 8000
        del a, c
    assert held.now == 0


def test_keys_and_values_are_counted_by_the_formula():
    config = MODELS["fashion-var-d2"].config
    peak, size = counted("fashion-var-d2", 3, "bfloat16")
    L = Scales.of(config.scales).total
    kept = 2 * config.depth * 2 * 3 * L * config.width * 2
    assert kept <= size <= kept + 16 and peak > size
    assert counted("fashion-var-d2", 3, "float32")[1] >= 2 * kept


def test_the_largest_model_keeps_less_than_is_published():
    config = MODELS[LARGEST].config
    for batch, published in CACHES.items():
        assert 2 * config.depth * 2 * batch * Scales.of(config.scales).total * config.width * 2 < published * 1e9
