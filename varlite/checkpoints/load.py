"""Models from files: those that ship, those trained here, the published ones. Nothing is ever unpickled as code.

load("fashion-var-d4")                          a model that ships in data/checkpoints
load("runs/mine")                               a folder written by `varlite train`
load("var-d16")                                 published weights, from the hub or its cache
load("var-d16", weights="folder or file")       published weights that lie here, as .pth or converted
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.key_map import from_published, to_published
from varlite.checkpoints.pth import read_pth, tokenizer_config, transformer_config
from varlite.io.files import atomic, read_model, save_model
from varlite.io.meta import on_meta
from varlite.io.places import CHECKPOINTS
from varlite.models import KINDS, Model, kind_of, require
from varlite.presets import MODELS, TOKENIZERS, ModelPreset, TokenizerPreset
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, TokenizerConfig

CLASSIFIER = "fashion-classifier"  # scores small models; neither a tokenizer nor a transformer


def load(
    name: str | Path,
    weights: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
) -> tuple[Model, VQVAE]:
    """A transformer and its tokenizer, in evaluation mode.

    name: a preset, a folder written by `varlite train`, or a model file with its tokenizer beside it.
    weights: where the files of a published model lie: a folder, or the transformer's file. None asks the hub, which
    caches, resumes, and with HF_HUB_OFFLINE=1 does without the network.
    revision: commit of the hub repository, to pin what is fetched.

    Raises ValueError for an unknown name or a file that is not what it should be, FileNotFoundError for a missing one.
    """
    path = Path(name)
    if str(name) in MODELS:
        preset = MODELS[str(name)]
        if preset.hub is None:
            if weights is not None:
                raise ValueError(
                    f"weights: only the published models take it; to load a file, pass it instead of {name!r}"
                )
            path = shipped(str(name))
        else:
            return _load_published(str(name), preset, weights, device, dtype, revision)
    elif not path.exists():
        there = ", ".join(MODELS)
        raise ValueError(f"unknown model {str(name)!r}: neither a file or folder here nor one of {there}")
    if path.is_dir():
        path = path / "model.safetensors"
    about, tensors = read_model(path)
    if about["kind"] not in KINDS:
        raise ValueError(f"{path} is a {about['kind']}, not a transformer ({', '.join(KINDS)})")
    kind = kind_of(about["kind"])
    model = _assemble(kind.model, kind.config, about, tensors, path, device, dtype)
    names = ["tokenizer.safetensors", *_file_names(TOKENIZERS.get(about["tokenizer"]))]
    source = next((path.parent / name for name in names if (path.parent / name).exists()), about["tokenizer"])
    return model, load_tokenizer(source, device=device, dtype=dtype, scales=model.scales, revision=revision)


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
    path = Path(name)
    if str(name) in TOKENIZERS:
        preset = TOKENIZERS[str(name)]
        path = shipped(str(name)) if preset.hub is None else _from_hub(preset, revision)
    elif not path.exists():
        raise ValueError(
            f"unknown tokenizer {str(name)!r}: neither a file or folder here nor one of {', '.join(TOKENIZERS)}"
        )
    if path.is_dir():
        path = path / "model.safetensors"
    if path.suffix == ".safetensors":
        about, tensors = read_model(path)
        if about["kind"] != "tokenizer":
            raise ValueError(f"{path} is a {about['kind']}, not a tokenizer")
        tokenizer = _assemble(VQVAE, TokenizerConfig, about, tensors, path, device, dtype)
    else:
        tensors = read_pth(path)
        config = tokenizer_config(tensors, path, scales or Scales.of(TokenizerConfig().scales))
        tokenizer = _fill(VQVAE, config, tensors, path, device, dtype)
    if scales is not None:
        tokenizer.scales = scales
    return tokenizer


def weights_file(name: str | Path, weights: str | Path | None = None) -> Path:
    """The file that holds a model's weights: what `load` with the same arguments opens."""
    preset = (MODELS | TOKENIZERS).get(str(name))
    if preset is not None and preset.hub is not None:
        if weights is None:
            return _from_hub(preset, None)
        return _one_of(Path(weights), preset) if Path(weights).is_dir() else Path(weights)
    if preset is not None or str(name) == CLASSIFIER:
        return shipped(str(name))
    path = Path(name)
    return path / "model.safetensors" if path.is_dir() else path


def shipped(name: str) -> Path:
    """File of a model that ships. Raises FileNotFoundError that says how to make it where it is not there."""
    path = CHECKPOINTS / name / "model.safetensors"
    if not path.exists():
        command = f"train-tokenizer --preset {name}" if name in TOKENIZERS else f"train --preset {name}"
        command = "train-classifier" if name == CLASSIFIER else command
        raise FileNotFoundError(
            f"{path} is not there. It is part of the repository (`git checkout data`, or set VARLITE_DATA to its data "
            f"folder). To train it anew: varlite {command}, which writes runs/{name}"
        )
    return path


# Published checkpoints


def _load_published(name: str, preset: ModelPreset, weights, device, dtype, revision) -> tuple[Model, VQVAE]:
    scales = Scales.of(preset.config.scales)
    if weights is None:
        path, beside = _from_hub(preset, revision), None
    else:
        path = Path(weights)
        if path.is_dir():
            path = _one_of(path, preset)
        beside = path.parent
    kind = kind_of(preset.config)
    if path.suffix == ".safetensors":
        header, tensors = read_model(path)
        if header["kind"] != kind.name:
            raise ValueError(f"{path} is a {header['kind']}, {name} is a {kind.name}")
        _same_config(name, preset.config, kind.config(**header["config"]), path)
        model = _assemble(kind.model, kind.config, header, tensors, path, device, dtype)
    else:
        tensors = read_pth(path)
        found = transformer_config(tensors, path, heads=preset.config.heads)
        _same_config(name, preset.config, found, path)
        model = _fill(kind.model, preset.config, tensors, path, device, dtype)
    source: str | Path = preset.tokenizer
    if beside is not None and any((beside / f).exists() for f in _file_names(TOKENIZERS[preset.tokenizer])):
        source = _one_of(beside, TOKENIZERS[preset.tokenizer])
    return model, load_tokenizer(source, device=device, dtype=dtype, scales=scales, revision=revision)


def _file_names(preset: ModelPreset | TokenizerPreset | None) -> list[str]:
    """What the files of a published model may be called: as they were published, or converted."""
    if preset is None or preset.hub is None:
        return []
    return [preset.hub[1], str(Path(preset.hub[1]).with_suffix(".safetensors"))]


def _one_of(folder: Path, preset: ModelPreset | TokenizerPreset) -> Path:
    for file in reversed(_file_names(preset)):  # a converted file is the quicker one to open
        if (folder / file).exists():
            return folder / file
    raise FileNotFoundError(f"weights: {folder} holds neither {' nor '.join(_file_names(preset))}")


def _from_hub(preset: ModelPreset | TokenizerPreset, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    assert preset.hub is not None
    repository, file = preset.hub
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise FileNotFoundError(
            f"{file} could not be fetched from https://huggingface.co/{repository} and is not in the local cache "
            f"({type(error).__name__}). With the file at hand: load(name, weights='folder that holds it')."
        ) from None


def convert(
    source: Path, out: Path, dtype: torch.dtype | None = None, scales: list | None = None, heads: int | None = None
) -> None:
    """Rewrite a checkpoint: a published .pth as our .safetensors, or ours as a published .pth, by the suffix of `out`.

    `dtype` None keeps the file's. `scales` is asked of tokenizers not trained on the 256-pixel schedule, `heads` of
    transformers without attention normalisation.
    """
    if out.suffix not in (".safetensors", ".pth"):
        raise ValueError(f"OUT must end in .safetensors (varlite) or .pth (published names), got {out}")
    if source.suffix == ".safetensors":
        header, tensors = read_model(source)
        if header["kind"] == "tokenizer":
            cls, config = VQVAE, TokenizerConfig(**header["config"])
        else:
            cls, config = kind_of(header["kind"]).model, kind_of(header["kind"]).config(**header["config"])
        model = _adopt(cls, config, tensors, source)
    else:
        tensors = read_pth(source)
        if "quantize.embedding.weight" in tensors:
            config = tokenizer_config(tensors, source, Scales.of(scales or TokenizerConfig().scales))
            cls, header = VQVAE, {"kind": "tokenizer", "config": asdict(config)}
        else:
            config = transformer_config(tensors, source, heads)
            kind = kind_of(config)
            cls, header = kind.model, {"kind": kind.name, "config": asdict(config), "tokenizer": "imagenet-vq"}
        model = _adopt(cls, config, from_published(on_meta(cls, config), tensors, source), source)
    if out.suffix == ".pth" and header["kind"] != "tokenizer":
        require(model, "published names", str(source))
        if any(h != w for h, w in model.scales.shapes):
            raise ValueError(f"scales: a published file says nothing of sides, so maps are square; got {config.scales}")
    if dtype is not None:
        model = model.to(dtype)
    if out.suffix == ".safetensors":
        save_model(out, header, model.state_dict())
    else:
        with atomic(out) as temporary:
            torch.save(to_published(model), temporary)


def _same_config(name: str, expected: Any, found: Any, path: Path) -> None:
    """Raises ValueError unless a file's configuration is the preset's. What only training uses is not in the file."""
    training = {"drop_path": 0.0, "class_dropout": 0.0, "gamma_init": 0.0}
    a, b = asdict(replace(expected, **training)), asdict(replace(found, **training))
    differences = [f"{key} {b[key]}, not {a[key]}" for key in a if a[key] != b[key]]
    if differences:
        raise ValueError(f"{path} is not {name}: it has {'; '.join(differences)}")


# Putting weights into models


def twin(model, cls=None):
    """Another model of the same weights, not copies of them; of another class, if one is given."""
    other = on_meta(cls or type(model), model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    other.scales = model.scales  # a tokenizer may serve another schedule than its configuration's
    return other.train(model.training)


def _adopt(cls, config, tensors: dict[str, torch.Tensor], path: Path):
    """A model that uses the given tensors themselves as its weights. Raises ValueError that names what does not fit."""
    model = on_meta(cls, config)
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    wrong = [
        name
        for name in sorted(expected.keys() | tensors.keys())
        if tuple(tensors.get(name, torch.empty(0)).shape) != expected.get(name)
    ]
    if wrong:
        raise ValueError(
            f"{path} does not hold the model of its header: missing, extra or mis-shaped {', '.join(wrong[:6])}"
        )
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def _assemble(cls, config_cls, header: dict[str, Any], tensors, path, device, dtype):
    return _adopt(cls, config_cls(**header["config"]), _cast(tensors, dtype), path).to(device)


def _fill(cls, config, tensors: dict[str, torch.Tensor], path, device, dtype):
    """A model from a published state dict."""
    return _adopt(cls, config, _cast(from_published(on_meta(cls, config), tensors, path), dtype), path).to(device)


def _cast(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
