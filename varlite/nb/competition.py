"""Equal terms for models that are trained for a minute: the same pictures in the same order, the same judges.

terms = EqualTerms(tokenizer)
losses, seconds = terms.train(model)      the loss of each step
report, samples = terms.ask(model)        what the panel says of samples, and these
"""

import time
from typing import Any

import torch
from torch import nn

from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.evaluation.drawn_sets import draw_set
from varlite.evaluation.judges.interface import Pictures
from varlite.evaluation.judges.jury import Panel, fashion_pictures, open_judges, open_views
from varlite.evaluation.judges.verdict import Report
from varlite.models import KINDS, Model, kind_of
from varlite.nb.training_watch import hushed
from varlite.tokenizer import VQVAE, fingerprint

SMALL = {"depth": 2, "width": 64, "heads": 2, "classes": 10, "gamma_init": 0.1}
SLOW = "memorised"  # judges that look for copies among 60,000 pictures: a minute learns nothing by heart


def build(kind: str, tokenizer: VQVAE, seed: int = 0, **changes: Any) -> Model:
    """A model of two blocks of 64 channels from random weights, of a registered kind, for the tokens of `tokenizer`.

    `changes` are to its configuration. Raises ValueError for a kind that there is not.
    """
    c, found = tokenizer.config, kind_of(kind)
    torch.manual_seed(seed)
    settings = SMALL | {"vocab": c.vocab, "z": c.z, "scales": c.scales} | changes
    model: Model = found.model(found.config(**settings))
    return model


def register_again(name: str) -> None:
    """Forget a kind of this name, so that a cell that registers it can be run again. A kind of the package stays."""
    if name in KINDS and not KINDS[name].model.__module__.startswith("varlite."):
        del KINDS[name]


class EqualTerms:
    """Fashion-MNIST's tokens for trainings of a minute, and a panel of judges that is asked within seconds.

    pictures: of the training set, the first so many, encoded once. num: samples that are judged. compared: test
    pictures that they are compared with, evenly spread.
    """

    def __init__(self, tokenizer: VQVAE, pictures: int = 5000, num: int = 500, compared: int = 2000):
        self.tokenizer, self.scales, self.num = tokenizer, tokenizer.scales, num
        train = FashionMNIST("train")
        self.idx_NL, self.label_N = self._encode(train.all_images[:pictures]), train.labels[:pictures]
        views = open_views(tokenizer)
        reference, real, training = fashion_pictures(num, views)
        judges = [judge for judge in open_judges(tokenizer, training) if not judge.name.startswith(SLOW)]
        rows = torch.arange(compared) * len(reference) // compared
        self.panel = Panel(judges, reference.part(rows), real, fingerprint(tokenizer))

    @torch.no_grad()
    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.cat(self.tokenizer.encode(to_float(img)), 1) for img in images.split(200)])

    def train(
        self, model: Model, steps: int = 250, batch: int = 32, peak: float = 4e-3, seed: int = 0
    ) -> tuple[list[float], float]:
        """(the loss of each step, seconds) of a training of `model`, which knows nothing of it but `model.loss`.

        Pictures, their order and the labels that are dropped follow from `seed` alone: two models get the same.
        """
        numbers, losses, began = torch.Generator().manual_seed(seed), [], time.perf_counter()
        optimizer = torch.optim.AdamW(model.parameters(), peak, betas=(0.9, 0.95), weight_decay=0.05)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, steps, pct_start=0.06, cycle_momentum=False)
        model.train()
        for _ in range(steps):
            rows = torch.randint(len(self.idx_NL), (batch,), generator=numbers)
            chance_Bn = torch.rand(batch, 1, generator=numbers)
            loss = model.loss(self.tokenizer, self.scales.split(self.idx_NL[rows]), self.label_N[rows], chance_Bn)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            rate.step()
            losses.append(loss.item())
        model.eval()
        return losses, time.perf_counter() - began

    def ask(self, model: Model, seed: int = 0, cfg: float = 1.5) -> tuple[Report, Pictures]:
        """(what every judge says, the samples): as many of each class, their random numbers from `seed`."""
        with hushed():
            samples, _ = draw_set(model, self.tokenizer, self.panel.views, self.num, seed, cfg=cfg, top_p=0.96)
        return self.panel.ask(samples), samples
