"""However many processes and micro-steps share a step, they compute what one would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from varlite.io.files import read_model
from varlite.training import train_tokenizer as stage1
from varlite.training import train_transformer as stage2
from varlite.training.engine import Ema, Engine
from varlite.training.options import Options

TINY = Path(__file__).parents[1] / "tiny.py"


def losses(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return torch.tensor([[json.loads(line)[name] for name in ("loss", "grad_norm")] for line in lines])


def train_with(images, out, processes=1, **options):
    """Both stages in processes of their own."""
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    arguments = [str(TINY), str(images), str(out), json.dumps(options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "VARLITE_CACHE": str(out / "cache")}
    command = [sys.executable, *(launch if processes > 1 else []), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150)
    assert (done.returncode == 0) == ("die" not in options), done.stderr[-3000:]
    return out


def farthest(a, b):
    a, b = (read_model(folder / "model.safetensors")[1] for folder in (a, b))
    return max((a[name] - b[name]).abs().max().item() for name in b)


@pytest.mark.slow
@pytest.mark.parametrize("processes, accumulate", [(2, 1), (1, 2), (2, 2)])
def test_processes_and_micro_steps_give_the_loss_curve_of_one_process(trained, tmp_path, processes, accumulate):
    ours = train_with(trained / "images", tmp_path, processes, accumulate=accumulate)
    a, b = losses(ours / "vq"), losses(trained / "vq")
    assert torch.allclose(a[:3], b[:3], rtol=1e-3)
    # Later a code that lay between two images' features goes the other way, on the last bit of a sum.
    assert torch.allclose(a[:, 0], b[:, 0], rtol=0.05)

    train_with(trained / "images", tmp_path / "second", processes, accumulate=accumulate, vq=str(trained / "vq"))
    assert torch.allclose(losses(tmp_path / "second" / "var"), losses(trained / "var"), rtol=1e-3)
    assert farthest(tmp_path / "second" / "var", trained / "var") < 1e-3


@pytest.mark.slow
def test_a_sharded_training_gives_the_same_loss_curve_and_the_same_whole_model(trained, tmp_path):
    train_with(trained / "images", tmp_path, processes=2, shard=True, vq=str(trained / "vq"))
    assert torch.allclose(losses(tmp_path / "var"), losses(trained / "var"), rtol=1e-3)
    assert farthest(tmp_path / "var", trained / "var") < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("before, after", [(1, 2), (2, 1)])
def test_a_training_goes_on_with_another_number_of_processes(trained, tmp_path, before, after):
    settings = {"vq": str(trained / "vq"), "shard": before == 2}
    train_with(trained / "images", tmp_path, before, **settings, die=21)
    assert torch.load(tmp_path / "var" / "checkpoint.pt", weights_only=True)["step"] == 21
    train_with(trained / "images", tmp_path, after, **settings | {"shard": after == 2})
    assert torch.allclose(losses(tmp_path / "var"), losses(trained / "var"), rtol=1e-3)
    assert farthest(tmp_path / "var", trained / "var") < 1e-3


@pytest.fixture
def engine():
    return Engine(Options(device="cpu"))


def test_a_batch_that_cannot_be_cut_evenly_is_refused_before_anything_is_computed(trained, presets, tmp_path):
    options = Options(device="cpu", accumulate=3)
    with pytest.raises(ValueError, match=r"batch must be a multiple of processes x micro-steps \(1 x 3\), got 8"):
        stage1.train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_sharding_over_one_process_or_of_a_tokenizer_is_refused(trained, presets, tmp_path):
    with pytest.raises(ValueError, match="shard: there is one process to spread over; start several with torchrun"):
        Engine(Options(device="cpu", shard=True))
    with pytest.raises(ValueError, match="shard: a tokenizer is small enough"):
        stage1.train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / "out", Options(shard=True))


def test_shares_are_contiguous_and_cover_the_batch():
    engine = Engine(Options(device="cpu", accumulate=3))
    parts = engine.shares(torch.arange(12), torch.arange(12) * 10)
    assert torch.cat([a for a, _ in parts]).tolist() == list(range(12))
    assert all(torch.equal(a * 10, b) and len(a) == 4 for a, b in parts)


def test_the_average_begins_with_the_weights_and_then_follows_them(engine):
    model = torch.nn.Linear(2, 1)
    ema, first = Ema(model, 0.9), [p.detach().clone() for p in model.parameters()]
    ema.update()
    assert all(torch.equal(a, b) for a, b in zip(ema.weights.values(), first, strict=True))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    ema.update()
    assert all(torch.allclose(a, b + 0.1) for a, b in zip(ema.weights.values(), first, strict=True))
    other = Ema(torch.nn.Linear(2, 1), 0.9)
    other.load_state_dict(ema.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ema.weights.values(), other.weights.values(), strict=True))
    assert other.updates == 2


def test_a_training_in_half_precision_learns_too(trained, presets, tmp_path):
    stage2.train(
        "tiny-var", str(trained / "images"), tmp_path / "out", tokenizer=trained / "vq",
        options=Options(device="cpu", precision="bfloat16"),
    )  # fmt: skip
    ours, expected = losses(tmp_path / "out"), losses(trained / "var")
    assert torch.allclose(ours, expected, rtol=0.1) and not torch.equal(ours, expected)
    assert all(t.dtype == torch.float32 for t in read_model(tmp_path / "out" / "model.safetensors")[1].values())
