/** Scans that are reconstructed while they go on. */

import { askJson, TOMO } from "./http";
import type { LiveDetail, LiveWishes } from "./types";

export type LivePicture = "xy" | "xz" | "yz";

export function readLive(run: string, signal?: AbortSignal): Promise<LiveDetail> {
  return askJson(livePath(run), { signal });
}

/** Wish for other slices, or another axis; the next update follows. */
export function wishLive(run: string, wishes: Partial<LiveWishes>): Promise<LiveWishes> {
  return askJson(`${livePath(run)}/wishes`, { body: wishes });
}

/** Return the address of a picture; with another update it is another one. */
export function livePicture(run: string, picture: LivePicture, update: number): string {
  return `${livePath(run)}/pictures/${picture}?format=png&update=${update}`;
}

function livePath(run: string): string {
  return `${TOMO}/live/${encodeURIComponent(run)}`;
}
