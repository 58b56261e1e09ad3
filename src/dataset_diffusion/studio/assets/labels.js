// From stored evidence to a label map and its colours. The comparison is the library's: labelling/assign.py.

export const UNCERTAIN = 255;

/** Class ids, where the highest heatmap reaches the thresholds; both are float32, as the library compares them. */
export function labelOf({ ids, highest }, threshold, band) {
  const alpha = Math.fround(threshold);
  const beta = Math.fround(band);
  const label = new Uint8Array(ids.length);
  for (let pixel = 0; pixel < ids.length; pixel += 1) {
    const value = highest[pixel];
    label[pixel] = value < beta ? 0 : value < alpha ? UNCERTAIN : ids[pixel];
  }
  return label;
}

/** Colours by id as one number a pixel, in the byte order of this machine; the background is transparent. */
export function colourTable(palette) {
  const bytes = new Uint8Array(4 * 256);
  palette.forEach(([red, green, blue], id) => bytes.set([red, green, blue, id === 0 ? 0 : 255], 4 * id));
  return new Uint32Array(bytes.buffer);
}

/** Show a label map on a canvas, one pixel each. */
export function paintLabel(canvas, { shape: [height, width], label }, colours) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let pixel = 0; pixel < label.length; pixel += 1) pixels[pixel] = colours[label[pixel]];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const RAMP = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

/** Show one heatmap, 0..255, bright for much. */
export function paintHeat(canvas, [height, width], values) {
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  values.forEach((value, pixel) => {
    const place = (value / 255) * (RAMP.length - 1);
    const low = Math.min(Math.floor(place), RAMP.length - 2);
    const colour = RAMP[low].map((from, channel) => from + (place - low) * (RAMP[low + 1][channel] - from));
    image.data.set([...colour, 255], 4 * pixel);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Paint a disc of one id into a label map, in place. */
export function stamp(label, [height, width], row, column, radius, id) {
  for (let y = Math.max(0, Math.ceil(row - radius)); y <= Math.min(height - 1, row + radius); y += 1) {
    for (let x = Math.max(0, Math.ceil(column - radius)); x <= Math.min(width - 1, column + radius); x += 1) {
      if ((y - row) ** 2 + (x - column) ** 2 <= radius ** 2) label[y * width + x] = id;
    }
  }
}
