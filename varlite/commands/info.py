"""`varlite info`: the table of models, or the card of one."""

import json
from typing import Annotated, Any

import tyro


def info(name: Annotated[str | None, tyro.conf.Positional] = None) -> None:
    """The table of models; or of one, its configuration and card.

    Args:
        name: a preset, or a folder written by a training; none lists all presets.
    """
    print(table() if name is None else one(name))


def table() -> str:
    """All presets: parameters, sides of the scales, tokens, and scores where weights ship."""
    from varlite.checkpoints.cards import read_card
    from varlite.checkpoints.empty import build_empty, parameters
    from varlite.io.places import RESULTS
    from varlite.io.records import read_object
    from varlite.presets import MODELS, TOKENIZERS
    from varlite.scales import Scales

    presets: dict[str, Any] = TOKENIZERS | MODELS
    wide = max(map(len, presets))
    lines = [f"{'name':{wide}s} {'parameters':>13s} {'tokens':>6s}  {'scales':36s} scores"]
    for name, preset in presets.items():
        scales, scores = Scales.of(preset.config.scales), read_card(name).get("scores", {})
        if not scores:
            shown = published(preset) if preset.hub else "to be trained"
        elif name in TOKENIZERS:
            perplexity = ", ".join(f"{p:.0f}" for p in scores.get("perplexity_per_scale", ()))
            error, used = (scores.get(score, float("nan")) for score in ("val_mse", "codes_used"))
            shown = f"MSE {error:.4f}, {used:.0%} of codes used, perplexity {perplexity}"
        elif {"accuracy", "fd", "recall"} <= scores.keys():
            shown = f"accuracy {scores['accuracy']:.1%}, FD {scores['fd']:.2f}, recall {scores['recall']:.2f}"
        elif {"shows_class", "coherent"} <= scores.keys():
            shown = f"shows its class {scores['shows_class']:.1%}, coherent {scores['coherent']:.1%}"
        else:
            shown = f"test loss {scores.get('val_loss', float('nan')):.2f}"
        sides = ",".join(map(str, scales.sides))
        lines.append(f"{name:{wide}s} {parameters(build_empty(name)):13,d} {scales.total:6d}  {sides:36s} {shown}")
    note = "FD: Fréchet distance of samples to the test set in features of fashion-classifier"
    if (path := RESULTS / "yardsticks.json").exists():
        real = read_object(path)["rows"]["test pictures"]["mean"]
        note += "; real pictures have {fd:.1f} and a recall of {recall:.2f}".format(**real)
    return "\n".join((*lines, f"{note}."))


def published(preset: Any) -> str:
    """What the table says of weights on the hub: FID and licence, where the preset has them."""
    origin = getattr(preset, "origin", None)
    if origin is None:
        return "weights from the hub, or --weights"
    return f"published FID {preset.fid:.2f} at {origin.sampling}; {origin.licence}"


def one(name: str) -> str:
    """The configuration and card of one model. Raises ValueError for one that does not exist."""
    from varlite.checkpoints.cards import last_logged, read_card
    from varlite.checkpoints.empty import build_empty, parameters
    from varlite.checkpoints.hub import terms
    from varlite.presets import MODELS, TOKENIZERS

    presets: dict[str, Any] = TOKENIZERS | MODELS
    card = read_card(name)
    if name not in presets and not card:
        raise ValueError(f"unknown model {name!r}: neither a folder with a card.json nor one of {', '.join(presets)}")
    shown: dict[str, Any] = {"name": name}
    if name in presets:
        shown |= {"parameters": parameters(build_empty(name)), "config": vars(presets[name].config)}
        if name in MODELS and (said := terms(MODELS[name])):
            shown["published"] = said
    return json.dumps(shown | card | {"last_logged": last_logged(name)}, indent=1)
