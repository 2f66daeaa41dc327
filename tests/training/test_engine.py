"""However many processes and micro-steps share a step, they compute what one would."""

import contextlib
import json

import pytest
import torch
from children import run, run_several
from examples import train_in_child

from varlite.io.files import read_model
from varlite.training import train_tokenizer as stage1
from varlite.training import train_transformer as stage2
from varlite.training.engine import Ema, Engine, check_options
from varlite.training.options import Options


def losses(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return torch.tensor([[json.loads(line)[name] for name in ("loss", "grad_norm")] for line in lines])


def train_with(images, out, processes=1, **options):
    """Both stages in processes of their own."""
    out.mkdir(exist_ok=True)
    job = (out / "errors", train_in_child, images, out, options)
    cache = {"VARLITE_CACHE": str(out / "cache")}
    status = run_several(processes, *job, **cache) if processes > 1 else run(*job, **cache)
    assert (status == 0) == ("die" not in options), (out / "errors").read_text()[-3000:]
    return out


def farthest(a, b):
    a, b = (read_model(folder / "model.safetensors")[1] for folder in (a, b))
    return max((a[name] - b[name]).abs().max().item() for name in b)


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


def test_processes_that_encode_at_every_step_encode_their_share_of_it(trained, tmp_path):
    settings = {"vq": str(trained / "vq"), "recipe": ("views=0",), "steps": 15, "flip": True}
    one, two = (train_with(trained / "images", tmp_path / str(n), n, **settings) for n in (1, 2))
    assert torch.allclose(losses(two / "var"), losses(one / "var"), rtol=1e-3)
    assert farthest(two / "var", one / "var") < 1e-3


def test_a_sharded_training_gives_the_same_loss_curve_and_the_same_whole_model(trained, tmp_path):
    train_with(trained / "images", tmp_path, processes=2, shard=True, vq=str(trained / "vq"))
    assert torch.allclose(losses(tmp_path / "var"), losses(trained / "var"), rtol=1e-3)
    assert farthest(tmp_path / "var", trained / "var") < 1e-3


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


@pytest.mark.parametrize(
    "options, message",
    [
        ({"device": "gpu"}, r"device must be one that is here \(auto, cpu.*\), got 'gpu'"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"tensorboard": True}, "tensorboard: the package is not installed"),
    ],
)
def test_options_that_cannot_be_met_are_refused(monkeypatch, options, message):
    monkeypatch.setattr("varlite.training.engine.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=message):
        Engine(Options(**options))


def test_a_gpu_that_is_not_here_is_refused_and_one_that_is_would_be_taken(monkeypatch):
    for here in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda here=here: here)
        refused = pytest.raises(ValueError, match="got 'cuda'") if not here else contextlib.nullcontext()
        with refused:
            check_options(Options(device="cuda"))


def test_variables_left_over_by_a_launcher_are_one_line(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="OMPI_COMM_WORLD_SIZE=2 in the environment announces 2 processes"):
        Engine(Options(device="cpu"))


def test_a_training_in_a_process_may_have_another_precision_than_the_one_before():
    assert Engine(Options(device="cpu", precision="bfloat16")).accelerator.mixed_precision == "bf16"
    assert Engine(Options(device="cpu")).accelerator.mixed_precision == "no"


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


def test_an_average_leaves_what_is_not_trained_as_it_is_to_the_sign_of_a_zero():
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-0.0, 1.0]]))
    model.weight.requires_grad_(False)
    ema = Ema(model, 0.9)
    for _ in range(2):
        ema.update()
    assert ema.weights["weight"].signbit().tolist() == [[True, False]]


def test_an_average_follows_what_is_moved_without_a_gradient():
    model = torch.nn.Linear(2, 1)
    model.weight.requires_grad_(False)
    ema = Ema(model, 0.5, moving=["weight"])
    ema.update()
    before = model.weight.clone()
    model.weight += 1
    ema.update()
    assert torch.allclose(ema.weights["weight"], before + 0.5)
