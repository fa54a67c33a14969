/** Recipes: what one may say, the saved ones, and which to begin with. */

import { askJson, TOMO } from "./http";
import { scanPath } from "./scans";
import type { CheckedRecipe, Proposal, SavedRecipe } from "./types";
import type { JsonObject, Schema } from "../recipe/schema";

export function readSchema(signal?: AbortSignal): Promise<Schema> {
  return askJson(`${TOMO}/recipe/schema`, { signal });
}

export function checkRecipe(recipe: JsonObject, signal?: AbortSignal): Promise<CheckedRecipe> {
  return askJson(`${TOMO}/recipe/check`, { body: { recipe }, signal });
}

export function checkText(text: string, signal?: AbortSignal): Promise<CheckedRecipe> {
  return askJson(`${TOMO}/recipe/check`, { body: { text }, signal });
}

export function proposeRecipe(run: string, signal?: AbortSignal): Promise<Proposal> {
  return askJson(`${scanPath(run)}/proposal`, { signal });
}

export async function listRecipes(words: string, signal?: AbortSignal): Promise<SavedRecipe[]> {
  const query = words ? `?${new URLSearchParams({ q: words })}` : "";
  return (await askJson<{ recipes: SavedRecipe[] }>(`${TOMO}/recipes${query}`, { signal })).recipes;
}

export function saveRecipe(
  name: string,
  content: { recipe: JsonObject; tags: string[]; note: string },
): Promise<SavedRecipe> {
  return askJson(`${TOMO}/recipes/${encodeURIComponent(name)}`, { method: "PUT", body: content });
}

export function acceptRecipe(name: string, run: string): Promise<unknown> {
  return askJson(`${TOMO}/recipes/${encodeURIComponent(name)}/accept`, { body: { run_uid: run } });
}
