// From logits to tokens: guidance, top-p and the draw, the twin of varlite/drawing.py. A row is the logits of one token,
// a Float32Array with an entry for each code. Rounding follows torch's float32 wherever that decides what is drawn.

const round = Math.fround;

/** Classifier-free guidance, (1 + t) cond - t null. */
export function guide(cond, none, t) {
  const [more, less] = [round(1 + t), round(t)];
  return cond.map((logit, i) => round(more * logit) - round(less * none[i]));
}

export function softmax(row) {
  const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = row.map((logit) => Math.exp(round(logit - most)));
  const total = round(powers.reduce((a, b) => a + b, 0));
  return powers.map((power) => power / total);
}

/** The first index whose value is above `limit` (or, with `orEqual`, not below it), in an ascending list. */
function firstAbove(ascending, limit, orEqual = false) {
  const found = ascending.findIndex((value) => value > limit || (orEqual && value === limit));
  return found < 0 ? ascending.length : found;
}

function runningSums(values) {
  let sum = 0;
  return values.map((value) => (sum += value));
}

/** The row with -Infinity for the least likely codes, as long as their summed probability stays within 1 - p. */
export function keepTop(row, topP) {
  if (!topP) return row;
  const ascending = row.slice().sort();
  const mass = runningSums(softmax(ascending));
  const dropped = Math.min(firstAbove(mass, round(1 - topP)), row.length - 1);
  const least = ascending[dropped];
  let surplus = dropped - firstAbove(ascending, least, true); // of codes as likely as the least that stays
  return row.map((logit) => (logit < least || (logit === least && surplus-- > 0) ? -Infinity : logit));
}

/** The code that a random word chooses: `invert` in varlite/drawing.py explains why everything is whole numbers. */
export function draw(row, word) {
  const shares = softmax(row).map((p) => Math.trunc(round(p * 2 ** 28 + 0.5)));
  const sums = runningSums(Float64Array.from(shares));
  const target = Math.floor(((word >>> 8) * sums[sums.length - 1]) / 2 ** 24);
  return Math.min(firstAbove(sums, target), row.length - 1);
}

/** The n likeliest codes of a row, likeliest first: [{code, p}]. */
export function likeliest(row, n) {
  const p = softmax(row);
  const codes = Array.from(p.keys()).sort((a, b) => p[b] - p[a]);
  return codes.slice(0, n).map((code) => ({ code, p: p[code] }));
}
