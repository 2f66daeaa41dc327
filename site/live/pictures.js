// Pictures and codes as colours.

/** One colour for each scale, light for the coarsest to dark for the finest, as in the notebooks. */
const SCALE_COLOURS = ["#e98768", "#de5d5c", "#c14168", "#9a3670", "#722c6e"];

export const scaleColour = (k) => SCALE_COLOURS[Math.min(k, SCALE_COLOURS.length - 1)];

export const codeColour = (code, vocab) => `hsl(${Math.round((300 * code) / vocab)} 65% 55%)`;

/** Shows a picture in [-1, 1], channels first, at its own size in a canvas. */
export function show(canvas, image, [channels, height, width]) {
  Object.assign(canvas, { width, height });
  const pixels = new ImageData(width, height);
  const area = height * width;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = ((image[(c % channels) * area + i] + 1) / 2) * 255;
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
