"""The exercises of notebook 05, training."""

import json
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.io.places import CHECKPOINTS
from varlite.nb.exercises import Off, function, kind, number, tensor
from varlite.presets import TOKENIZERS
from varlite.tokenizer import VQVAE


def last_line() -> dict[str, Any]:
    return json.loads((CHECKPOINTS / "fashion-var-d4" / "log.jsonl").read_text().splitlines()[-1])


def exercise_1(per_cent: Any) -> str:
    """How much higher the validation loss is."""
    line = last_line()
    loss, val = line["loss"], line["val_loss"]
    number(per_cent, 100 * (val / loss - 1), 0.1, {
        100 * (loss / val - 1): "Positive is: the validation loss is higher.",
        val - loss: "That is a difference or a share, and not in per cent of the training loss.",
        100 * val / loss: "That is the validation loss in per cent of the other one.",
    })  # fmt: skip
    return "Little overfitting. The gap looks smaller than it is: training hides labels, which validation never does."


def exercise_2(factor: Any) -> str:
    """What the loss of a micro-batch is multiplied by."""
    number(factor, 1 / 4, 1e-6, {
        1: "Then the gradient would be four times too large.",
        4: "Then the gradient would be sixteen times too large.",
        1 / 32: "The loss of a micro-batch is a mean over its eight pictures already.",
        1 / 8: "The loss of a micro-batch is a mean over its eight pictures already.",
    })  # fmt: skip
    return "With micro-batches of different sizes it would be their share of the batch."


class Recording(torch.optim.SGD):
    """An optimizer that moves nothing, and keeps the gradient of the first weight that it is given at every step."""

    def __init__(self, model: torch.nn.Module):
        super().__init__(model.parameters(), lr=0.0)
        self.seen: list[torch.Tensor | None] = []

    def step(self, closure: Any = None) -> Any:
        weight = self.param_groups[0]["params"][0]
        self.seen.append(None if weight.grad is None else weight.grad.clone())


def small_tokenizer() -> VQVAE:
    """A tokenizer that learns four pictures in a second."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"multipliers": (1, 1, 1), "encoder_blocks": (0, 0, 0), "decoder_blocks": (0, 0, 0)}
    return VQVAE(replace(TOKENIZERS["fashion-vq"].config, vocab=64, **sizes))


def exercise_3(one_step: Any) -> str:
    """One step of training a tokenizer."""
    call, img = function(one_step), to_float(FashionMNIST("train").images(torch.arange(4)))
    model, steps = small_tokenizer(), 60
    recording = Recording(model)
    for _ in range(2):
        call(model, recording, img)
    if not recording.seen:
        raise Off("The optimizer's `step` is never called.")
    if any(grad is None or not grad.any() for grad in recording.seen):
        raise Off("No weight moves: when the optimizer steps, there is no gradient.")
    first, second = (grad for grad in recording.seen[:2] if grad is not None)
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-6):
        raise Off("The weights move, but the gradient of the second step still has that of the first in it.")
    model = small_tokenizer()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=0.0)
    for _ in range(steps):
        call(model, optimizer, img)
    with torch.no_grad():
        rebuilt = model(img).reconstruction
    background = rebuilt[img == -1].mean().item()
    if background > -0.5:
        raise Off(
            f"The weights move. But after {steps} steps the background, which is -1 in the pictures, comes out as "
            f"{background:.1f}."
        )
    return f"Four pictures are learned by heart in {steps} steps. No error message would have told of either mistake."


def exercise_4(by_angle: Any) -> str:
    """Lookup by angle."""
    generator = torch.Generator().manual_seed(0)
    f_NZ, codes_VZ = torch.randn(200, 8, generator=generator), torch.randn(64, 8, generator=generator)
    codes_VZ *= torch.rand(64, 1, generator=generator) * 3 + 0.02
    found = function(by_angle)(f_NZ.clone(), codes_VZ.clone())
    right = (F.normalize(f_NZ, dim=-1) @ F.normalize(codes_VZ, dim=-1).T).argmax(1)
    if isinstance(found, torch.Tensor) and found.shape == right.shape:
        if torch.equal(found, torch.cdist(f_NZ, codes_VZ).argmin(1)):
            raise Off("Those are the nearest codes by distance.")
        if torch.equal(found, (f_NZ @ codes_VZ.T).argmax(1)):
            raise Off("Those are the largest products: a long code wins over a short one of the same direction.")
        if torch.equal(found, (F.normalize(f_NZ, dim=-1) @ F.normalize(codes_VZ, dim=-1).T).argmin(1)):
            raise Off("Those are the codes with the largest angle.")
    tensor(found, right, what="The lookup")
    short = torch.cdist(f_NZ, codes_VZ).argmin(1).unique().numel()
    return f"{found.unique().numel()} of the 64 codes are chosen, and by distance {short}."


def exercise_5(reseeded: Any) -> str:
    """Moving dead codes onto residuals."""
    generator = torch.Generator().manual_seed(0)
    codes_VZ, residual_NZ = torch.randn(40, 4, generator=generator), torch.randn(90, 4, generator=generator)
    used_V = torch.arange(40) % 3 == 0
    given = codes_VZ.clone()
    call = function(reseeded)
    found, other = (call(given, used_V, residual_NZ, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    if not isinstance(found, torch.Tensor) or found.shape != codes_VZ.shape:
        raise Off(f"This should return a codebook of shape {tuple(codes_VZ.shape)}, and returns {kind(found)}.")
    if not torch.equal(given, codes_VZ):
        raise Off("It changes the codebook that it was given. Work on a copy.")
    if not torch.equal(found[used_V], codes_VZ[used_V]):
        raise Off("A code that is in use has moved.")
    if (found[~used_V] == codes_VZ[~used_V]).all(1).any():
        raise Off("A dead code is where it was.")
    same = (found[~used_V][:, None] == residual_NZ).all(-1)
    if not same.any(1).all():
        raise Off("A dead code has moved to where no residual is.")
    if (same.sum(0) > 1).any():
        raise Off("Two dead codes have moved onto the same residual. One of them will stay dead.")
    if torch.equal(found, other):
        raise Off("With another generator the same residuals are chosen. Choose at random.")
    return "The package does this for equally many residuals of every scale, or the fine ones would have all the codes."
