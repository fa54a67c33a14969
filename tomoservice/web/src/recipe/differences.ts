/** What differs between two recipes, in words. */

import { isObject, same } from "./recipe";
import { words, type Json, type JsonObject } from "./schema";

export interface Difference {
  path: string;
  one: string;
  other: string;
}

export function differencesBetween(one: Json | undefined, other: Json | undefined, path = ""): Difference[] {
  if (same(one, other)) return [];
  if (isObject(one) && isObject(other) && one.method === other.method) {
    const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
    return [...keys].flatMap((key) => differencesBetween(one[key], other[key], path ? `${path}.${key}` : key));
  }
  return [{ path, one: shown(one), other: shown(other) }];
}

function shown(value: Json | undefined): string {
  if (value === undefined) return "nothing";
  if (isObject(value)) return typeof value.method === "string" ? method(value) : JSON.stringify(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Return a method with those of its parameters that are numbers. */
function method(value: JsonObject): string {
  const numbers = Object.entries(value).filter(([, one]) => typeof one === "number" && one !== 0);
  const listed = numbers.map(([key, one]) => (key === value.method ? `${one}` : `${words(key)} ${one}`));
  return [words(String(value.method)), listed.join(", ")].filter(Boolean).join(" ");
}
