import torch
from examples import lively, tokenizer_for
from torch._dynamo.utils import counters

from varlite.inference import compile_blocks
from varlite.models import VAR, VARConfig
from varlite.sampling import generate
from varlite.tokenizer import VQVAE, TokenizerConfig


def test_compiled_blocks_share_one_graph_for_each_scale_and_change_no_image():
    torch.manual_seed(0)
    small = {"vocab": 16, "z": 8, "scales": [1, 2, 3]}
    tokenizer = VQVAE(
        TokenizerConfig(ch=32, multipliers=(1,), encoder_blocks=(1,), decoder_blocks=(1,), **small)
    ).eval()
    model = VAR(VARConfig(depth=3, width=32, heads=2, classes=3, gamma_init=1.0, **small)).eval()
    plain = generate(model, tokenizer, [0, 1], seeds=0)
    counters.clear()
    compile_blocks(model, backend="aot_eager")  # the graphs that inductor would be given, without its compiler
    compiled = generate(model, tokenizer, [0, 1], seeds=0)
    assert counters["stats"]["unique_graphs"] == model.scales.K
    assert not counters["graph_break"]
    assert torch.allclose(plain, compiled, atol=1e-5)


def test_a_raster_model_has_a_graph_for_each_token_though_dynamo_would_stop_at_a_few():
    model = lively("raster", scales=[5])
    tokenizer = tokenizer_for(model)
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=8):
        compile_blocks(model, backend="aot_eager")
        generate(model, tokenizer, [0, 1], seeds=0)
    assert counters["stats"]["unique_graphs"] == model.evaluations(model.config) > 8
    torch._dynamo.reset()  # so many graphs would keep other tests from making theirs
