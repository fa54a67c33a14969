/** A picture: numbers in rows, and what is known of them. */

export interface Picture {
  /** Rows of `columns` numbers each. */
  values: Float32Array;
  rows: number;
  columns: number;
  /** Of the whole picture, before it was made smaller for the screen. */
  fullRows: number;
  fullColumns: number;
  units: string;
  /** Whether the numbers are exact, or good enough for the screen. */
  exact: boolean;
  rotationAxis: number | undefined;
  /** Seconds of each stage that was computed for it. */
  seconds: Record<string, number>;
}

/** Return numbers that were sent as 8 or 16 bits, on a scale from `low` to `high`. */
export function dequantised(sent: Uint8Array | Uint16Array, low: number, high: number): Float32Array {
  const step = (high - low) / (sent instanceof Uint8Array ? 255 : 65535);
  const values = new Float32Array(sent.length);
  for (let index = 0; index < sent.length; index += 1) values[index] = low + (sent[index] as number) * step;
  return values;
}

/** Return the number at a place of the picture, or undefined beside it. */
export function at(picture: Picture, row: number, column: number): number | undefined {
  if (row < 0 || column < 0 || row >= picture.rows || column >= picture.columns) return undefined;
  return picture.values[row * picture.columns + column];
}

/** Return one picture less another of the same size. */
export function difference(one: Picture, other: Picture): Picture | undefined {
  if (one.rows !== other.rows || one.columns !== other.columns) return undefined;
  const values = one.values.map((value, index) => value - (other.values[index] as number));
  return { ...one, values, seconds: {}, exact: one.exact && other.exact };
}
