"""Where a training of stage 2 begins: at random weights, or at a trained model, whose tokenizer may be another."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from varlite.checkpoints.load import load, load_tokenizer
from varlite.datasets import Dataset
from varlite.datasets.batches import rows_across
from varlite.datasets.pixels import to_float
from varlite.models import Model, VARConfig, kind_of
from varlite.models.next_scale import NextScale
from varlite.presets import TOKENIZERS, ModelPreset
from varlite.scales import Scales
from varlite.tokenizer import VQVAE
from varlite.training.new_codes import IMAGES, carry_over, check_new_codes, same_codes, takes_new_codes
from varlite.training.run import differences


@dataclass(frozen=True)
class Start:
    """A trained model to go on from, with its tokenizer. `name` is what the user calls it."""

    name: str
    model: Model
    tokenizer: VQVAE

    def give(self, model: Model, tokenizer: VQVAE, opened: Callable[..., Dataset]) -> dict[str, Any]:
        """Give `model` these weights; returns what the log should say of them.

        A class table of another size keeps its initial values. Weights that speak in codes are fitted where those of
        `tokenizer` are others than here; it does the encoding on its device. `opened(tokenizer, split, as_published)`
        is the data.
        """
        ours, theirs = model.config, self.model.config
        kept = theirs.classes == ours.classes
        table = "kept" if kept else f"new: {ours.classes} classes instead of {theirs.classes}"
        codes, both = "kept", (tokenizer, self.tokenizer.to(next(tokenizer.parameters()).device))
        if not takes_new_codes(type(model)) or same_codes(*both):
            fresh_class_table(model, self.model)
        else:
            # At one size a picture may be taken whole and at another cut: as published, all are cut alike.
            sizes = {vq.image_size() for vq in both}
            images = [opened(vq, "train", *([True] * (len(sizes) > 1))) for vq in both]
            rows = rows_across(images[0].labels, IMAGES)
            carry_over(cast(NextScale, model), cast(NextScale, self.model), both, paired_tokens(both, images, rows))
            codes = f"fitted on {len(rows)} images"
        return {"start": self.name, "class_table": table, "codes": codes}


def starting_point(
    preset: str, row: ModelPreset, tokenizer: str | Path | None, start: str | None, weights: Path | None
) -> tuple[VARConfig, VQVAE, Start | None]:
    """The model's configuration, its tokenizer, and where it starts."""
    begun = Start(start, *load(start, weights)) if start else None
    vq = begun.tokenizer if begun and not tokenizer else tokenizer_of(row, tokenizer)
    config = replace(row.config, vocab=vq.config.vocab, z=vq.config.z, scales=vq.scales.sides)
    if begun:
        check_start(preset, config, begun.name, begun.model.config)
        if not (takes_new_codes(type(begun.model)) or same_codes(vq, begun.tokenizer)):
            raise ValueError(
                f"tokenizer: {tokenizer} has other codes than {begun.name}, and a {kind_of(config).name} cannot be "
                "carried over to them: leave out tokenizer or start"
            )
    return config, vq, begun


def tokenizer_of(row: ModelPreset, name: str | Path | None) -> VQVAE:
    """The tokenizer that is named, else the preset's. The published one serves several schedules, and takes the
    preset's; any other has its own."""
    name, published = name or row.tokenizer, TOKENIZERS[row.tokenizer]
    vq = load_tokenizer(name)
    if published.hub and replace(vq.config, scales=published.config.scales) == published.config:
        vq = load_tokenizer(name, scales=Scales.of(row.config.scales))
    return vq


def check_start(preset: str, ours: VARConfig, start: str, theirs: VARConfig) -> None:
    """Raises ValueError unless two configurations differ in nothing but classes, what only training uses, and codes
    where they can be fitted."""
    if type(ours) is not type(theirs):
        names = [kind_of(config).name for config in (theirs, ours)]
        raise ValueError(f"start: {start} is a {names[0]}, and preset {preset} a {names[1]}: it must be of one kind")
    free = {"classes", *ours.only_training}
    free |= {"vocab", "z", "scales"} if takes_new_codes(kind_of(ours).model) else set()
    old, new = ({key: x for key, x in asdict(config).items() if key not in free} for config in (theirs, ours))
    changed = differences(old, new)
    if changed:
        raise ValueError(f"start: {start} does not have the shape of preset {preset}: {'; '.join(changed)}")
    if takes_new_codes(kind_of(ours).model):
        check_new_codes(start, Scales.of(ours.scales), Scales.of(theirs.scales))


def random_model(config: VARConfig, seed: int) -> Model:
    """A model with the random weights of this seed, in training mode."""
    torch.manual_seed(seed)
    return kind_of(config).model(config).train()


def fresh_class_table(model: Model, start: Model) -> None:
    """Give `model` the weights of `start`, except a class table of another size: that one keeps its initial values."""
    weights = start.state_dict()
    if model.config.classes != start.config.classes:
        weights["class_embed.table.weight"] = model.state_dict()["class_embed.table.weight"]
    model.load_state_dict(weights)


@torch.no_grad()
def paired_tokens(
    tokenizers: tuple[VQVAE, VQVAE], images: list[Dataset], rows_N: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens (idx_BL, idx_BL) of some images by both tokenizers, which want `images` at sizes of their own."""
    for rows in rows_N.split(100):
        made = []
        for vq, dataset in zip(tokenizers, images, strict=True):
            img = to_float(dataset.images(rows).to(next(vq.parameters()).device))
            made.append(torch.cat(vq.encode(img), 1))
        yield made[0], made[1]
