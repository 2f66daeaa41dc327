"""Between the stages: continue training the decoder alone. Encoder, codebook and phi stay: tokens keep their meaning.

This adapts a tokenizer to other images, or improves its pictures, while transformers trained on its tokens stay usable.
"""

from dataclasses import asdict
from pathlib import Path

from varlite.checkpoints.load import load_tokenizer, weights_file
from varlite.io.files import read_about
from varlite.io.provenance import command
from varlite.presets import TokenizerRecipe
from varlite.tokenizer import fingerprint
from varlite.training.options import Options
from varlite.training.recipes import override
from varlite.training.run import Run, identity
from varlite.training.train_tokenizer import tokenizer_engine, train_parts

# The paper's whole loss; perceptual=none gan=0 is squared error alone. Heads that look at frozen features learn slowly.
RECIPE = TokenizerRecipe(
    steps=400, batch=32, lr=3e-4, warmup=40, ema=0.98, l1=0.2, quantizer=0.0, start="kept", reseed=False,
    perceptual="fashion", gan=0.4, discriminator="features", gan_from=0.1, gan_pace=5.0,
)  # fmt: skip
NOT_THE_DECODERS = ("start", "reseed", "codebook", "quantizer")


def tune_decoder(tokenizer: str, data: str, out: Path, options: Options = Options()) -> Path:
    """Train the decoder of `tokenizer` on `data` in the folder `out`; returns the path of the finished model.

    Raises as `train_tokenizer` does, and ValueError for entries of the recipe that act on the codebook.
    """
    recipe = override(RECIPE, options)
    for name in NOT_THE_DECODERS:
        if getattr(recipe, name) != getattr(RECIPE, name):
            raise ValueError(f"recipe: {name} is about the codebook, which stays as it is while a decoder is tuned")
    engine = tokenizer_engine(options)
    model = load_tokenizer(tokenizer).requires_grad_(False)
    tuned = [p for part in (model.post_quant, model.decoder) for p in part.requires_grad_(True).parameters()]
    file = weights_file(tokenizer)
    # In half precision weights have another fingerprint than those that transformers know, which their file keeps.
    head = {"stage": "decoder", "tokenizer_sha256": read_about(file).get("tokenizer_sha256") or fingerprint(model)}
    line = command("tune-decoder", options, tokenizer=tokenizer, data=data, out=out)
    config = identity(head, recipe, options, data, asdict(model.config))
    run = Run(out, config, line, engine.main, file)
    return train_parts(model, tuned, recipe, data, options, engine, run)
