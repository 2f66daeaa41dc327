"""Sizes and costs of the models against weights, counters and the papers' numbers."""

import pytest
import torch
from examples import RECTANGULAR, SIDES, tiny_tokenizer
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from varlite.experiments.paper_tables import read_table
from varlite.experiments.scaling_laws import flops, flops_by_part, parameters, size
from varlite.models import MVARConfig, RasterConfig, VARConfig, kind_of
from varlite.models.costs import TransformerCosts
from varlite.models.dit import DiT, DiTConfig
from varlite.models.markov import MarkovConfig
from varlite.models.maskgit import MaskGIT, MaskGITConfig
from varlite.presets import MODELS
from varlite.sampling import generate

SMALL = {"depth": 2, "width": 64, "heads": 2, "classes": 3, "vocab": 32, "z": 8, "scales": SIDES}
# No scale of one token: PyTorch scans that without a matrix product, and nothing is counted.
MIXED = {"scales": RECTANGULAR}
LONG = {"scales": [[1, 2], [3, 5], [12, 12]]}  # the last scale is more than two chunks of the scan
CONFIGS = {
    "var": VARConfig(**SMALL),
    "rectangular": VARConfig(**SMALL | {"scales": RECTANGULAR}),
    "shared": VARConfig(**SMALL, shared_adaln=True),
    "plain": VARConfig(**SMALL, adaln=False, attn_norm=False),
    "unnormed": VARConfig(**SMALL, attn_norm=False),
    "wide": VARConfig(**SMALL, ffn_ratio=2.5),
    "mvar": MVARConfig(**SMALL | MIXED),
    "mvar-long": MVARConfig(**SMALL | LONG),
    "mvar-shared": MVARConfig(**SMALL | MIXED, shared_adaln=True),
    "markov": MarkovConfig(**SMALL | MIXED),
    "raster": RasterConfig(**SMALL | {"scales": [5]}),
    "raster-plain": RasterConfig(**SMALL | {"scales": [[3, 4]]}, adaln=False, attn_norm=False),
}


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


def build(config):
    return kind_of(config).model(config).eval()


# Sizes


def test_every_weight_is_counted_once(config):
    assert sum(parameters(config).values()) == sum(weight.numel() for weight in build(config).parameters())
    assert (parameters(config)["mamba"] > 0) == isinstance(config, MVARConfig)


def test_the_size_counts_the_matrices_of_the_blocks(config):
    model = build(config)
    named = [(name, p) for name, p in model.named_parameters() if name.startswith(("blocks.", "shared_ada_ln."))]
    vectors = ("conv1d.weight", "offset_nC", "norm_nC")
    assert size(config) == sum(p.numel() for name, p in named if p.ndim == 2 and not name.endswith(vectors))


def test_the_size_is_the_papers_law():
    for row in read_table("sizes"):
        assert size(MODELS[row["model"]].config) == 73728 * row["depth"] ** 3
    for depth in (1, 2, 3):
        assert size(MODELS[f"fashion-var-d{depth}"].config) == 18 * depth * (32 * depth) ** 2


def test_all_weights_together_are_what_the_papers_call_their_models_size():
    printed = {row["model"]: row["params"] for row in read_table("model-zoo") if row["params"]}
    for name in ("var-d16", "var-d20", "var-d24", "var-d30", "var-d36"):
        assert sum(parameters(MODELS[name].config).values()) == pytest.approx(printed[name], rel=0.035)
    mvar = {row["depth"]: row["params"] for row in read_table("mvar") if row["model"].startswith("mvar")}
    assert sum(parameters(MVARConfig(depth=16)).values()) == pytest.approx(mvar[16], rel=0.035)


# Costs


def counted(run):
    """FLOPs of `run()`; attention as plain matrix products, since the fused one of the CPU is not counted."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    # A depthwise convolution's backward pass is counted as that of a full one.
    return counter.get_total_flops() - counter.get_flop_counts()["Global"].get(torch.ops.aten.convolution_backward, 0)


def arguments(model):
    first = model.spans(model.scales)[0][1]
    return torch.randn(1, model.scales.total - first, model.config.z), torch.tensor([1])


def test_the_cost_of_teacher_forcing_is_what_a_counter_counts(config):
    model = build(config).requires_grad_(False)
    with torch.no_grad():
        assert counted(lambda: model(*arguments(model))) == flops(config, "forward")


def test_the_cost_of_sampling_is_what_a_counter_counts(config):
    model = build(config).requires_grad_(False)

    def steps():
        cache, given = model.make_cache(), model.condition(torch.tensor([1, model.class_embed.null]))
        for k, (start, end) in enumerate(model.spans(model.scales)):
            model.step(torch.randn(2, end - start, config.z) if k else None, given, k, cache)

    with torch.no_grad():
        assert counted(steps) == flops(config, "sampling")


def test_where_a_block_brings_no_formula_its_operations_are_counted(config):
    model = kind_of(config).model
    for what in ("forward", "sampling"):
        counted_by_part = TransformerCosts.__dict__["flops_by_part"].__func__(model, config, what)
        assert sum(counted_by_part.values()) == flops(config, what)
        assert counted_by_part["other"] < 0.01 * flops(config, what)  # the head's AdaLN, which sampling calls by itself


@pytest.mark.parametrize("name", ["var", "mvar", "raster"])
def test_generate_makes_the_passes_that_the_formula_counts(name):
    config, seen = CONFIGS[name], []
    model, tokenizer = build(config), tiny_tokenizer(scales=config.scales)
    model.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[:2])))
    generate(model, tokenizer, [1])
    assert seen == [(2, p.tokens) for p in kind_of(config).model.passes(config, "sampling")]


def test_the_cost_of_filling_in_a_map_is_what_a_counter_counts():
    config = MaskGITConfig(**SMALL | {"scales": [4]}, steps=3)
    model, h_BlZ = MaskGIT(config).eval(), torch.randn(2, 16, config.z)
    hidden_Bl = torch.ones(2, 16, dtype=torch.bool)

    def passes():
        given = model.condition(torch.tensor([1, model.class_embed.null]))
        for _ in range(config.steps):
            model(h_BlZ, hidden_Bl, given)

    with torch.no_grad():
        assert counted(passes) == MaskGIT.flops(config, "sampling")
        assert counted(lambda: model(h_BlZ[:1], hidden_Bl[:1], torch.tensor([1]))) == MaskGIT.flops(config)


def test_the_cost_of_following_a_velocity_is_what_a_counter_counts():
    config = DiTConfig(**SMALL, steps=3)
    model, x = DiT(config).eval(), torch.randn(1, config.z, 5, 5)

    def passes():
        for t in range(model.evaluations(config)):
            model.guided(x, t / 10, torch.tensor([1]), cfg=1.5)

    with torch.no_grad():
        assert counted(passes) == DiT.flops(config, "sampling")
        assert counted(lambda: model(x, torch.rand(1), torch.tensor([1]))) == DiT.flops(config)


def test_evaluations_are_scales_tokens_passes_or_a_solvers_steps():
    small, one = dict(SMALL), SMALL | {"scales": [4]}
    configs = [VARConfig(**small), RasterConfig(**one), MaskGITConfig(**one, steps=3), DiTConfig(**small, steps=6),
               DiTConfig(**small, steps=6, solver="euler")]  # fmt: skip
    assert [kind_of(config).model.evaluations(config) for config in configs] == [4, 16, 3, 11, 6]


def test_training_costs_three_times_a_forward_pass():
    for config in CONFIGS.values():
        model = build(config).train()
        x_BLZ, label_B = arguments(model)
        both = counted(lambda model=model, x=x_BLZ, label=label_B: model(x, label).sum().backward())
        # A little less: nobody needs the gradient of the inputs, or of M-VAR's state before the first token.
        assert 0.9 * flops(config, "training") < both <= flops(config, "training")


def test_parts_add_up_and_name_what_a_model_has():
    assert flops_by_part(CONFIGS["var"])["mamba"] == 0 < flops_by_part(CONFIGS["mvar"])["mamba"]
    assert flops_by_part(CONFIGS["plain"])["adaln"] == 0
    for config in CONFIGS.values():
        assert flops_by_part(config, "training") == {k: 3 * v for k, v in flops_by_part(config).items()}
    with pytest.raises(ValueError, match="what must be forward, sampling or training, got 'backward'"):
        flops(CONFIGS["var"], "backward")


def test_attention_within_scales_saves_the_share_of_pairs_that_the_table_says():
    shares = {row["note"][7:]: row["number"] for row in read_table("claims") if row["claim"].endswith("a scale at 256")}
    var, mvar = VARConfig(depth=16), MVARConfig(depth=16)
    dense = flops_by_part(mvar)["pairs"] / flops_by_part(var)["pairs"]
    causal = flops_by_part(mvar, "sampling")["pairs"] / flops_by_part(var, "sampling")["pairs"]
    assert round(100 * dense, 1) == shares["dense L x L matrix"]
    assert round(100 * causal, 1) == shares["block-causal pairs"]
