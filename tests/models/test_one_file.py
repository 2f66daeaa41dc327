"""The promise that a new model is one file: a variant outside the package trains, samples, is scored and timed."""

import json
import os
import subprocess
import sys

from examples import image_folder

VARIANT = """
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from varlite.models import VAR, VARConfig, register
from varlite.presets import MODELS, ModelPreset, TransformerRecipe
from varlite.transformer import Attention, Block


@dataclass(frozen=True)
class RotaryConfig(VARConfig):
    base: float = 100.0


class RotaryAttention(Attention):
    base = 100.0

    def project(self, x_BlC):
        q, k, v, scale = super().project(x_BlC)
        angle_E = self.base ** -torch.linspace(0, 1, self.E // 2)
        turned = []
        for x in (q, k):
            a, b = x.chunk(2, -1)
            turned.append(torch.cat((a * angle_E.cos() - b * angle_E.sin(), a * angle_E.sin() + b * angle_E.cos()), -1))
        return *turned, v, scale


class SwiGLU(nn.Module):
    def __init__(self, C, hidden):
        super().__init__()
        self.gate, self.fc1, self.fc2 = nn.Linear(C, hidden), nn.Linear(C, hidden), nn.Linear(hidden, C)

    def forward(self, x):
        return self.fc2(F.silu(self.gate(x)) * F.linear(x, self.fc1.weight, self.fc1.bias))


class RotaryBlock(Block):
    def __init__(self, C, heads, hidden, *rest):
        super().__init__(C, heads, hidden, *rest)
        self.attn, self.ffn = RotaryAttention(C, heads, rest[0]), SwiGLU(C, hidden)


class Rotary(VAR):
    block = RotaryBlock


register("rotary", Rotary, RotaryConfig)
MODELS["rotary-d2"] = ModelPreset(
    RotaryConfig(depth=2, width=64, heads=2, classes=10, vocab=512, z=16, scales=[1, 2, 3, 5, 7], gamma_init=0.1),
    "fashion-vq", TransformerRecipe(steps=3, batch=8, lr=1e-3, warmup=1, ema=0.5),
)
"""


COMMANDS = """
import json
import sys
from varlite import cli
from varlite.speed import side_by_side
side_by_side.TURN, side_by_side.REST = 0.01, 0.0  # as the fixture quick_bench has them
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    cli.main()
"""


def test_a_variant_in_one_file_outside_the_package_trains_samples_is_scored_and_timed(tmp_path):
    image_folder(tmp_path / "images", per_class=12, side=28)
    (tmp_path / "rotary.py").write_text(VARIANT)
    environment = os.environ | {"VARLITE_MODELS": str(tmp_path / "rotary.py"), "VARLITE_CACHE": str(tmp_path / "cache")}

    commands = (
        "info",
        "train --preset rotary-d2 --data images --out run --device cpu",
        "sample --model run --num-per-class 2 --out samples --device cpu",
        "bench --model run --rounds 1 --device cpu --out bench.json",
        "evaluate --model run --reference images --num 8 --features fashion --metrics fd"
        " --out scores.json --device cpu",
    )
    words = json.dumps([command.split() for command in commands])
    ran = subprocess.run([sys.executable, "-c", COMMANDS, words], cwd=tmp_path, env=environment,
                         capture_output=True, text=True)  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "rotary-d2" in ran.stdout
    assert len(list((tmp_path / "samples").glob("*.png"))) == 4
    timed = json.loads((tmp_path / "bench.json").read_text())
    assert timed["ways"]["plain"]["equal"] == 1 and timed["ways"]["varlite"]["gflop"] > 0
    assert json.loads((tmp_path / "scores.json").read_text())["scores"]["fd"] > 0
