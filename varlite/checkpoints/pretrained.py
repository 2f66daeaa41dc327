"""The hub's habits: a model and its tokenizer as a repository, or as a folder that looks like one.

    README.md             the model card, made from card.json (varlite/checkpoints/readme.py)
    card.json             how it was trained, and its scores
    config.json           what the header of the weights says, for those who look and do not load
    model.safetensors     a transformer
    tokenizer.safetensors its tokenizer

A folder written by a training is of the same form.
"""

import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.cards import CONFIG, MODEL, TOKENIZER, card_folder, lies_beside_a_transformer, read_card
from varlite.checkpoints.hub import fetch_file, upload
from varlite.checkpoints.load import load_tokenizer, open_transformer
from varlite.checkpoints.readme import MADE, model_card
from varlite.io.checks import brief
from varlite.io.files import atomic, save_model, write_json
from varlite.io.outputs import check_folder
from varlite.io.places import CHECKPOINTS, expand_home
from varlite.models import Model, kind_of
from varlite.presets import MODELS, TOKENIZERS
from varlite.tokenizer import VQVAE, fingerprint

CARD = "card.json"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
SHIPPED_LICENSE = "mit"


def from_pretrained(
    name: str | Path,
    cls: type[Any] = Model,
    *,
    revision: str | None = None,
    token: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Any:
    """A model or a tokenizer alone, in evaluation mode, with its `card`.

    name: a preset, a folder or file, or OWNER/NAME, a repository of the hub that `push_to_hub` wrote.
    cls: `VAR`, say, or `VQVAE` for the tokenizer of a model or one by itself; a model of any kind by default.
    revision, token: the commit of the repository, and who asks for it where it is private.

    Raises ValueError for an unknown name or a model of another class; OSError for what cannot be fetched.
    """
    wants_tokenizer = issubclass(cls, VQVAE)
    source: str | Path = str(name)
    if source not in (TOKENIZERS if wants_tokenizer else MODELS):
        source = find(str(name), (TOKENIZER, MODEL) if wants_tokenizer else (MODEL,), revision, token)
    if wants_tokenizer:
        model: Any = load_tokenizer(source, revision=revision)
    else:
        path, _, model = open_transformer(source, revision=revision)
        if not isinstance(model, cls):
            raise ValueError(f"{path} is a {kind_of(model).name}, which is no {cls.__name__}")
    model.card = card_of(source)
    return model.to(device=device, dtype=dtype)


def find(name: str, files: tuple[str, ...], revision: str | None, token: str | None) -> Path:
    """The first of `files` that a folder or repository has; a file is itself.

    Card and configuration come along from the hub.
    """
    path = expand_home(name)
    if path.is_dir():
        if there := [path / file for file in files if (path / file).exists()]:
            return there[0]
        raise FileNotFoundError(f"{path} holds no {' or '.join(files)}")
    if path.exists():
        return path
    if not REPOSITORY.fullmatch(name):
        known = ", ".join(TOKENIZERS if TOKENIZER in files else MODELS)
        raise ValueError(
            f"unknown model {name!r}: neither a file or folder here, nor OWNER/NAME on the hub, nor one of {known}"
        )
    published = [preset for preset, row in (MODELS | TOKENIZERS).items() if row.hub and row.hub[0] == name]
    hint = f"What it has are presets: {', '.join(published)}." if published else ""
    for file in files[:-1]:
        if (found := fetch_if_there(name, file, revision, token)) is not None:
            break
    else:
        found = fetch_file(name, files[-1], revision, token, hint)
    for file in (CARD, CONFIG):
        fetch_if_there(name, file, revision, token)
    return found


def fetch_if_there(name: str, file: str, revision: str | None, token: str | None) -> Path | None:
    """A file of a repository; None where it has none, and offline where the cache has none."""
    try:
        return fetch_file(name, file, revision, token)
    except FileNotFoundError:
        return None


def card_of(source: str | Path) -> dict[str, Any]:
    """The card beside a model's file, or of a preset. What ships says under which licence it does.

    That of a tokenizer is not the card of the transformer that it lies beside.
    """
    folder = card_folder(source) if isinstance(source, str) else source.parent
    if isinstance(source, Path) and lies_beside_a_transformer(source):
        return {}
    shipped = folder.resolve().parent == CHECKPOINTS.resolve()
    return ({"license": SHIPPED_LICENSE} if shipped else {}) | read_card(str(folder.absolute()))


def save_pretrained(
    model: Any,
    folder: str | Path,
    *,
    tokenizer: VQVAE | None = None,
    card: dict[str, Any] | None = None,
    license: str | None = None,
    repository: str | None = None,
) -> None:
    """Write a model, or a tokenizer by itself, into a folder that `from_pretrained` reads.

    tokenizer: the one that the model was trained with; with it, `load` reads the folder too.
    card: training and scores, as in card.json; by default that of the file that the model came from.
    license: of the weights, by the hub's short names ("mit", "cc-by-4.0"); by default the card's.
    repository: OWNER/NAME, for the lines of the model card that say how to load it; by default the folder's name.

    A README.md that somebody wrote stays, and a tokenizer that lies there already. Raises ValueError for a model that
    cannot be saved, OSError for a folder that cannot be written.
    """
    out, alone = expand_home(folder), isinstance(model, VQVAE)
    check_folder("folder", out)
    if alone and tokenizer is not None:
        raise ValueError("tokenizer: a tokenizer is saved without another one")
    if not alone and not isinstance(model, Model):
        raise ValueError(f"model must be a model or a tokenizer, got {brief(model)}")
    card = dict(model.card if card is None else card) | ({"license": license} if license else {})
    about = about_transformer(model, tokenizer) if not alone else {"kind": "tokenizer", "config": asdict(model.config)}
    save_model(out / (TOKENIZER if alone else MODEL), about, model.state_dict())
    if tokenizer is not None:
        save_pretrained(tokenizer, out, card={})
    elif alone and (out / MODEL).exists():
        return  # card and config are the transformer's
    write_json(out / CONFIG, {"library": "varlite"} | about)
    if card:
        write_json(out / CARD, card)
    else:
        (out / CARD).unlink(missing_ok=True)
    readme = out / "README.md"
    if not readme.exists() or MADE in readme.read_text(encoding="utf-8", errors="replace"):
        text = model_card(model, card, repository or out.resolve().name, tokenizer is not None)
        with atomic(readme) as temporary:
            temporary.write_text(text, encoding="utf-8")


def about_transformer(model: Model, tokenizer: VQVAE | None) -> dict[str, Any]:
    """The header of a transformer's file, which names the tokenizer by its fingerprint."""
    about: dict[str, Any] = {"kind": kind_of(model).name, "config": asdict(model.config)}
    if model.class_names:
        about["classes"] = model.class_names
    return about if tokenizer is None else about | {"tokenizer_sha256": fingerprint(tokenizer)}


def push_to_hub(
    model: Any,
    repository: str,
    *,
    tokenizer: VQVAE | None = None,
    card: dict[str, Any] | None = None,
    license: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Upload with varlite",
) -> str:
    """Bring a model with its tokenizer to OWNER/NAME on the hub, in one commit, and return its address.

    The first four arguments are those of `save_pretrained`, the others those of `upload` in varlite/checkpoints/hub.py.
    Raises ValueError and OSError as these do.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        save_pretrained(model, out, tokenizer=tokenizer, card=card, license=license, repository=repository)
        return upload(out, repository, private=private, token=token, revision=revision, message=message)
