/** Lengths in the sample. */

/** Return the longest round length that is no longer than `most` micrometres. */
export function roundLength(most: number): { um: number; text: string } {
  const power = 10 ** Math.floor(Math.log10(most));
  const um = ([5, 2, 1].find((step) => step * power <= most) ?? 1) * power;
  return { um, text: lengthText(um) };
}

export function lengthText(um: number): string {
  const round = (value: number) => String(Number(value.toPrecision(4)));
  if (Math.abs(um) >= 1000) return `${round(um / 1000)} mm`;
  if (Math.abs(um) < 1 && um !== 0) return `${round(um * 1000)} nm`;
  return `${round(um)} µm`;
}
