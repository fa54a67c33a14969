/** Scans: which there are, what they are like, pictures of them. */

import { askJson, TOMO } from "./http";
import type { AxisAnswer, ScanDetail, ScanPage } from "./types";
import type { JsonObject } from "../recipe/schema";

export interface ScanQuery {
  words: string;
  acquisition: string;
  offset: number;
  limit: number;
}

export function listScans(query: ScanQuery, signal?: AbortSignal): Promise<ScanPage> {
  const asked = new URLSearchParams({ limit: String(query.limit), offset: String(query.offset) });
  if (query.words) asked.set("q", query.words);
  if (query.acquisition) asked.set("state", query.acquisition);
  return askJson(`${TOMO}/scans?${asked}`, { signal });
}

export function readScan(run: string, signal?: AbortSignal): Promise<ScanDetail> {
  return askJson(scanPath(run), { signal });
}

export function findAxis(run: string, recipe: JsonObject, signal?: AbortSignal): Promise<AxisAnswer> {
  return askJson(`${scanPath(run)}/axis`, { body: { recipe }, signal });
}

export function scanPath(run: string): string {
  return `${TOMO}/scans/${encodeURIComponent(run)}`;
}
