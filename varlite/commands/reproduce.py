"""`varlite reproduce WHAT`: every experiment whose results ship in data/results, measured again."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union

from tyro.conf import arg, subcommand

from varlite.commands.common import Data, Device, check_counts, pick_device
from varlite.training.options import Options

OUT, RUNS = Path("out/results"), Path("runs/sweep")


def check(out: Path, **counts: int) -> None:
    """Raises ValueError or OSError for a folder that cannot be written, or a number below 1."""
    from varlite.io.outputs import check_folder

    check_folder("out", out)
    check_counts(**counts)


def fashion(
    num: int = 10_000,
    seeds: tuple[int, ...] = (0, 1, 2),
    models: tuple[str, ...] = (),
    out: Path = OUT,
    device: Device = "auto",
) -> None:
    """Scores of every small model over seeds, and whether they are within the band that ships.

    Args:
        num: class-balanced samples for each model and seed.
        seeds: random seeds; the band is what they span.
        models: some of the models; default all that ship.
        out: folder for MODEL.json of each; with data/results they become the band.
    """
    from varlite.experiments import bands

    check(out, num=num)
    if not seeds:
        raise ValueError("seeds: give at least one")
    bands.report(bands.reproduce_fashion(out, num, seeds, models, pick_device(device)), out)


def guidance(num: int = 2000, out: Path = OUT, device: Device = "auto") -> None:
    """Scores of fashion-var-d4 over guidance, and over top-k.

    Args:
        num: class-balanced samples for each setting.
        out: folder for guidance.json.
    """
    from varlite.experiments.bands import reproduce_guidance

    check(out, num=num)
    for row in reproduce_guidance(out, num, device=pick_device(device))["cfg"]:
        print(f"cfg {row['cfg']:<4} fd {row['fd']:.3f} accuracy {row['accuracy']:.1%}")


def ablation(num: int = 10_000, runs: Path = RUNS, out: Path = OUT, device: Device = "auto") -> None:
    """VAR's table 3 at small scale: scores of the models of `varlite reproduce sweep`, one thing added at a time.

    Args:
        num: class-balanced samples for each row.
        runs: where `varlite reproduce sweep` trained.
        out: folder for ablation.json.
    """
    from varlite.experiments.ablation import reproduce_ablation

    check(out, num=num)
    for row in reproduce_ablation(out, runs, num, device=pick_device(device))["rows"]:
        print(f"{row['step']:28s} fd {row['mean']['fd']:.3f} accuracy {row['mean']['accuracy']:.1%}")


def speed(num: int = 10_000, rounds: int = 5, out: Path = OUT, device: Device = "auto") -> None:
    """What sampling and training cost on this machine, which nothing else should use for twenty minutes.

    Args:
        num: class-balanced samples for each model's scores in int8.
        rounds: how often each way takes its turn.
        out: folder for speed.json.
    """
    from varlite.experiments.costs import reproduce_speed

    check(out, num=num, rounds=rounds)
    for title, found in reproduce_speed(out, num, rounds, pick_device(device))["bench"].items():
        print(f"{title}: " + ", ".join(f"{way} {s['median']} times" for way, s in found["speedup"].items()))


def codebook(
    data: Data = "fashion", runs: Path = Path("runs/codebook"), out: Path = OUT, training: Options = Options()
) -> None:
    """Train one small tokenizer with no remedy against codebook collapse, and with each: 17 minutes on two cores.

    Args:
        runs: folder of the trainings.
        out: folder for codebook.json, the curves.
    """
    from varlite.experiments.codebook_collapse import ablate_codebook

    check(out)
    for name, arm in ablate_codebook(data, runs, out / "codebook.json", training)["arms"].items():
        last = arm["curve"][-1]
        print(f"{name:28s} error {arm['val_mse']:.4f}, {last['codes_used']:.0%} of codes used, "
              f"perplexity {last['perplexity_per_scale']}")  # fmt: skip


def sweep(runs: Path = RUNS, out: Path = OUT, training: Options = Options()) -> None:
    """Train the ladder of small models, and the arms of the ablation, one after another: some hours on two cores.

    All models see the same token maps of Fashion-MNIST in the same order.

    Args:
        runs: a folder for each training.
        out: folder for sweep.json, the curves, written after each training.
    """
    from varlite.experiments import sweep as sweeps

    check(out)
    for run, found in sweeps.sweep("fashion", runs, out / "sweep.json", training)["runs"].items():
        print(f"{run:28s} test loss {found['curve'][-1]['val_loss']:.4f}, {found['minutes']} minutes")


def mvar_state(rounds: int = 5, out: Path = OUT) -> None:
    """Time M-VAR with its state carried against re-scanning all earlier tokens, at 256 and 512, on random weights.

    In turns in one process, without decoding; and the memory of the state, at 1024 too. Some two minutes on two cores.

    Args:
        rounds: images timed in each way.
        out: folder for mvar-carried.json, the times and sizes.
    """
    from varlite.speed.mvar_state import bench_mvar

    check(out, rounds=rounds)
    result = bench_mvar(out / "mvar-carried.json", rounds)
    for size, found in result["timed"].items():
        equal = f"{found['tokens_equal']:.1%} of tokens equal"
        print(f"{size} x {size}: carried {found['speedup']:.2f} times as fast, {equal}")
    for size, kept in result["state_bytes_per_layer"].items():
        print(f"{size} x {size}, kept per layer: " + ", ".join(f"{n} {b / 2**20:.2f} MiB" for n, b in kept.items()))


EXPERIMENTS: dict[str, Callable[..., None]] = {
    "fashion": fashion,
    "guidance": guidance,
    "ablation": ablation,
    "speed": speed,
    "codebook": codebook,
    "sweep": sweep,
    "mvar-state": mvar_state,
}
Experiment: Any = Union[tuple(Annotated[None, subcommand(name, constructor=f)] for name, f in EXPERIMENTS.items())]  # noqa: UP007


def reproduce(what: Annotated[None, arg(constructor=Experiment)]) -> None:
    """Measure again what data/results holds: an experiment by name, into out/results.

    Finished measurements and trainings are kept: the same command goes on. --out data/results replaces what ships.
    """
