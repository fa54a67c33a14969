/** What the numbers of a picture are like: extremes, percentiles, a histogram. */

export type Range = [low: number, high: number];

export interface Histogram {
  counts: number[];
  range: Range;
}

/** Numbers that are looked at, at most: enough for a histogram, and quick for large pictures. */
const SAMPLE = 65_000;

/** Return finite numbers of a picture, evenly spread over it. */
export function sampled(values: Float32Array, most = SAMPLE): Float32Array {
  const step = Math.max(1, Math.floor(values.length / most));
  const kept = new Float32Array(Math.ceil(values.length / step));
  let count = 0;
  for (let index = 0; index < values.length; index += step) {
    const value = values[index] as number;
    if (Number.isFinite(value)) kept[count++] = value;
  }
  return kept.subarray(0, count);
}

/** Return the extremes, or [0, 1] where there are no numbers. */
export function extremes(values: Float32Array): Range {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

/** Return the values below which `lower` and `upper` percent of the numbers are. */
export function percentiles(values: Float32Array, lower = 0.5, upper = 99.5): Range {
  const sorted = sampled(values).sort();
  if (sorted.length === 0) return [0, 1];
  const place = (percent: number) => sorted[Math.round((percent / 100) * (sorted.length - 1))] as number;
  const [low, high] = [place(lower), place(upper)];
  return low === high ? extremes(sorted) : [low, high];
}

export function histogram(values: Float32Array, bins = 128): Histogram {
  const sample = sampled(values);
  const range = extremes(sample);
  const counts = new Array<number>(bins).fill(0);
  const scale = bins / (range[1] - range[0]);
  for (const value of sample) {
    const bin = Math.min(bins - 1, Math.floor((value - range[0]) * scale));
    counts[bin] = (counts[bin] as number) + 1;
  }
  return { counts, range };
}

export interface Summary {
  count: number;
  mean: number;
  deviation: number;
  range: Range;
}

/** Return mean, standard deviation and extremes of a rectangle of a picture, ends excluded. */
export function summary(
  values: Float32Array,
  columns: number,
  rectangle: { top: number; left: number; bottom: number; right: number },
): Summary | undefined {
  let [count, sum, squares, low, high] = [0, 0, 0, Infinity, -Infinity];
  for (let row = rectangle.top; row < rectangle.bottom; row += 1) {
    for (let column = rectangle.left; column < rectangle.right; column += 1) {
      const value = values[row * columns + column];
      if (value === undefined || !Number.isFinite(value)) continue;
      count += 1;
      sum += value;
      squares += value * value;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (count === 0) return undefined;
  const mean = sum / count;
  return { count, mean, deviation: Math.sqrt(Math.max(0, squares / count - mean * mean)), range: [low, high] };
}

/** Return the numbers along a line of a picture, about one per pixel, between neighbours as they lie. */
export function profile(
  picture: { values: Float32Array; rows: number; columns: number },
  from: { x: number; y: number },
  to: { x: number; y: number },
): Float32Array {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const points = Math.max(2, Math.round(length) + 1);
  const line = new Float32Array(points);
  for (let index = 0; index < points; index += 1) {
    const part = index / (points - 1);
    line[index] = between(picture, from.y + part * (to.y - from.y), from.x + part * (to.x - from.x));
  }
  return line;
}

function between(picture: { values: Float32Array; rows: number; columns: number }, y: number, x: number): number {
  const [row, column] = [Math.floor(y), Math.floor(x)];
  if (y < 0 || x < 0 || y > picture.rows - 1 || x > picture.columns - 1) return Number.NaN;
  const [down, right] = [Math.min(row + 1, picture.rows - 1), Math.min(column + 1, picture.columns - 1)];
  const [v, u] = [y - row, x - column];
  const get = (r: number, c: number) => picture.values[r * picture.columns + c] as number;
  return (
    (1 - v) * ((1 - u) * get(row, column) + u * get(row, right)) +
    v * ((1 - u) * get(down, column) + u * get(down, right))
  );
}
