// Random numbers as functions of (seed, stream, step, place): the twin of `random_words` in varlite/drawing.py, where
// the recipe is explained. Words are unsigned 32-bit numbers, seeds are BigInt.

const START = [0x243f6a88, 0x85a308d3];
const STREAM = { draw: 0, seed: 4 };

function mix(x) {
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

function absorb([a, b], word) {
  a = mix(a ^ word);
  return [a, mix(b ^ a)];
}

const absorbAll = (state, words) => words.reduce(absorb, state);

/** The low and the high word of a seed; a negative one counts as int64 does. */
function wordsOf(seed) {
  const bits = BigInt.asUintN(64, BigInt(seed));
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
}

/** A random word for each of `length` places of a step. */
export function randomWords(seed, step, length, stream = STREAM.draw) {
  const state = absorbAll(START, [...wordsOf(seed), stream, step]);
  return Uint32Array.from({ length }, (_, place) => absorb(state, place)[1]);
}

/** The seed of image `number` of a class, of those that `varlite sample --seed SEED` makes. */
export function imageSeed(seed, label, number = 0) {
  const [a, b] = absorbAll(START, [...wordsOf(seed), STREAM.seed, label, number]);
  return (BigInt(a >>> 1) << 32n) | BigInt(b);
}
