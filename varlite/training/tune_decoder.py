"""Between the stages: go on training the decoder alone. Encoder, codebook and phi's rest: tokens keep their meaning.

To adapt a tokenizer's pictures to other images, or to polish them, without making the transformers that speak its
tokens useless.
"""

from pathlib import Path

from varlite.checkpoints.load import load_tokenizer, weights_file
from varlite.datasets.tokens import fingerprint
from varlite.io.provenance import command
from varlite.presets import TokenizerRecipe
from varlite.training.loop import override
from varlite.training.options import Options
from varlite.training.train_tokenizer import fit

RECIPE = TokenizerRecipe(
    steps=2400, batch=64, lr=5e-4, warmup=100, ema=0.998, l1=0.2, quantizer=0.0, start="kept", reseed=False
)


def tune_decoder(tokenizer: str, data: str, out: Path, options: Options = Options()) -> Path:
    """Train the decoder of `tokenizer` on `data` in the folder `out`; returns the path of the finished model.

    Raises as `train_tokenizer` does.
    """
    recipe = override(RECIPE, options)
    model = load_tokenizer(tokenizer).requires_grad_(False)
    tuned = [p for part in (model.post_quant, model.decoder) for p in part.requires_grad_(True).parameters()]
    identity = {"stage": "decoder", "tokenizer_sha256": fingerprint(model)}
    line = command("tune-decoder", options, tokenizer=tokenizer, data=data, out=out)
    return fit(model, tuned, recipe, data, out, options, identity, line, started_from=weights_file(tokenizer))
