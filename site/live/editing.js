// What the hooks of sampling keep of a picture: the twin of varlite/editing.py, and the swap of a token.

/** Where output place i of `to` lies among `from` places, as bilinear resizing has it: two places and their weights. */
function between(i, from, to) {
  const at = Math.max(0, ((i + 0.5) * from) / to - 0.5);
  const low = Math.min(Math.floor(at), from - 1);
  const weight = at - low;
  return [[low, 1 - weight], [Math.min(low + 1, from - 1), weight]];
}

/**
 * Which tokens of scale k are kept, for a mask at the last scale (a list of booleans, true = keep): the mask is resized
 * bilinearly and a token kept where it exceeds a half. Scales of at most three tokens are kept whole. In float64, where
 * Python has float32: in the schedule of this page no share is so near to a half that this would matter.
 */
export function keepAtScale(keep, k, scales) {
  const [h, w] = scales[k];
  const [H, W] = scales[scales.length - 1];
  if (h * w <= 3) return new Array(h * w).fill(true);
  return Array.from({ length: h * w }, (_, i) => {
    let share = 0;
    for (const [y, a] of between(Math.floor(i / w), H, h))
      for (const [x, b] of between(i % w, W, w)) share += keep[y * W + x] ? a * b : 0;
    return share > 0.5;
  });
}

/** Keeps the picture's own tokens where the mask says so: in-painting. */
export function keepTokens(tokens, keep, scales) {
  return (k, drawn) => {
    const kept = keepAtScale(keep, k, scales);
    return drawn.map((code, i) => (kept[i] ? tokens[k][i] : code));
  };
}

/** Puts `code` in place i of scale k. Coarser scales stay; finer ones are drawn for it, or stay too with `keepFiner`. */
export function swapToken(tokens, k, i, code, keepFiner) {
  return (scale, drawn) => {
    if (scale > k) return keepFiner ? tokens[scale] : drawn;
    return scale < k ? tokens[scale] : tokens[scale].map((old, place) => (place === i ? code : old));
  };
}
