import copy

import pytest
import torch
from examples import LABELS, lively_var, random_inputs, random_tokens, tiny_tokenizer, var_config

from varlite.checkpoints.assemble import twin
from varlite.inference import autocast, prepare
from varlite.models import MVAR, MVARConfig
from varlite.sampling import generate
from varlite.speed.mvar_state import open_gates


def to_int8(model):
    return prepare(twin(model), "int8")


@pytest.fixture(params=["var", "unnormed", "mvar"])
def model(request):
    if request.param == "mvar":
        torch.manual_seed(0)
        return open_gates(MVAR(MVARConfig(**vars(var_config(width=128)))).eval())
    return lively_var(width=128, attn_norm=request.param == "var")


def test_int8_is_near_float32_and_not_it(model):
    x_BLZ, quantized = random_inputs(model), to_int8(model)
    with torch.inference_mode():
        a, b = model(x_BLZ, LABELS), quantized(x_BLZ, LABELS)
    error = (a - b).std() / a.std()
    assert 1e-4 < error < 0.1


def test_int8_steps_give_the_teacher_forced_logits(model):
    x_BLZ, quantized = random_inputs(model), to_int8(model)
    cache, parts = quantized.make_cache(), [None, *x_BLZ.split(model.scales.lengths[1:], 1)]
    with torch.inference_mode():
        steps = torch.cat([quantized.step(part, LABELS, k, cache) for k, part in enumerate(parts)], 1)
        forced = quantized(x_BLZ, LABELS)
    # Activations are rounded by a scale of all tokens at a time, and those differ.
    assert (steps - forced).std() / forced.std() < 0.1


@torch.inference_mode()
def test_packed_layers_compute_the_same(model):
    x_BLZ, packed = random_inputs(model), prepare(twin(model))
    torch.testing.assert_close(packed(x_BLZ, LABELS), model(x_BLZ, LABELS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_no_linear_layer_of_a_block_is_left_and_what_else_there_is_is_shared(model, precision):
    before = {name: t.clone() for name, t in model.state_dict().items()}
    ready = prepare(twin(model), precision)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert ready.head.linear.weight.data_ptr() == model.head.linear.weight.data_ptr()
    left = {name for block in ready.blocks for name, m in block.named_modules() if type(m) is torch.nn.Linear}
    assert left == {"ada_ln.linear"}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_for_half_precision_and_on_other_devices_a_model_stays_as_it_is(precision):
    names = set(lively_var().state_dict())
    assert set(prepare(lively_var(), precision).state_dict()) == names
    assert set(prepare(lively_var().to("meta")).state_dict()) == names
    assert set(prepare(lively_var().double()).state_dict()) == names


def test_an_int8_model_samples_edits_and_takes_all_settings():
    model, tokenizer = to_int8(lively_var(width=128)), tiny_tokenizer()
    images = generate(model, tokenizer, [1, 2], top_k=5, seeds=0)
    assert images.shape == (2, 1, 10, 10) and images.isfinite().all()


def test_int8_is_refused_elsewhere_than_on_the_cpu_in_float32():
    with pytest.raises(
        ValueError, match=r"precision: int8 is for a float32 model on the CPU, got torch.float64 on cpu"
    ):
        prepare(lively_var().double(), "int8")
    with pytest.raises(ValueError, match=r"got torch.float32 on meta"):
        prepare(lively_var().to("meta"), "int8")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_model_made_ready_for_sampling_is_neither_trained_nor_saved(precision):
    ready = prepare(lively_var(), precision)
    for attempt in (ready.train, ready.state_dict):
        with pytest.raises(ValueError, match="can be neither trained nor saved: load it once more"):
            attempt()
    assert ready.eval() is ready


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_model_made_ready_for_sampling_learns_nothing_by_a_back_door(precision):
    ready, tokenizer = prepare(lively_var(), precision), tiny_tokenizer()
    with pytest.raises(ValueError, match="can be neither trained nor saved: load it once more"):
        ready.loss(tokenizer, random_tokens(ready.scales), LABELS)
    with torch.no_grad():
        assert ready.loss(tokenizer, random_tokens(ready.scales), LABELS).isfinite()


def test_a_model_of_packed_layers_is_not_copied():
    with pytest.raises(ValueError, match="cannot be copied: load it once more"):
        copy.deepcopy(prepare(lively_var()))


@pytest.mark.parametrize("other", [None, "fashion-var-d4", torch.nn.Linear(1, 1), tiny_tokenizer(), (1, 2)])
def test_what_is_no_model_is_not_made_ready(other):
    with pytest.raises(ValueError, match=r"^model must be a model such as varlite.load gives, got "):
        prepare(other)


@pytest.mark.parametrize("precision", ["int4", "half", None, 16, ["int8"], torch.bfloat16])
def test_an_unknown_precision_is_refused(precision):
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, float16, int8, got"):
        prepare(lively_var(), precision)


def test_a_torch_without_such_layers_says_so(monkeypatch):
    monkeypatch.setattr("varlite.inference.ENGINES", ())
    with pytest.raises(ValueError, match="has no dynamic int8 layers"):
        prepare(lively_var(), "int8")


def test_only_the_half_precisions_change_what_matrix_products_compute_in():
    a = torch.ones(2, 2)
    found = {}
    for precision in ("float32", "int8", "bfloat16"):
        with autocast(torch.device("cpu"), precision):
            found[precision] = (a @ a).dtype
    assert found == {"float32": torch.float32, "int8": torch.float32, "bfloat16": torch.bfloat16}


def test_a_model_is_made_ready_for_one_precision(model):
    plain = generate(twin(model), tiny_tokenizer(), [1], seeds=0)
    ready = prepare(prepare(twin(model)))
    assert torch.allclose(generate(ready, tiny_tokenizer(), [1], seeds=0), plain, atol=1e-4)
    with pytest.raises(ValueError, match="precision: this model is ready for float32 already; load it once more for"):
        prepare(ready, "int8")
    with pytest.raises(ValueError, match="precision: this model is ready for int8 already"):
        prepare(to_int8(model))


def test_a_feed_forward_whose_layers_are_not_packed_stays_as_it_is():
    model = lively_var()
    x_BLZ, inner = random_inputs(model), model.blocks[0].ffn
    wrapper = torch.nn.Module()
    wrapper.inner, wrapper.forward = inner, inner.forward
    model.blocks[0].ffn = wrapper
    with torch.inference_mode():
        before = model(x_BLZ, LABELS)
        torch.testing.assert_close(prepare(model)(x_BLZ, LABELS), before, atol=1e-4, rtol=1e-3)
    assert type(inner).__name__ == "FFN"


def test_a_model_made_ready_for_float32_draws_under_autocast_too():
    model, tokenizer = prepare(lively_var()), tiny_tokenizer()
    with autocast(torch.device("cpu"), "bfloat16"):
        image = generate(model, tokenizer, [1], seeds=0)
    assert image.isfinite().all()
