// The coarse-to-fine loop: the twin of `NextScale.sample` in varlite/models/next_scale.py.

import { draw, guide, keepTop } from "./drawing.js";
import { randomWords } from "./hash.js";

/**
 * Draws one picture, scale by scale: yields after each scale
 *   k, tokens     the codes that the picture has there
 *   rows          logits of each token after guidance, before top-p
 *   before        the latent map before this scale
 *   image         the picture so far, in [-1, 1]
 *
 * label, cfg, topP: as in `varlite.generate`. seed: of this image (`imageSeed`), a BigInt.
 * replace(k, drawn): the tokens to go on with, given those that were drawn.
 */
export async function* sample(model, { label, cfg, topP, seed, replace = (k, drawn) => drawn }) {
  const K = model.scales.length;
  const guided = cfg > 0 && K > 1;
  const cond = await model.condition(guided ? [label, model.about.null_label] : [label]);
  let [fHat, x, cache] = [model.empty(), null, []];
  for (let k = 0; k < K; k++) {
    const step = await model.step(k, cond, x, cache);
    const rows = guidedRows(model, k, step.logits, (cfg * k) / Math.max(1, K - 1));
    const words = randomWords(seed, k, rows.length);
    const tokens = replace(k, rows.map((row, i) => draw(keepTop(row, topP), words[i])));
    const before = fHat;
    ({ fHat, x } = await model.add(k, before, tokens));
    cache = step.cache;
    yield { k, tokens, rows, before, image: (await model.decode(fHat))[0] };
  }
}

/** A row of logits for each token of scale k, with guidance of strength t. */
function guidedRows(model, k, logits, t) {
  const V = model.vocab;
  const l = model.scales[k][0] * model.scales[k][1];
  const row = (i) => logits.slice(i * V, (i + 1) * V);
  return Array.from({ length: l }, (_, i) => (t ? guide(row(i), row(l + i), t) : row(i)));
}
