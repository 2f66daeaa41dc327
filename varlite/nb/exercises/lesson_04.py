"""The exercises of notebook 04, what attention looks at."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from varlite.checkpoints.load import load
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.models import Model
from varlite.nb import attention_recording as attention
from varlite.nb.exercises import Off, function, kind, number
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, TokenizerConfig

PICTURES = 32  # of the test set
MOST_CELLS, MOST_RISE = 0.75, 0.1  # of exercise 5: share of the visible cells, nats per token


@cache
def loaded() -> tuple[Model, VQVAE]:
    return load("fashion-var-d4")


@cache
def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, labels and tokens of some test images."""
    (_, tokenizer), test = loaded(), FashionMNIST("test")
    with torch.inference_mode():
        idx = tokenizer.encode(to_float(test.all_images[:PICTURES]))
        return tokenizer.inputs(idx), test.labels[:PICTURES], torch.cat(idx, 1)


@cache
def recorded() -> list[attention.Call]:
    """The attention of every layer, one call each."""
    x_BLZ, label_B, _ = given()
    with torch.inference_mode(), attention.record_attention(loaded()[0]) as calls:
        loaded()[0](x_BLZ, label_B)
    return [of_layer[0] for of_layer in calls.values()]


def exercise_1(share_within: Any) -> str:
    """The share of even attention that a token of the finest of ten maps keeps within its map."""
    scales = Scales.of(TokenizerConfig().scales)
    last = scales.lengths[-1]
    slips = {
        last
        / (scales.total - last): "That is the finest map over the coarser ones. Divide by all tokens that it sees.",
        1 - last / scales.total: "That is what goes to coarser scales.",
        (last + 1) / 2 / scales.total: "Within its own map a token sees all tokens, not only those before it.",
        100 * last / scales.total: "Per cent? A share lies between 0 and 1.",
        attention.cost(scales).of_dense: "That is the share of pairs in the whole matrix, hidden ones too.",
        attention.cost(scales).of_visible: "That is the share of pairs of all scales together. Take the finest alone.",
    }
    number(share_within, last / scales.total, 0.003, slips)
    return "So a trained model that keeps half of its attention within the map does prefer it; 50% alone says nothing."


@cache
def distances() -> torch.Tensor:
    """How far each head looks within the finest map, in cells, (layers, heads)."""
    scales = loaded()[0].scales
    (h, w), span = scales.last, slice(*scales.spans[-1])
    own_DNll = torch.stack([call.weights_BNln.mean(0) for call in recorded()])[..., span, span]
    return (own_DNll * apart(h, w)).sum((-1, -2)) / own_DNll.sum((-1, -2))


def apart(h: int, w: int) -> torch.Tensor:
    """The distance of all pairs of cells of a map, (h w, h w)."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    place = torch.stack((y, x), -1).view(-1, 2).float()
    return torch.cdist(place, place)


def exercise_2(distance: Any) -> str:
    """How far the head looks that looks nearest."""
    found_DN, even = distances(), apart(*loaded()[0].scales.last).mean().item()
    number(
        distance, found_DN.min().item(), 0.06,
        slips={
            found_DN.max().item(): "That is the head that looks farthest.",
            found_DN.mean().item(): "That is the mean over all heads.",
            even: "That is the distance of even attention.",
            found_DN.min().item() / loaded()[0].scales.last[0]: "That is in sides of the picture. Count cells.",
        },
    )  # fmt: skip
    layer, head = divmod(int(found_DN.argmin()), found_DN.shape[1])
    return (
        f"It is head {head + 1} of layer {layer + 1}; others are close. Even attention has {even:.1f} cells, the head "
        f"that looks farthest {found_DN.max():.1f}."
    )


def exercise_3(mended: Any) -> str:
    """Attention weights of a layer."""
    model, _ = loaded()
    layer, call, mask_ll = model.blocks[1].attn, recorded()[1], model.scales.block_causal_mask()
    with torch.inference_mode():
        found = function(mended)(layer, call.x[:2], mask_ll)
    right = call.weights_BNln[:2]
    if not isinstance(found, torch.Tensor) or found.shape != right.shape:
        raise Off(f"This should be a tensor of shape {tuple(right.shape)}, and is {kind(found)}.")
    if found.isnan().any():
        raise Off("Some weights are no numbers: some tokens may look at nothing at all, not even at themselves.")
    if (found.masked_select(~mask_ll) > 0).any():
        raise Off("Some tokens look where the mask forbids it.")
    if not torch.allclose(found.sum(-1), torch.ones(()), atol=1e-3):
        raise Off("What a token spends does not add up to 1.")
    if not torch.allclose(found, right, atol=1e-4):
        raise Off(
            "Rows add up to 1 and nothing is seen that is hidden, but these are not the model's: too even, perhaps?"
        )
    return "It looked plausible all along. That is why a recorder is held against the layer's output."


@torch.inference_mode()
def loss(mask_LL: torch.Tensor) -> float:
    """Cross-entropy in nats per token under another mask."""
    (model, _), (x_BLZ, label_B, target_BL) = loaded(), given()
    vars(model)["make_mask"] = lambda scales, device: mask_LL
    try:
        return F.cross_entropy(model(x_BLZ, label_B).mT, target_BL).item()
    finally:
        del vars(model)["make_mask"]


@cache
def usual_loss() -> float:
    return loss(loaded()[0].scales.block_causal_mask())


def mask_of(attempt: Any) -> torch.Tensor:
    """The attempt's mask. Raises Off if it hides a token from itself, or lets one see a finer scale."""
    scales = loaded()[0].scales
    found, L = function(attempt)(scales), scales.total
    if not isinstance(found, torch.Tensor) or found.shape != (L, L):
        raise Off(f"This should be a tensor of shape ({L}, {L}), and is {kind(found)}.")
    found = found.bool()
    if not found.diagonal().all():
        raise Off(f"{int((~found.diagonal()).sum())} tokens do not see themselves.")
    leaks = int((found & ~scales.block_causal_mask()).sum())
    if leaks:
        raise Off(f"It opens {leaks} cells that the block mask closes: coarse tokens would see finer ones.")
    return found


def exercise_4(markov_mask: Any) -> str:
    """A mask of the own scale and the one before."""
    scales, found = loaded()[0].scales, mask_of(markov_mask)
    level_L = scales.levels()
    wrong = found != (scales.block_causal_mask() & (level_L[:, None] - level_L <= 1))
    if wrong.any():
        where = sorted({f"{int(level_L[i]) + 1} and {int(level_L[j]) + 1}" for i, j in wrong.nonzero().tolist()})
        raise Off(f"{int(wrong.sum())} cells are wrong, between the scales {', '.join(where[:3])}.")
    rise, alone = (loss(mask) - usual_loss() for mask in (found, level_L[:, None] == level_L))
    return (
        f"The loss rises by {rise:.2f} nats per token. With the own scale alone it would be {alone:.2f}. What distant "
        "scales have to say is in the input already."
    )


def exercise_5(lean_mask: Any) -> str:
    """A mask with few open cells."""
    found = mask_of(lean_mask)
    share = (found.sum() / loaded()[0].scales.block_causal_mask().sum()).item()
    if share > MOST_CELLS:
        raise Off(f"It opens {share:.0%} of the cells that the block mask opens, and may open {MOST_CELLS:.0%}.")
    rise = loss(found) - usual_loss()
    if rise > MOST_RISE:
        raise Off(
            f"It opens {share:.0%} of the cells, and the loss rises by {rise:.2f} nats per token, not {MOST_RISE}."
        )
    return f"It opens {share:.0%} of the cells, and the loss rises by {rise:.2f} nats per token. Can you do with fewer?"
