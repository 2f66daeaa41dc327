"""How much memory sampling takes: by counting it on tensors without values, and as measured; and d30's keys and values.

The count is exact for what tensors hold. Work space inside a kernel (sorting, convolutions) comes on top, and what the
allocator rounds up.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from varlite.checkpoints.empty import build_empty
from varlite.inference import Precision, autocast, prepare
from varlite.io.meta import on_meta
from varlite.models import kind_of
from varlite.presets import MODELS, TOKENIZERS
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.speed.verify_parts import Job, Row, does_not_fit, free
from varlite.tokenizer import VQVAE

GB = 1e9
CACHES = {8: 3.6, 16: 7.2, 32: 14.3, 64: 28.7}  # GB of d30's keys and values in half precision, as published
LARGEST = "var-d30"


class Held(TorchDispatchMode):
    """Bytes of the tensors that are alive, now and at the most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor):
                self.add(x.untyped_storage())
        return result

    def add(self, storage: Any) -> None:
        if (key := storage._cdata) in self.known:
            return
        self.known.add(key)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self.drop, key, storage.nbytes())

    def drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


@contextmanager
def half_precision(precision: Precision) -> Iterator[None]:
    """Autocast for "cuda" as `autocast` switches it on, also on a machine without a GPU."""
    if precision == "float32":
        yield
        return
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", getattr(torch, precision))
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


class NoDecoder(VQVAE):
    """A tokenizer whose pictures are its latents, for what is published without the decoder."""

    def to_image(self, f_hat: torch.Tensor) -> torch.Tensor:
        return f_hat


def kept_bytes(caches: list[Any]) -> int:
    """Bytes of all tensors in the caches of a model's layers."""
    found = {x.untyped_storage()._cdata: x.untyped_storage().nbytes()
             for cache in caches for x in vars(cache).values() if isinstance(x, torch.Tensor)}  # fmt: skip
    return sum(found.values())


def counted(name: str, batch: int, precision: Precision, decoder: bool = False) -> tuple[int, int]:
    """(peak bytes, bytes of the caches) of sampling a batch with guidance on a GPU, on tensors without values.

    The weights count as on a GPU: those of the blocks in half precision where products are.
    """
    config, caches = MODELS[name].config, []  # type: Any, list[Any]
    tokenizer = on_meta(VQVAE if decoder else NoDecoder, TOKENIZERS[MODELS[name].tokenizer].config).eval()
    tokenizer.scales = Scales.of(config.scales)
    model: Any = on_meta(kind_of(config).model, config)
    shapes = [{key: x.shape for key, x in module.state_dict().items()} for module in (model, tokenizer)]
    with FakeTensorMode(), Held() as held:
        for module, shape_of in zip((model, tokenizer), shapes, strict=True):
            module.load_state_dict({k: torch.empty(s, device="cuda") for k, s in shape_of.items()}, assign=True)
        prepare(model, precision)
        make_cache = model.make_cache

        def kept(*arguments: Any) -> Any:
            caches.extend(made := make_cache(*arguments))
            return made

        model.make_cache = kept
        held.most = held.now
        with half_precision(precision):
            generate(model, tokenizer, [0] * batch, seeds=0)
        return held.most, kept_bytes(caches)


def measured_caches(name: str, batch: int, device: torch.device) -> int:
    """Bytes by which the device's memory in use grows with the keys and values of all scales, in bfloat16."""
    model = build_empty(name).to_empty(device=device).eval().requires_grad_(False)
    for weight in model.state_dict().values():
        weight.zero_()
    prepare(model, "bfloat16")
    with torch.inference_mode(), autocast(device, "bfloat16"):
        given, cache = model.condition(torch.zeros(2 * batch, dtype=torch.long, device=device)), model.make_cache()
        before = torch.cuda.memory_allocated(device)
        for k, length in enumerate(model.scales.lengths):
            x = torch.zeros(2 * batch, length, model.config.z, device=device) if k else None
            model.step(x, given, k, cache, rows=1)
            del x
        torch.cuda.synchronize(device)
        return torch.cuda.memory_allocated(device) - before


def caches(job: Job) -> Iterator[Row]:
    """Keys and values of d30: counted once, since they are linear in the batch, and on a GPU measured."""
    _, of_8 = counted(LARGEST, 8, "bfloat16")
    for batch, published in CACHES.items():
        what, size = f"keys and values of {LARGEST}, batch {batch}, bfloat16", of_8 * batch // 8
        passed = size / GB <= published
        yield Row(what + ", counted", round(size / GB, 2), "GB", f"published {published} GB", passed)
        if job.device.type != "cuda":
            continue
        if size * 1.3 + 6 * GB > torch.cuda.mem_get_info(job.device)[0]:
            yield Row(what + ", measured", "not run", note="does not fit into this GPU's free memory")
            continue
        try:
            found = measured_caches(LARGEST, batch, job.device)
        except Exception as error:
            if not does_not_fit(error):
                raise
            yield Row(what + ", measured", "not run", note="does not fit into this GPU's memory")
        else:
            near = abs(found / size - 1) < 0.1
            yield Row(what + ", measured", round(found / GB, 2), "GB", f"counted {size / GB:.2f}", near)
        free(job.device)
