"""Drafting: a large model draws the coarse scales, a small one the fine ones (CoDe, arXiv 2411.17787, without tuning).

Most of what a large model knows better is in the coarse scales, and most of the time goes into the fine ones. The loop
is the small model's, which also passes through the coarse scales, since its cache has to hold them; up to scale
`steps`, its logits give way to those of the large model, which runs beside it with a cache of its own.

    hook = Drafting(large, labels, steps=3)
    images = generate(small, tokenizer, labels, on_logits=hook)
"""

from typing import Any

import torch

from varlite.drawing import Step, guide
from varlite.io.checks import integer
from varlite.models import Model, require
from varlite.sampling import Labels, check_labels, check_settings, device_of


class Drafting:
    """The hook, for one call of `generate` with the same labels and the same guidance."""

    @torch.inference_mode()
    def __init__(self, drafter: Model, labels: Labels, steps: int, cfg: float = 1.5):
        """drafter: the large model, of the same tokenizer and classes. labels, cfg: those that `generate` is given.
        steps: how many scales it draws, from the coarsest on.

        Raises ValueError for a drafter without a cache or of one scale, and for more steps than it has scales.
        """
        require(drafter, "cache")
        require(drafter, "guidance")
        self.steps = integer("steps", steps, 0)
        if drafter.scales.K < 2 or self.steps > drafter.scales.K:
            raise ValueError(
                f"steps must be at most the {drafter.scales.K} scales of a drafter of several, got {steps}"
            )
        check_settings(cfg, 0, 0.0, drafter.config.vocab)
        self.drafter, self.cfg = drafter, cfg
        label_B = check_labels(labels, drafter).to(device_of(drafter))
        self.given = drafter.condition(torch.cat((label_B, torch.full_like(label_B, drafter.config.classes))))
        self.labels, self._cache = len(label_B), list[Any]()

    def __call__(self, step: Step) -> None:
        if step.k >= self.steps:
            self._cache = []  # its memory is free while the small model goes on
            return
        if step.scales != self.drafter.scales or step.logits_BlV.shape[-1] != self.drafter.config.vocab:
            raise ValueError("drafter: both models must have the same scales and the same codebook")
        if len(step.logits_BlV) != self.labels:
            raise ValueError(
                f"labels: the hook was made for {self.labels} of them, and {len(step.logits_BlV)} images are drawn"
            )
        x_2BlZ = None
        if step.k == 0:
            self._cache = self.drafter.make_cache(step.scales)
        else:
            x_2BlZ = step.tokenizer.next_input(step.f_hat_BZhw, step.k - 1, step.scales).repeat(2, 1, 1)
        cond_BlV, null_BlV = self.drafter.step(x_2BlZ, self.given, step.k, self._cache, step.scales).chunk(2)
        step.logits_BlV = guide(cond_BlV, null_BlV, self.cfg * step.k / (step.scales.K - 1))
