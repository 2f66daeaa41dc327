"""A GPU sees no Python: a whole sampling is one graph, nothing in it looks at values or copies from the host."""

import warnings
from collections import Counter
from contextlib import contextmanager
from typing import ClassVar

import pytest
import torch
from examples import EXAMPLES, lively, tokenizer_config, tokenizer_for, var_config
from torch._subclasses import FakeTensorMode
from torch.nn.attention.flex_attention import flex_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from varlite import generate, transformer
from varlite.checkpoints.assemble import twin
from varlite.drawing import Rules
from varlite.inference import Graphs, HalfLinear, autocast, prepare, replace_linears
from varlite.models import KINDS, VAR
from varlite.models.contract import set_dials
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

CPU = torch.device("cpu")
SHORT = {"raster": {"scales": [2]}, "maskgit": {"scales": [3], "steps": 3}}  # a step a token, and eight passes
SETTINGS = [{"top_k": 5, "top_p": 0.9}, {"cfg": 0.0, "top_p": 0.0}]


def seeded(**settings):
    return Rules(seeds=torch.tensor([3, 4]), **settings)


def one_of(kind):
    return EXAMPLES[kind][0] | SHORT.get(kind, {})


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_whole_sampling_is_traced_as_one_graph_and_gives_the_same_image(kind):
    model = lively(kind, **one_of(kind)).requires_grad_(False)
    tokenizer, label_B = tokenizer_for(model).requires_grad_(False), torch.tensor([1, 2])

    def sample(label_B, seeds):
        rules = Rules(cfg=1.5, top_k=5, top_p=0.9, seeds=seeds)
        return model.sample(tokenizer, label_B, rules, model.scales)

    seeds = torch.tensor([3, 4])
    whole = torch.compile(sample, fullgraph=True, backend="eager", dynamic=False)
    assert torch.allclose(whole(label_B, seeds), sample(label_B, seeds), atol=1e-5)


class Watch(TorchDispatchMode):
    """Counts operators that start a kernel, by name, and refuses copies between the host and a GPU."""

    def __init__(self):
        super().__init__()
        self.kernels = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        devices = {x.device.type for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor) and x.ndim}
        assert len(devices) < 2, f"{func} copies between {devices}"
        name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
        if not func.is_view and name not in (
            "empty",
            "new_empty",
            "empty_like",
            "_unsafe_view",
            "empty_strided",
            "detach",
        ):
            self.kernels[name] += 1
        return result


@contextmanager
def on_gpu(kind, **changes):
    """A model, its tokenizer, labels and seeds on a GPU that has no values."""
    config = KINDS[kind].config(**vars(var_config()) | one_of(kind) | changes)
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode():
        patch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)  # looks at values
        with torch.device("cuda"):
            scales = Scales.of(config.scales)
            tokenizer = VQVAE(tokenizer_config(scales=scales.sides, phi_shared=min(4, scales.K))).eval()
            model = KINDS[kind].model(config).eval()
            label_B, seeds = torch.empty(2, dtype=torch.long), torch.empty(2, dtype=torch.long)
        yield model, tokenizer, label_B, seeds


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_nothing_between_labels_and_image_makes_a_gpu_wait(kind, settings):
    # A look at values raises on tensors that have none.
    with on_gpu(kind) as (model, tokenizer, label_B, seeds), torch.inference_mode(), Watch():
        image = model.sample(tokenizer, label_B, Rules(seeds=seeds, **settings), model.scales)
        assert image.is_cuda


def test_smooth_sampling_does_not_make_a_gpu_wait_either():
    with on_gpu("var") as (model, tokenizer, label_B, seeds), torch.inference_mode(), Watch():
        assert model.sample(tokenizer, label_B, Rules(seeds=seeds, smooth=True), model.scales).is_cuda


def kernels_a_scale(depth, kind="var"):
    """Kernels of a scale that is neither the first nor the last."""
    found, before = [], 0
    with on_gpu(kind, depth=depth) as (model, tokenizer, label_B, seeds), torch.inference_mode(), Watch() as watch:

        def on_scale(step):
            nonlocal before
            found.append(watch.kernels.total() - before)
            before = watch.kernels.total()

        model.sample(tokenizer, label_B, Rules(seeds=seeds, on_scale=on_scale), model.scales)
    assert len(set(found[1:-1])) == 1
    return found[2]


def test_kernels_of_a_scale_are_few_and_grow_with_depth_alone():
    one, three = kernels_a_scale(1), kernels_a_scale(3)
    of_block = (three - one) // 2
    assert 0 < of_block <= 42 and one - of_block <= 190, (of_block, one)


# Graphs


class FakeGraph:
    """Stands for torch.cuda.CUDAGraph; recording runs what is recorded."""

    made: ClassVar[list] = []

    def __init__(self):
        self.replayed = 0
        FakeGraph.made.append(self)

    def replay(self):
        self.replayed += 1


@contextmanager
def recording(graph, pool):
    yield


@pytest.fixture
def cuda(monkeypatch):
    FakeGraph.made = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))


def test_a_batch_is_recorded_the_second_time_and_replayed_from_then_on(cuda):
    with on_gpu("var") as (model, tokenizer, *_):
        model = prepare(model)
        ran, sample = [], model.sample.sample
        model.sample.sample = lambda *arguments: ran.append(1) or sample(*arguments)
        for times in (1, 2, 2, 2):  # as it is, recorded, and not again
            generate(model, tokenizer, [1, 2], seeds=0)
            assert len(ran) == times
        assert [graph.replayed for graph in FakeGraph.made] == [3]
        for settings in ({"top_k": 3}, {"cfg": 0}):
            generate(model, tokenizer, [1, 2], seeds=0, **settings)  # another setting, the first time
        generate(model, tokenizer, [1, 2], seeds=0, on_scale=lambda step: None)  # hooks are Python
        assert len(ran) == 5 and len(FakeGraph.made) == 1
        generate(model, tokenizer, [1, 2], seeds=0, cfg=0)
        generate(model, tokenizer, [1, 2], seeds=0, top_k=3)
        assert len(model.sample.held) == Graphs.most and len(FakeGraph.made) == 3


def test_after_a_dial_was_turned_no_earlier_graph_is_replayed(cuda):
    with on_gpu("maskgit", scales=[5]) as (model, tokenizer, *_):
        model = prepare(model)
        for steps in (8, 8, 2, 2):
            set_dials(model, {"steps": steps})
            generate(model, tokenizer, [1, 2], seeds=0)
        assert [graph.replayed for graph in FakeGraph.made] == [1, 1]


def test_where_recording_fails_sampling_goes_on_without(cuda, monkeypatch):
    @contextmanager
    def refusing(graph, pool):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")
        yield

    monkeypatch.setattr(torch.cuda, "graph", refusing)
    with on_gpu("var") as (model, tokenizer, *_):
        model = prepare(model)
        generate(model, tokenizer, [1, 2], seeds=0)
        with pytest.warns(UserWarning, match=r"CUDA graph here \(operation not permitted .* capturing\)"):
            assert generate(model, tokenizer, [1, 2], seeds=0).is_cuda
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert generate(model, tokenizer, [1, 2], seeds=0).is_cuda


def test_on_a_cpu_nothing_is_recorded():
    assert not isinstance(prepare(lively("var")).sample, Graphs)


# Half precision and the block mask


@pytest.mark.parametrize("kind", ["var", "mvar"])
def test_weights_kept_in_half_precision_give_what_autocast_gives(kind):
    model = lively(kind)
    half, tokenizer = twin(model), tokenizer_for(model)
    replace_linears(half, lambda linear: HalfLinear(linear, torch.bfloat16))
    assert any(isinstance(part, HalfLinear) for part in half.modules())
    x_BLZ = torch.randn(2, model.scales.total - 1, model.config.z)
    with autocast(CPU, "bfloat16"), torch.inference_mode():
        assert torch.equal(model(x_BLZ, torch.tensor([1, 2])), half(x_BLZ, torch.tensor([1, 2])))
        images = [generate(m, tokenizer, [1, 2], seeds=0) for m in (model, half)]
    assert torch.equal(*images)
    with pytest.raises(ValueError, match="neither trained nor saved"):
        half.state_dict()


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_block_mask_is_the_dense_one():
    # On a CPU FlexAttention has no gradients; on a GPU `flex_works` compares those too.
    assert transformer.flex_error(CPU, torch.float32, 16, flex_attention, gradients=False) < 1e-5
    mask_LL = Scales.of([1, 2, 3, 4, 5, 6, 8, 10, 13, 16]).block_causal_mask()
    blocks = transformer.block_mask(mask_LL)
    whole = int(blocks.full_kv_num_blocks.sum())
    assert (whole, whole + int(blocks.kv_num_blocks.sum())) == (12, 28)  # of 36


def test_training_takes_the_dense_mask_where_flex_attention_is_not():
    mask_LL = torch.ones(3, 3, dtype=torch.bool)
    assert transformer.for_training(mask_LL, torch.float32, 32) is mask_LL
    assert transformer.for_training((1, 2), torch.float32, 32) == (1, 2)
    with on_gpu("var") as (model, tokenizer, label_B, _):
        assert isinstance(model, VAR)
        idx = [torch.zeros(2, length, dtype=torch.long, device="cuda") for length in model.scales.lengths]
        with torch.no_grad():
            assert model.train().loss(tokenizer, idx, label_B).is_cuda
