/** Batches: many scans by one recipe, steered as one. */

import { askJson, TOMO } from "./http";
import type { BatchDetail, BatchPage } from "./types";
import type { JsonObject } from "../recipe/schema";

export const BATCH_VERBS = ["pause", "resume", "retry", "stop", "cancel"] as const;
export type BatchVerb = (typeof BATCH_VERBS)[number];

export interface BatchWanted {
  runs: string[];
  recipes: JsonObject[];
  name: string;
  priority: "background" | "normal";
}

export function listBatches(limit: number, signal?: AbortSignal): Promise<BatchPage> {
  return askJson(`${TOMO}/batches?limit=${limit}`, { signal });
}

export function readBatch(id: string, signal?: AbortSignal): Promise<BatchDetail> {
  return askJson(path(id), { signal });
}

export function createBatch(wanted: BatchWanted): Promise<BatchDetail> {
  return askJson(`${TOMO}/batches`, { body: wanted });
}

/** Add scans to a batch, by some recipes; without any, by those that the batch began with. */
export function addToBatch(id: string, runs: string[], recipes: JsonObject[] | undefined): Promise<BatchDetail> {
  return askJson(`${path(id)}/items`, { body: recipes ? { runs, recipes } : { runs } });
}

export function steerBatch(id: string, verb: BatchVerb): Promise<BatchDetail> {
  return askJson(`${path(id)}/${verb}`, { method: "POST" });
}

/** Work on some items first. */
export function reorderBatch(id: string, items: number[]): Promise<BatchDetail> {
  return askJson(`${path(id)}/order`, { method: "PUT", body: { items } });
}

function path(id: string): string {
  return `${TOMO}/batches/${encodeURIComponent(id)}`;
}
