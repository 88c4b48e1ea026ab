// A ThumbHash drawn: some 25 bytes that hold a few waves for each of lightness, two differences of colours, and alpha.

/** Pixels of the longer side. */
const LONGER = 32;

/** The waves of one channel, the flat one first. `next` has the heights of the others, as they come. */
function channel(across, down, mean, scale, next) {
  const waves = [{ x: 0, y: 0, height: mean }];
  for (let y = 0; y < down; y += 1) {
    for (let x = y === 0 ? 1 : 0; x * down < across * (down - y); x += 1) waves.push({ x, y, height: 2 * scale * next() });
  }
  return (u, v) => waves.reduce((sum, { x, y, height }) => sum + height * Math.cos(Math.PI * x * u) * Math.cos(Math.PI * y * v), 0);
}

/** What a ThumbHash in base64 shows, as `ImageData`. */
export function drawn(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const bits = (word, from, count) => (word >>> from) & ((1 << count) - 1);
  const means = bytes[0] | (bytes[1] << 8) | (bytes[2] << 16);
  const scales = bytes[3] | (bytes[4] << 8);
  const hasAlpha = bits(means, 23, 1) === 1;
  const [longer, shorter] = [hasAlpha ? 5 : 7, bits(scales, 0, 3)];
  const [across, down] = bits(scales, 15, 1) ? [longer, shorter] : [shorter, longer];

  let at = hasAlpha ? 12 : 10;
  const next = () => {
    const byte = bytes[at >> 1];
    const half = at & 1 ? byte >> 4 : byte & 15;
    at += 1;
    return half / 7.5 - 1;
  };
  // In the order in which their waves come.
  const lightness = channel(Math.max(3, across), Math.max(3, down), bits(means, 0, 6) / 63, bits(means, 18, 5) / 31, next);
  const yellow = channel(3, 3, bits(means, 6, 6) / 31.5 - 1, (1.25 * bits(scales, 3, 6)) / 63, next);
  const red = channel(3, 3, bits(means, 12, 6) / 31.5 - 1, (1.25 * bits(scales, 9, 6)) / 63, next);
  const alpha = hasAlpha ? channel(5, 5, (bytes[5] & 15) / 15, (bytes[5] >> 4) / 15, next) : () => 1;

  const ratio = across / down;
  const width = Math.round(ratio > 1 ? LONGER : LONGER * ratio);
  const height = Math.round(ratio > 1 ? LONGER / ratio : LONGER);
  const pixels = new ImageData(width, height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const [u, v] = [(x + 0.5) / width, (y + 0.5) / height];
      const [l, p, q] = [lightness(u, v), yellow(u, v), red(u, v)];
      const b = l - (2 / 3) * p;
      const r = (3 * l - b + q) / 2;
      // What is below 0 or above 255 is clamped by the array.
      pixels.data.set([r, r - q, b, alpha(u, v)].map((share) => 255 * share), 4 * (y * width + x));
    }
  }
  return pixels;
}

/** Draws pixels into a canvas, as large as they are: how large they are shown, is for styles to say. */
export function drawInto(canvas, pixels) {
  Object.assign(canvas, { width: pixels.width, height: pixels.height });
  canvas.getContext('2d').putImageData(pixels, 0, 0);
}
