"""Processes, devices, precision and micro-steps of every training, by way of accelerate.

    varlite train ...                                         one process, on the GPU if there is one
    torchrun --nproc-per-node 8 -m -- varlite train ...       eight, each with an eighth of every batch

`batch` is the global batch: however many processes and micro-steps share it, they compute what one process would, but
for drop-path, which draws for each micro-step anew, and MaskGIT's loss, a mean over the tokens that a micro-step hides.
"""

from collections.abc import Callable, Collection, Iterable
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, send_to_device
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.tensor import DTensor, distribute_tensor

from varlite.io.launcher import announced_processes
from varlite.io.memory import peak_memory
from varlite.training.options import Options

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Door(nn.Module):
    """Routes any method of a model through `forward`, the only call that DDP, FSDP and autocast wrap."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, method: str, *args: Any) -> Any:
        return getattr(self.model, method)(*args)


class Engine:
    """Accelerate with the given options. `main` is the process that writes files.

    Raises ValueError for options that cannot be met: a device that is not here, sharding over a single process,
    less than one micro-step, TensorBoard without its package, variables of a launcher that did not start this.
    """

    def __init__(self, options: Options, blocks: Iterable[str] = ()):
        """`blocks` are the class names of the modules that sharding keeps whole."""
        check_options(options)
        plugin = None
        if options.shard:
            plugin = FullyShardedDataParallelPlugin(
                fsdp_version=2,
                auto_wrap_policy="transformer_based_wrap",
                transformer_cls_names_to_wrap=list(blocks),
                state_dict_type="FULL_STATE_DICT",
            )
        # Accelerate keeps precision, and device, of the first training in a process for all later ones.
        alone = PartialState._shared_state.get("distributed_type") in (None, DistributedType.NO)
        AcceleratorState._reset_state(reset_partial_state=alone)
        self.accelerator = Accelerator(
            cpu=options.device == "cpu",
            mixed_precision=PRECISION[options.precision],
            gradient_accumulation_steps=options.accumulate,
            fsdp_plugin=plugin,
        )
        self.accumulate, self.processes = options.accumulate, self.accelerator.num_processes
        if options.shard and self.processes == 1:
            raise ValueError("shard: there is one process to spread over; start several with torchrun")

    @property
    def main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def process(self) -> int:
        return self.accelerator.process_index

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        """The model behind a `Door`, on its device and wrapped for its processes, and its optimizer."""
        return self.accelerator.prepare(Door(model), optimizer)

    def inside(self, door: nn.Module) -> nn.Module:
        """The model behind its door."""
        return self.accelerator.unwrap_model(door).model

    def check_batch(self, batch: int) -> None:
        """Raises ValueError unless a batch can be cut evenly."""
        parts = self.processes * self.accumulate
        if batch % parts:
            raise ValueError(
                f"batch must be a multiple of processes x micro-steps "
                f"({self.processes} x {self.accumulate}), got {batch}"
            )

    def shares(self, *batch: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """This process's part of a global batch, cut into micro-steps. Parts are contiguous."""
        parts = self.processes * self.accumulate
        cut = [x.chunk(parts) for x in batch]
        mine = range(self.process * self.accumulate, parts)[: self.accumulate]
        return [tuple(x[i] for x in cut) for i in mine]

    def minimise(
        self,
        door: nn.Module,
        optimizer: Any,
        shares: Iterable[tuple[torch.Tensor, ...]],
        loss_of: Callable[..., tuple[torch.Tensor, dict[str, torch.Tensor]]],
        clip: float,
    ) -> dict[str, float]:
        """One optimizer step on a global batch; returns the means over it of the loss, its parts and the gradient norm.

        `loss_of(*share)` gives the loss of a micro-step, a mean over its examples, and other figures to log.
        """
        figures = []
        for share in shares:
            with self.accelerator.accumulate(door):
                loss, parts = loss_of(*send_to_device(share, self.device))
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(door.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            figures.append({name: x.detach().float() for name, x in ({"loss": loss} | parts).items()})
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        means = torch.stack([torch.stack(list(f.values())) for f in figures]).mean(0)
        means = self.accelerator.reduce(means, "mean").tolist()
        return dict(zip(figures[0], means, strict=True)) | {"grad_norm": float(norm)}

    def memory(self) -> int:
        """Peak bytes so far: of the GPU, else of the process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return peak_memory()

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """Rows of all processes, in order: those of the global batch."""
        return self.accelerator.gather(x)

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(x, "sum")

    def wait(self) -> None:
        """Wait for all processes; before that, files that `main` writes may not be there."""
        self.accelerator.wait_for_everyone()

    def any(self, mine: bool) -> bool:
        """True if `mine` is True in any process: they must agree before one of them stops."""
        if self.processes == 1:
            return mine
        return bool(self.sum(torch.tensor(float(mine), device=self.device)) > 0)


def check_options(options: Options) -> None:
    here = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(options.device, False):
        names = ", ".join(name for name in here if here[name])
        raise ValueError(f"device must be one that is here ({names}), got {options.device!r}")
    if options.accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, got {options.accumulate}")
    asked = {"tensorboard": options.tensorboard, "log": options.log != "none"}
    for argument in (name for name in asked if asked[name]):
        package = options.log if argument == "log" else argument
        if find_spec(package) is None:
            raise ValueError(f"{argument}: the package is not installed: pip install {package}")
    announced_processes()  # which raises where a launcher's variables are incomplete


class Trained:
    """A model behind its door and its optimizer, as a part of a checkpoint that any number of processes can read."""

    def __init__(self, door: nn.Module, optimizer: Any, engine: Engine):
        self.door, self.optimizer, self.scaler = door, optimizer.optimizer, engine.accelerator.scaler

    def state_dict(self) -> dict[str, Any]:
        untouched = not self.optimizer.state
        model, optimizer = get_state_dict(self.door, self.optimizer, options=WHOLE)
        if untouched:  # what was asked for has been made just now, by a step of nothing that was counted
            for state in self.optimizer.state.values():
                state["step"].zero_()
            model, optimizer = get_state_dict(self.door, self.optimizer, options=WHOLE)
        return {"model": model, "optimizer": optimizer} | ({"scaler": self.scaler.state_dict()} if self.scaler else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        set_state_dict(
            self.door,
            self.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=WHOLE,
        )
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])


class Ema:
    """Exponential moving average of a model's weights; a shard where the model is sharded.

    The first `update` copies them. `decay` 0 keeps the weights themselves. What takes no gradient stays as it is, but
    for the parameters named in `moving`, which something else than the optimizer moves.
    """

    def __init__(self, model: nn.Module, decay: float, moving: Collection[str] = ()):
        self.decay, self.updates = decay, 0
        self.weights = {name: t.detach().clone() for name, t in model.state_dict().items()}
        self.source = model
        still = {name for name, weight in model.named_parameters() if not weight.requires_grad}
        self.frozen = still - set(moving)

    @torch.no_grad()
    def update(self) -> None:
        decay = self.decay if self.updates else 0.0
        new = self.source.state_dict()
        # A mean of zeros is +0, whatever their sign: what is not trained stays as it is, to the last bit.
        averaged = [name for name in self.weights if name not in self.frozen]
        torch._foreach_lerp_([self.weights[name] for name in averaged], [new[name] for name in averaged], 1 - decay)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Whole tensors, gathered from all processes."""
        whole = {name: t.full_tensor() if isinstance(t, DTensor) else t for name, t in self.weights.items()}
        return {"weights": {name: t.cpu() for name, t in whole.items()}, "updates": self.updates}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, mine in self.weights.items():
            whole = state["weights"][name].to(mine.device)
            if isinstance(mine, DTensor):
                whole = distribute_tensor(whole, mine.device_mesh, mine.placements)
            mine.copy_(whole)
        self.updates = state["updates"]
