"""Models from files: those that ship, those trained here, the published ones. Nothing is ever unpickled as code.

load("fashion-var-d4")                          a model that ships in data/checkpoints
load("runs/mine")                               a folder written by `varlite train`
load("var-d16")                                 published weights, from the hub or its cache
load("var-d16", weights="folder or file")       published weights that lie here, as .pth or converted
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.assemble import adopt, build, open_ours
from varlite.checkpoints.hub import fetch, file_names, one_of, terms
from varlite.checkpoints.key_map import from_published, to_published
from varlite.checkpoints.pth import holds_tokenizer, read_pth, tokenizer_config, transformer_config
from varlite.io.files import atomic, clear_half_written, save_model
from varlite.io.places import CHECKPOINTS, expand_home
from varlite.models import Model, kind_of, require, set_dials
from varlite.presets import MODELS, TOKENIZERS
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, TokenizerConfig, fingerprint

CLASSIFIER = "fashion-classifier"  # scores small models
NETWORKS = {  # that are neither tokenizer nor transformer, and the command that trains each
    CLASSIFIER: "train-classifier", "fashion-judge": "train-judge", "fashion-features": "train-features",
    "still-features": "train-features --data still-life", "still-reader": "train-reader",
}  # fmt: skip


def load(
    name: str | Path,
    weights: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    dials: Mapping[str, Any] | Iterable[str] = (),
) -> tuple[Model, VQVAE]:
    """A transformer and its tokenizer, in evaluation mode.

    name: a preset, a folder written by `varlite train`, or a model file with its tokenizer beside it.
    weights: where the files of a published model lie: a folder, or the transformer's file. None asks the hub, which
    caches, resumes, and with HF_HUB_OFFLINE=1 does without the network. Their licence, source, sampling settings and
    FID are printed on stderr.
    revision: commit of the model's hub repository, to pin what is fetched; a tokenizer from another one is its newest.
    dials: what the model is to sample by instead of its defaults, such as {"steps": 4}; see `models.set_dials`.

    Raises ValueError for an unknown name, a file that is not what it should be, or a tokenizer other than the model was
    trained with, a dial that the model lacks; FileNotFoundError for a missing file.
    """
    path, about, model = open_transformer(name, weights, revision)
    set_dials(model, dials)
    preset, named = MODELS.get(str(name)), about.get("tokenizer")
    fetched = preset is not None and preset.hub is not None and weights is None
    source = named if fetched else _tokenizer_beside(path, named)
    if source is None:
        raise ValueError(f"{path} does not say which tokenizer it goes with: put tokenizer.safetensors beside it")
    if preset is not None and preset.hub is not None and (row := TOKENIZERS.get(str(source))) and row.hub:
        revision = revision if row.hub[0] == preset.hub[0] else None
    found, of_tokenizer, tokenizer = _open_tokenizer(source, Scales.of(model.config.scales), revision)
    _check_pair(path, about, model, found, of_tokenizer, tokenizer)
    if preset is not None and (said := terms(preset)):
        print(f"{name}: {said}", file=sys.stderr)
    return model.to(device=device, dtype=dtype), tokenizer.to(device=device, dtype=dtype)


def open_transformer(
    name: str | Path, weights: str | Path | None = None, revision: str | None = None
) -> tuple[Path, dict[str, Any], Any]:
    """(file, what is known about it, model) of a transformer alone, as precise as its file. Raises as `load` does."""
    preset = MODELS.get(str(name))
    if preset is None and not expand_home(name).exists():
        there = ", ".join(MODELS)
        raise ValueError(f"unknown model {str(name)!r}: neither a file or folder here nor one of {there}")
    if weights is not None and (preset is None or preset.hub is None):
        raise ValueError(
            f"weights: only the published models take it; to load a file, pass it instead of {str(name)!r}"
        )
    published = preset is not None and preset.hub is not None
    path = (
        fetch(preset, revision) if preset is not None and published and weights is None else weights_file(name, weights)
    )
    return path, *_open_transformer(path, str(name) if published else None)


def load_tokenizer(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    scales: Scales | None = None,
    revision: str | None = None,
) -> VQVAE:
    """A tokenizer by preset, folder or file (.safetensors of ours, or a published .pth), in evaluation mode.

    `scales` is the schedule it will be used with, where that is not its own. Raises as `load` does.
    """
    return _open_tokenizer(name, scales, revision)[2].to(device=device, dtype=dtype)


def weights_file(name: str | Path, weights: str | Path | None = None) -> Path:
    """The file that holds a model's weights: what `load` with the same arguments opens."""
    preset = (MODELS | TOKENIZERS).get(str(name))
    if preset is not None and preset.hub is not None:
        if weights is None:
            return fetch(preset)
        path = expand_home(weights)
        return one_of(path, preset) if path.is_dir() else path
    if preset is not None or str(name) in NETWORKS:
        return shipped(str(name))
    path = expand_home(name)
    return path / "model.safetensors" if path.is_dir() else path


def shipped(name: str) -> Path:
    """File of a model that ships. Raises FileNotFoundError that says how to make it where it is not there."""
    path = CHECKPOINTS / name / "model.safetensors"
    if not path.exists():
        command = f"train-tokenizer --preset {name}" if name in TOKENIZERS else f"train --preset {name}"
        command = NETWORKS.get(name, command)
        raise FileNotFoundError(
            f"{path} is not there. It is part of the repository (`git checkout data`, or set VARLITE_DATA to its data "
            f"folder). To train it anew: varlite {command}, which writes runs/{name}"
        )
    return path


# One file each


def _open_transformer(path: Path, published: str | None) -> tuple[dict[str, Any], Any]:
    """(what is known about it, the model) of a file: of that published preset, or else of whatever it says it is."""
    preset = MODELS[published] if published else None
    if path.suffix == ".safetensors":
        about, model = open_ours(path, "transformer")
        if published and preset is not None:
            if about["kind"] != (kind := kind_of(preset.config).name):
                raise ValueError(f"{path} is a {about['kind']}, {published} is a {kind}")
            _same_config(published, preset.config, model.config, path)
    else:
        tensors = read_pth(path)
        config = transformer_config(tensors, path, heads=preset.config.heads if preset else None)
        if published and preset is not None:
            _same_config(published, preset.config, config, path)
            config = preset.config
        about = {"kind": kind_of(config).name, "tokenizer": fitting_tokenizer(config)}
        model = _fill(kind_of(config).model, config, tensors, path)
    if preset is not None:
        about = about | {"tokenizer": preset.tokenizer}
    return about, model


def _open_tokenizer(
    name: str | Path, scales: Scales | None, revision: str | None
) -> tuple[Path, dict[str, Any], VQVAE]:
    """(file, what its header says, tokenizer)."""
    preset = TOKENIZERS.get(str(name))
    if preset is None and not expand_home(name).exists():
        raise ValueError(
            f"unknown tokenizer {str(name)!r}: neither a file or folder here nor one of {', '.join(TOKENIZERS)}"
        )
    path = fetch(preset, revision) if preset is not None and preset.hub is not None else weights_file(name)
    if path.suffix == ".safetensors":
        about, tokenizer = open_ours(path, "tokenizer")
    else:
        tensors, about = read_pth(path, "tokenizer"), {}
        config = tokenizer_config(tensors, path, scales or Scales.of(TokenizerConfig().scales))
        tokenizer = _fill(VQVAE, config, tensors, path)
    if scales is not None:
        tokenizer.scales = scales
    return path, about, tokenizer


def _tokenizer_beside(path: Path, named: str | None) -> str | Path | None:
    """Where a model's tokenizer is: in its folder, in the file itself, or else a preset."""
    for file in ("tokenizer.safetensors", *file_names(TOKENIZERS.get(named or ""))):
        if (path.parent / file).exists():
            return path.parent / file
    return path if holds_tokenizer(path) else named


def _check_pair(
    path: Path, about: dict[str, Any], model: Any, found: Path, of_tokenizer: dict[str, Any], tokenizer: VQVAE
) -> None:
    """Raises ValueError that names both files unless a model and a tokenizer belong together."""
    for key in ("vocab", "z"):
        ours, theirs = getattr(model.config, key, None), getattr(tokenizer.config, key)
        if ours not in (None, theirs):
            raise ValueError(f"{path} was trained with another tokenizer than {found}: {key} is {ours}, not {theirs}")
    expected = about.get("tokenizer_sha256")
    if expected in (None, of_tokenizer.get("tokenizer_sha256")) or expected == (ours := fingerprint(tokenizer)):
        return
    raise ValueError(
        f"{path} was trained with another tokenizer than {found} (fingerprint {expected[:12]}, not {ours[:12]}): put "
        "the tokenizer.safetensors of its training beside it"
    )


def fitting_tokenizer(config: Any) -> str | None:
    """The only preset whose tokens a model of this configuration can be trained on, or None."""
    sides, K = Scales.of(config.scales).sides, len(config.scales)
    fits = [
        name
        for name, preset in TOKENIZERS.items()
        if (preset.config.vocab, preset.config.z) == (config.vocab, config.z)
        # Published tokenizers serve other schedules, too.
        and (preset.config.scales == sides or (preset.hub is not None and len(preset.config.scales) == K))
    ]
    return fits[0] if len(fits) == 1 else None


def _same_config(name: str, expected: Any, found: Any, path: Path) -> None:
    """Raises ValueError unless a file's configuration is the preset's. What only training uses is not in the file."""
    a, b = asdict(expected), asdict(found)
    compared = [key for key in a if key not in expected.only_training]
    differences = [f"{key} {b.get(key)}, not {a[key]}" for key in compared if a[key] != b.get(key)]
    if differences:
        raise ValueError(f"{path} is not {name}: it has {'; '.join(differences)}")


def _fill(cls: Any, config: Any, tensors: dict[str, torch.Tensor], path: Path) -> Any:
    """A model from a published state dict."""
    return adopt(cls, config, from_published(build(cls, config, len(tensors), path), tensors, path), path)


def convert(
    source: Path, out: Path, dtype: torch.dtype | None = None, scales: list | None = None, heads: int | None = None
) -> None:
    """Rewrite a checkpoint: a published .pth as our .safetensors, or ours as a published .pth, by the suffix of `out`.

    `dtype` None keeps the file's. `scales` is asked of tokenizers not trained on the 256-pixel schedule, `heads` of
    transformers without attention normalisation. Raises ValueError for files that are not what they should be, OSError
    that names `out` where it cannot be written.
    """
    source, out = expand_home(source), expand_home(out)
    if out.suffix not in (".safetensors", ".pth"):
        raise ValueError(f"OUT must end in .safetensors (varlite) or .pth (published names), got {out}")
    about, model = _open_either(source, scales, heads)
    if out.suffix == ".pth" and about["kind"] != "tokenizer":
        require(model, "published names", str(source))
        if any(h != w for h, w in model.scales.shapes):
            sides = model.config.scales
            raise ValueError(f"scales: a published file says nothing of sides, so maps are square; got {sides}")
    if dtype is not None:
        if about["kind"] == "tokenizer" and dtype.itemsize < 4:
            about = {"tokenizer_sha256": fingerprint(model)} | about
        model = model.to(dtype)
    clear_half_written(out.parent)
    if out.suffix == ".safetensors":
        save_model(out, about, model.state_dict())
    else:
        # By way of a file object: torch's own writer would hide why it failed.
        with atomic(out) as temporary, open(temporary, "wb") as file:
            torch.save(to_published(model), file)


def _open_either(source: Path, scales: list | None, heads: int | None) -> tuple[dict[str, Any], Any]:
    """(header, model) of a transformer or tokenizer, in a file of ours or a published one."""
    if source.suffix == ".safetensors":
        return open_ours(source)
    tensors, config = read_pth(source), None
    if "quantize.embedding.weight" in tensors:
        if heads:
            raise ValueError(f"heads: {source} is a tokenizer, which has none; leave it out")
        config = tokenizer_config(tensors, source, Scales.of(scales or TokenizerConfig().scales))
        return {"kind": "tokenizer", "config": asdict(config)}, _fill(VQVAE, config, tensors, source)
    config = transformer_config(tensors, source, heads)
    if scales or heads not in (None, config.heads):
        given = f"scales are {Scales.of(config.scales).sides}" if scales else f"{config.heads} heads"
        raise ValueError(f"{'scales' if scales else 'heads'}: {source} says itself, {given}; leave it out")
    about = {"kind": kind_of(config).name, "config": asdict(config)}
    if tokenizer := fitting_tokenizer(config):
        about["tokenizer"] = tokenizer
    else:
        print(f"{source} does not say which tokenizer it goes with: keep that beside it", file=sys.stderr)
    return about, _fill(kind_of(config).model, config, tensors, source)
