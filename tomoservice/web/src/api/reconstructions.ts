/** Reconstructions: asking for them, following them. */

import { askJson, TOMO } from "./http";
import { scanPath } from "./scans";
import type { ReconstructionDetail, ReconstructionPage, ReconstructionSummary } from "./types";
import type { JsonObject } from "../recipe/schema";

export interface ReconstructionWanted {
  recipe: JsonObject;
  recipe_name?: string;
}

export function reconstruct(run: string, wanted: ReconstructionWanted): Promise<ReconstructionSummary> {
  return askJson(`${scanPath(run)}/reconstructions`, { body: wanted });
}

export function listReconstructions(query: string[][], signal?: AbortSignal): Promise<ReconstructionPage> {
  return askJson(`${TOMO}/reconstructions?${new URLSearchParams(query)}`, { signal });
}

export function readReconstruction(run: string, id: string, signal?: AbortSignal): Promise<ReconstructionDetail> {
  return askJson(reconstructionPath(run, id), { signal });
}

export function reconstructionPath(run: string, id: string): string {
  return `${TOMO}/reconstructions/${encodeURIComponent(run)}/${encodeURIComponent(id)}`;
}
