"""`varlite bench`: what sampling and training cost here."""

from pathlib import Path
from typing import Literal

from varlite.commands.common import ModelOptions, check_counts, pick_device


def bench(
    what: Literal["sample", "train"] = "sample",
    batch: int = 1,
    rounds: int = 5,
    compile: bool = False,
    out: Path | None = None,
    model: ModelOptions = ModelOptions(),
) -> None:
    """Measure sampling, or a training step, part by part, beside a plain way of doing the same, in turns.

    Milliseconds of each part and scale, images and tokens a second, GFLOP by formula, the share of the rate that this
    machine reaches in one large matrix product, and peak memory. Sampling compares with a dense mask, a concatenated
    cache, AdaLN at every scale, a full sort and a contiguous decoder; training with a step that encodes its images.
    A preset without weights here is measured on random ones. --precision is measured beside float32.
    On a CUDA GPU sampling is timed without the recorded graph, which has no parts: `varlite verify` times it with one.

    Args:
        what: sample, or one step of train.
        batch: images at a time.
        rounds: how often each way takes its turn; medians are printed.
        compile: measure compiled blocks as well.
        out: also write all of it to this JSON file.
    """
    from varlite.inference import check_compiler
    from varlite.io.files import write_json
    from varlite.io.outputs import check_file
    from varlite.speed.report import report
    from varlite.speed.side_by_side import bench as measure

    check_counts(batch=batch, rounds=rounds)
    model.check()
    if out is not None:
        check_file("out", out)
    device = pick_device(model.device)
    if compile:
        check_compiler(device)
    record = measure(model.model, batch, what, device, rounds, model.precision, compile, model.weights, model.dials)
    if out is not None:
        write_json(out, record)
    print(report(record))
