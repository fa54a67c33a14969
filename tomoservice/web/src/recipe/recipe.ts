/** Recipes as plain JSON: reading and changing single values, and saying only what is not default. */

import type { Field, Json, JsonObject, UnionField, Variant } from "./schema";

export type Recipe = JsonObject;
export type Path = readonly string[];

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return the value at a path, or undefined. */
export function valueAt(recipe: Json | undefined, path: Path): Json | undefined {
  let value: Json | undefined = recipe;
  for (const key of path) {
    if (!isObject(value)) return undefined;
    value = value[key];
  }
  return value;
}

/** Return a copy with another value at a path; undefined removes it. */
export function withValue(recipe: JsonObject, path: Path, value: Json | undefined): JsonObject {
  const [key, ...rest] = path;
  if (key === undefined) return isObject(value) ? value : recipe;
  const copy = { ...recipe };
  if (rest.length > 0) {
    const inner = recipe[key];
    copy[key] = withValue(isObject(inner) ? inner : {}, rest, value);
  } else if (value === undefined) {
    delete copy[key];
  } else {
    copy[key] = value;
  }
  return copy;
}

/** Return whether two values are the same. */
export function same(one: Json | undefined, other: Json | undefined): boolean {
  if (one === other) return true;
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((value, index) => same(value, other[index]));
  }
  if (isObject(one) && isObject(other)) {
    const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
    return [...keys].every((key) => same(one[key], other[key]));
  }
  return false;
}

export function variantOf(field: UnionField, value: Json | undefined): Variant | undefined {
  const method = isObject(value) ? value.method : undefined;
  return field.variants.find((variant) => variant.method === method);
}

/**
 * Return the value of a union for another method.
 *
 * What both methods call the same is kept; `seeds` are values for what has no default.
 */
export function switched(
  field: UnionField,
  method: string,
  previous: Json | undefined,
  seeds: JsonObject = {},
): JsonObject {
  const variant = field.variants.find((one) => one.method === method);
  const before = isObject(previous) ? previous : {};
  const value: JsonObject = { method };
  for (const one of variant?.fields ?? []) {
    const kept = before[one.key] ?? seeds[one.key] ?? one.fallback;
    if (kept !== undefined) value[one.key] = kept;
    else if (one.kind === "union") value[one.key] = switched(one, one.variants[0]?.method ?? "", undefined, seeds);
  }
  return value;
}

/** Return the recipe with every default written out, as far as there are defaults. */
export function filled(stages: Field[], recipe: JsonObject, defaults: JsonObject): JsonObject {
  const content: JsonObject = { ...defaults, ...recipe };
  for (const stage of stages) {
    content[stage.key] = completed(stage, recipe[stage.key], defaults[stage.key]);
  }
  return content;
}

function completed(field: Field, value: Json | undefined, fallback: Json | undefined): Json {
  const given = value === undefined ? (fallback ?? field.fallback) : value;
  if (field.kind === "group" && isObject(given)) return completedFields(field.fields, given, {});
  if (field.kind === "union" && isObject(given)) {
    const variant = variantOf(field, given);
    return variant ? completedFields(variant.fields, given, { method: variant.method }) : given;
  }
  return given ?? null;
}

function completedFields(fields: Field[], given: JsonObject, base: JsonObject): JsonObject {
  const content: JsonObject = { ...base };
  for (const field of fields) {
    const value = given[field.key];
    if (value !== undefined || field.fallback !== undefined) content[field.key] = completed(field, value, undefined);
  }
  return content;
}

/** Return only what differs from the defaults; of a union with another method, its method too. */
export function sparse(stages: Field[], recipe: JsonObject, defaults: JsonObject): JsonObject {
  const content: JsonObject = {};
  for (const stage of stages) {
    const rest = difference(stage, recipe[stage.key], defaults[stage.key] ?? stage.fallback);
    if (rest !== undefined) content[stage.key] = rest;
  }
  return content;
}

function difference(field: Field, value: Json | undefined, fallback: Json | undefined): Json | undefined {
  if (value === undefined || same(value, fallback)) return undefined;
  if (field.kind === "group" && isObject(value)) return differing(field.fields, value, {});
  if (field.kind === "union" && isObject(value)) {
    const variant = variantOf(field, value);
    return variant ? differing(variant.fields, value, { method: variant.method }) : value;
  }
  return value;
}

function differing(fields: Field[], value: JsonObject, base: JsonObject): JsonObject | undefined {
  const content = { ...base };
  for (const field of fields) {
    const rest = difference(field, value[field.key], field.fallback);
    if (rest !== undefined) content[field.key] = rest;
  }
  return Object.keys(content).length > 0 ? content : undefined;
}

/** Return whether a picture without the stage is still that of the scan: the stage is off by default. */
export function isExtra(stage: Field, defaults: JsonObject): boolean {
  const usual = defaults[stage.key];
  return stage.kind === "union" && isObject(usual) && usual.method === "none";
}
