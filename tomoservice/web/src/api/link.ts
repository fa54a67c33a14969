/** How quick the line to the service is, and what it is good for. */

import type { Range } from "../image/statistics";

/** Bytes below which a download says nothing about the line. */
const TELLING_BYTES = 30_000;
/** What is assumed before anything is known: 20 Mbit/s. */
const ASSUMED = 2.5e6;

let bytesPerSecond: number | undefined;

/** Learn from a download. */
export function learnSpeed(bytes: number, seconds: number): void {
  if (bytes < TELLING_BYTES) return;
  const found = bytes / Math.max(seconds, 0.001);
  // Times are averaged, not speeds: a line that has become slow is known to be so at once.
  bytesPerSecond = bytesPerSecond === undefined ? found : 1 / (0.3 / bytesPerSecond + 0.7 / found);
}

export function speed(): number {
  return bytesPerSecond ?? ASSUMED;
}

/** How a picture is sent. */
export interface Detail {
  format: "float32" | "uint16" | "uint8";
  /** Columns at most. */
  maxWidth?: number;
  /** Values between which it is quantised; all of its values if not said. */
  between?: Range;
}

export const EXACT: Detail = { format: "float32" };

/**
 * How fine planes along the axis are, which take all slices: while somebody turns knobs, once nothing changes any
 * more, and where somebody asks for more.
 */
export const PLANE_DETAIL = {
  draft: { format: "float32", maxWidth: 128 },
  settled: { format: "float32", maxWidth: 256 },
  finest: { format: "float32", maxWidth: 512 },
} as const satisfies Record<string, Detail>;

/** Seconds that a picture may be on its way while somebody drags. */
export const FLUID_S = 0.15;
/** Seconds within which exact values may come by themselves. */
export const BY_ITSELF_S = 3;
const NARROWEST = 128;

/**
 * Return how to send a picture while somebody turns knobs.
 *
 * Exact values where the line carries them at once; else as many pixels as come quickly, and no more than the
 * screen has.
 */
export function draftDetail(columns: number, screenWidth: number, window: Range | undefined, line: number): Detail {
  if (4 * columns * columns <= line * FLUID_S) return EXACT;
  const quick = Math.sqrt(line * FLUID_S);
  const maxWidth = Math.round(Math.max(NARROWEST, Math.min(screenWidth, columns, quick)));
  if (!window) return { format: "uint16", maxWidth };
  // Twice as wide as what is shown, so that the window may be moved a little.
  const margin = (window[1] - window[0]) / 2;
  return { format: "uint8", maxWidth, between: [window[0] - margin, window[1] + margin] };
}

/** Return how to send a picture once nothing changes any more; exact values only where they come soon. */
export function settledDetail(columns: number, screenWidth: number, line: number): Detail {
  if (4 * columns * columns <= line * BY_ITSELF_S) return EXACT;
  return { format: "uint16", maxWidth: Math.min(columns, screenWidth) };
}
