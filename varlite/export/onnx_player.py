"""An exported model played by onnxruntime, through the sampling loop of the model itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from varlite.checkpoints.assemble import twin
from varlite.drawing import Step
from varlite.sampling import generate_many
from varlite.tokenizer import VQVAE


class Graphs:
    """The graphs of a folder by name, opened when they are first needed. One thread, as in a browser."""

    def __init__(self, folder: Path):
        self.folder, self.sessions = folder, dict[str, Any]()

    def __call__(self, name: str, *inputs: torch.Tensor) -> list[torch.Tensor]:
        import onnxruntime

        if name not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.sessions[name] = onnxruntime.InferenceSession(str(self.folder / f"{name}.onnx"), options)
        session = self.sessions[name]
        names = [entry.name for entry in session.get_inputs()]
        fed = {name: np.ascontiguousarray(x.numpy()) for name, x in zip(names, inputs, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, fed)]


def play(folder: Path, model: Any, tokenizer: VQVAE) -> tuple[Any, VQVAE]:
    """(model, tokenizer) that sample by the graphs in a folder: copies of those that were exported."""
    graphs, model, tokenizer = Graphs(folder), twin(model), twin(tokenizer)
    following: list[torch.Tensor] = []

    def step(x_BlZ: Any, cond_BnC: Any, k: int, cache: list, scales: Any = None, rows: int | None = None) -> Any:
        logits_BlV, *cache[:] = graphs(f"step-{k}", cond_BnC, *([] if x_BlZ is None else [x_BlZ]), *cache)
        return logits_BlV[:rows]

    def accumulate(f_hat: torch.Tensor, h_BlZ: torch.Tensor, k: int, scales: Any = None) -> torch.Tensor:
        f_hat, *following[:] = graphs(f"add-{k}", f_hat, h_BlZ)
        return f_hat

    played: dict[Any, dict[str, Any]] = {
        model: {
            "condition": lambda label_B: graphs("condition", label_B)[0],
            "make_cache": lambda scales=None: [],
            "step": step,
        },
        tokenizer: {
            "embed": lambda idx_Bl: graphs("embed", idx_Bl.flatten())[0].unflatten(0, idx_Bl.shape),
            "accumulate": accumulate,
            "next_input": lambda f_hat, k, scales=None: following[0],
            "to_image": lambda f_hat: graphs("decode", f_hat)[0],
        },
    }
    for module, methods in played.items():
        for name, function in methods.items():
            setattr(module, name, function)
    return model, tokenizer


class Agreement(NamedTuple):
    """How samples of the graphs compare with those of the model."""

    images: int
    equal: int  # images with the same tokens at all scales
    logits: float  # largest difference of a logit before the first token that differs, over the largest logit
    pixels: float  # largest difference of a pixel in [0, 1] of an image with equal tokens


def agreement(folder: Path, model: Any, tokenizer: VQVAE, labels: Sequence[int], seed: int = 0) -> Agreement:
    """Sample images by the model and by the graphs, with the same random numbers, and compare them step by step."""
    ours, theirs = (
        sample_and_record(*pair, labels, seed) for pair in ((model, tokenizer), play(folder, model, tokenizer))
    )
    same_B, logits = torch.ones(len(labels), dtype=torch.bool), 0.0
    for (a_BlV, idx_Bl), (b_BlV, other_Bl) in zip(ours.steps, theirs.steps, strict=True):
        if same_B.any():
            logits = max(logits, float(((a_BlV - b_BlV)[same_B].abs().max() / a_BlV.abs().max()).item()))
        same_B &= (idx_Bl == other_Bl).all(1)
    difference_B = (ours.images - theirs.images).abs().flatten(1).amax(1)
    pixels = float(difference_B[same_B].max()) if same_B.any() else 0.0
    return Agreement(len(labels), int(same_B.sum()), logits, pixels)


class Samples(NamedTuple):
    images: torch.Tensor
    steps: list[tuple[torch.Tensor, torch.Tensor]]  # logits_BlV after guidance, idx_Bl


def sample_and_record(model: Any, tokenizer: VQVAE, labels: Sequence[int], seed: int) -> Samples:
    logits, tokens = list[torch.Tensor](), list[torch.Tensor]()

    def on_logits(step: Step) -> None:
        logits.append(step.logits_BlV.clone())

    def on_scale(step: Step) -> None:
        tokens.append(step.idx_Bl)

    settings: dict[str, Any] = {"on_logits": on_logits, "on_scale": on_scale}
    ((images, _),) = generate_many(model, tokenizer, list(labels), seed, batch=len(labels), **settings)
    return Samples(images, list(zip(logits, tokens, strict=True)))
