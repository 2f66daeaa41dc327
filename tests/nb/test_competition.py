"""Short trainings on equal terms."""

import pytest
import torch
from examples import tiny_var

from varlite.checkpoints.load import load_tokenizer
from varlite.models import KINDS, VAR, VARConfig, kind_of, register
from varlite.nb.competition import EqualTerms, build, register_again


@pytest.fixture(scope="module")
def terms():
    return EqualTerms(load_tokenizer("fashion-vq").requires_grad_(False), pictures=40, num=20, compared=60)


def test_a_small_model_of_any_kind_fits_the_tokenizer(terms):
    for kind in ("var", "markov"):
        model = build(kind, terms.tokenizer, width=32)
        assert kind_of(model).name == kind and model.config.width == 32 and model.scales == terms.scales
    with pytest.raises(ValueError, match="no registered kind"):
        build("none", terms.tokenizer)


def test_two_trainings_with_one_seed_are_the_same_and_end_in_evaluation_mode(terms):
    runs = [terms.train(build("var", terms.tokenizer, width=32), steps=4, batch=4)[0] for _ in range(2)]
    other = terms.train(build("var", terms.tokenizer, width=32), steps=4, batch=4, seed=1)[0]
    assert runs[0] == runs[1] != other and len(other) == 4
    model = build("var", terms.tokenizer, width=32)
    _, seconds = terms.train(model, steps=4, batch=4)
    assert seconds > 0 and not model.training


def test_a_model_is_trained_on_nothing_but_its_loss(terms):
    class OnlyLoss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.ones(1)), []

        def loss(self, tokenizer, idx, label_B, chance_Bn):
            self.seen.append((len(idx), tuple(label_B.shape), tuple(chance_Bn.shape)))
            return self.weight.square().sum()

    model = OnlyLoss()
    losses, _ = terms.train(model, steps=20, batch=4, peak=0.1)
    assert losses[-1] < losses[0] and model.seen[0] == (5, (4,), (4, 1))


def test_every_judge_but_those_of_copies_is_asked(terms):
    report, samples = terms.ask(build("var", terms.tokenizer, width=32))
    assert {"fd_first", "fd_second", "drawn_tokens", "sw_pixels"} <= set(report.scores)
    assert not [name for name in [*report.scores, *report.left_out] if name.startswith("memorised")]
    assert samples.labels.bincount().tolist() == [2] * 10 and report.num == 20


def test_a_name_can_be_registered_again_unless_it_is_the_packages(monkeypatch):
    monkeypatch.setattr("varlite.models.contract.KINDS", KINDS)

    def define():
        config = type("MineConfig", (VARConfig,), {})
        register_again("mine")
        register("mine", type("Mine", (VAR,), {}), config)

    try:
        define()
        define()
        register_again("var")
        assert kind_of(tiny_var()).name == "var"
    finally:
        KINDS.pop("mine", None)
