"""README.md of a repository on the hub: what the model is, how to load it, how it was trained, what it scores.

Everything is taken from the model and from card.json; nothing is filled in by hand.
"""

from typing import Any

from varlite.models import kind_of
from varlite.tokenizer import VQVAE

MADE = "<!-- Made by varlite from card.json; a README.md without this line is never replaced. -->"
# Data sets by the names that trainings use: the hub's name, what people call them, their licence.
DATASETS = {
    "fashion": ("zalando-datasets/fashion_mnist", "Fashion-MNIST", "MIT"),
    "cifar10": ("uoft-cs/cifar10", "CIFAR-10", "not stated by its authors"),
}
# Scores that the hub lists, and what they are called; others stand in the table alone.
METRICS = {
    "fid": "FID", "is": "Inception Score", "accuracy": "Accuracy of samples", "fd": "Fréchet distance (not FID)",
    "precision": "Precision", "recall": "Recall", "val_loss": "Test loss", "codes_used": "Share of codes used",
    "val_mse": "Squared error of reconstructions",
}  # fmt: skip


def model_card(model: Any, card: dict[str, Any], repository: str, tokenizer_beside: bool) -> str:
    """The text of a model card. `repository` is what `from_pretrained` is to be given."""
    name = repository.rstrip("/").rpartition("/")[2]
    parts = [
        front_matter(model, card, name),
        f"# {name}",
        what_it_is(model),
        usage(model, repository, tokenizer_beside),
    ]
    parts += [training(card), scores(card), licence(card), MADE]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter(model: Any, card: dict[str, Any], name: str) -> str:
    """What the hub reads: library, licence, tags, data, and scores as evaluation results."""
    from huggingface_hub import EvalResult, ModelCardData

    data = card.get("training", {}).get("data", "")
    dataset = DATASETS.get(data)
    results = [
        EvalResult(
            task_type="unconditional-image-generation",
            dataset_type=dataset[0],
            dataset_name=dataset[1],
            metric_type=metric,
            metric_value=value,
            metric_name=METRICS[metric],
        )
        for metric, value in (card.get("scores", {}) if dataset else {}).items()
        if metric in METRICS
    ]
    kind = "tokenizer" if isinstance(model, VQVAE) else kind_of(model).name
    about = ModelCardData(
        library_name="varlite",
        license=card.get("license"),
        tags=list(dict.fromkeys(["varlite", kind, "visual-autoregressive", "image-generation", "pytorch"])),
        datasets=[dataset[0]] if dataset else None,
        eval_results=results or None,
        model_name=name if results else None,
        pipeline_tag=None if kind == "tokenizer" else "unconditional-image-generation",
    )
    return f"---\n{about.to_yaml().strip()}\n---"


def what_it_is(model: Any) -> str:
    """One paragraph: kind, size, scales."""
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    sides = " ".join(f"{h}x{w}" for h, w in model.scales.shapes)
    if isinstance(model, VQVAE):
        c, (H, W) = model.config, model.image_size()
        return (
            f"A multi-scale image tokenizer ([VAR](https://arxiv.org/abs/2404.02905), section 3.2) of {millions:.1f} "
            f"million weights: images of {H} x {W} with {c.channels} channel{'s' * (c.channels > 1)} to token maps of "
            f"{sides} from {c.vocab} codes, and back."
        )
    first_line = (type(model).__doc__ or "").strip().partition("\n")[0]
    return (
        f"A class-conditional image model of kind `{kind_of(model).name}` with {millions:.1f} million weights. "
        f"{first_line} Token maps: {sides}; {model.config.classes} classes; {model.config.vocab} codes."
    )


def usage(model: Any, repository: str, tokenizer_beside: bool) -> str:
    """The lines to copy."""
    cls = type(model)
    if isinstance(model, VQVAE):
        lines = ["from varlite import VQVAE", "", f'tokenizer = VQVAE.from_pretrained("{repository}")']
        lines += ["idx = tokenizer.encode(images)  # (B, channels, H, W) in [-1, 1]", "images = tokenizer.decode(idx)"]
    else:
        source = repository if tokenizer_beside else "the tokenizer it was trained with"
        lines = ["import varlite", "from varlite import VQVAE", f"from {cls.__module__} import {cls.__name__}", ""]
        lines += [f'model = {cls.__name__}.from_pretrained("{repository}")']
        lines += [f'tokenizer = VQVAE.from_pretrained("{source}")']
        lines += ["images = varlite.generate(model, tokenizer, labels=[0])  # (1, channels, H, W) in [0, 1]"]
    text = "## Use\n\n```python\n" + "\n".join(lines) + "\n```"
    names = getattr(model, "class_names", None)
    return text + (f"\n\nClasses, in order: {', '.join(names)}." if names else "")


def training(card: dict[str, Any]) -> str:
    """Data, recipe, time and command; empty where the card says nothing."""
    about = card.get("training", {})
    if not about:
        return ""
    data, recipe = about.get("data", ""), about.get("recipe", {})
    rows = [("data", DATASETS[data][1] if data in DATASETS else data), ("seed", about.get("seed"))]
    rows += [(name, recipe[name]) for name in ("steps", "batch", "lr") if name in recipe]
    if "minutes" in about:
        rows += [("minutes", f"{about['minutes']} on {about.get('machine', 'a machine not recorded')}")]
    text = "## Training\n\n" + table(("", ""), [(name, value) for name, value in rows if value not in (None, "")])
    return text + (f"\n\n    {about['command']}" if "command" in about else "")


def scores(card: dict[str, Any]) -> str:
    """All scores with the command that measured them; empty where there are none."""
    found = card.get("scores", {})
    rows = [(METRICS.get(k, k.replace("_", " ")), v) for k, v in found.items() if isinstance(v, int | float | str)]
    if not rows:
        return ""
    command = card.get("scores_command")
    return "## Scores\n\n" + table(("score", "value"), rows) + (f"\n\n    {command}" if command else "")


def licence(card: dict[str, Any]) -> str:
    data = DATASETS.get(card.get("training", {}).get("data", ""))
    text = f"## Licence\n\nOf the weights: {card.get('license', 'not stated')}."
    return text + (f" Of the data, {data[1]}: {data[2]}." if data else "")


def table(head: tuple[str, str], rows: list[tuple[str, Any]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)
