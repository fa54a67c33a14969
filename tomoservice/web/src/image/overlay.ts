/**
 * A view and the opposite one, mirrored about a rotation axis, in two colours.
 *
 * What is seen at column `c` at 0 degrees is seen at column `2 * axis - c` at 180 degrees. Where the axis is
 * right, both colours add up to grey.
 */

import type { Picture } from "./picture";
import type { Range } from "./statistics";

/**
 * Return the number of the view nearest to half a turn after the first, and by how many degrees it is off.
 *
 * Undefined for a scan that covers less than half a turn but a few degrees.
 */
export function oppositeView(angles: {
  first_deg: number;
  last_deg: number;
  count: number;
}): { index: number; off: number } | undefined {
  const step = (angles.last_deg - angles.first_deg) / Math.max(1, angles.count - 1);
  if (step === 0) return undefined;
  const index = Math.min(angles.count - 1, Math.round(180 / Math.abs(step)));
  const off = Math.abs(180 - index * Math.abs(step));
  return off < 5 ? { index, off } : undefined;
}

/** Return the axis after the mirrored view was dragged to the right by so many columns. */
export function draggedAxis(axis: number, columns: number): number {
  // Both sides move: the axis goes half the way.
  return axis + columns / 2;
}

export type Mixture = "colours" | "difference";

/**
 * Paint both views into an image of the screen, one column per `step` columns of the detector.
 *
 * @param axis rotation axis, a column of the views, 0-based
 * @param range values that become black and white
 */
export function overlaid(
  first: Picture,
  opposite: Picture,
  axis: number,
  range: Range,
  mixture: Mixture = "colours",
): Uint8ClampedArray {
  const { rows, columns } = first;
  const pixels = new Uint8ClampedArray(rows * columns * 4);
  const scale = 255 / (range[1] - range[0] || 1);
  for (let column = 0; column < columns; column += 1) {
    const place = 2 * axis - column;
    const left = Math.floor(place);
    const part = place - left;
    const inside = left >= 0 && left + 1 < columns;
    for (let row = 0; row < rows; row += 1) {
      const start = row * columns;
      const one = ((first.values[start + column] as number) - range[0]) * scale;
      const two = inside
        ? ((1 - part) * (opposite.values[start + left] as number) +
            part * (opposite.values[start + left + 1] as number) -
            range[0]) *
          scale
        : Number.NaN;
      paint(pixels, 4 * (start + column), one, two, mixture);
    }
  }
  return pixels;
}

function paint(pixels: Uint8ClampedArray, at: number, one: number, two: number, mixture: Mixture): void {
  const both = Number.isFinite(two);
  if (mixture === "difference") {
    const grey = both ? 128 + (one - two) * 2 : 128;
    pixels[at] = pixels[at + 1] = pixels[at + 2] = grey;
  } else {
    pixels[at] = one;
    pixels[at + 1] = pixels[at + 2] = both ? two : one / 3;
  }
  pixels[at + 3] = 255;
}

/** Return how badly the views fit where both see something: mean square difference, on the scale of `range`. */
export function mismatch(first: Picture, opposite: Picture, axis: number, range: Range): number {
  const { rows, columns } = first;
  let [sum, count] = [0, 0];
  const rowStep = Math.max(1, Math.floor(rows / 64));
  for (let column = 0; column < columns; column += 1) {
    const place = 2 * axis - column;
    const left = Math.floor(place);
    const part = place - left;
    if (left < 0 || left + 1 >= columns) continue;
    for (let row = 0; row < rows; row += rowStep) {
      const start = row * columns;
      const two =
        (1 - part) * (opposite.values[start + left] as number) + part * (opposite.values[start + left + 1] as number);
      const off = (first.values[start + column] as number) - two;
      sum += off * off;
      count += 1;
    }
  }
  const span = range[1] - range[0] || 1;
  return count ? sum / count / (span * span) : Number.NaN;
}
