/** What is wrong with the value of a field, in words; the service has the last word. */

import { isObject, variantOf } from "./recipe";
import { words, type Field, type Json, type JsonObject, type Limits } from "./schema";

/** Problems by the path of the field, its parts joined by dots. */
export type Problems = Record<string, string>;

/** Return what is wrong with a recipe as far as its schema tells. */
export function problemsOf(stages: Field[], recipe: JsonObject): Problems {
  const found: Problems = {};
  for (const stage of stages) check(stage, recipe[stage.key], stage.key, found);
  return found;
}

function check(field: Field, value: Json | undefined, path: string, found: Problems): void {
  if (value === undefined || value === null) {
    if (!(value === null && field.nullable) && field.fallback === undefined) found[path] = "wants a value";
    return;
  }
  switch (field.kind) {
    case "number": {
      const problem = numberProblem(value, field.integer, field.limits);
      if (problem) found[path] = problem;
      return;
    }
    case "numbers":
      checkNumbers(field.count, value, path, found);
      return;
    case "text":
      if (value === "" && field.fallback === undefined) found[path] = "wants a text";
      return;
    case "choice":
      if (!field.options.some((option) => option === value)) found[path] = `is one of ${field.options.join(", ")}`;
      return;
    case "group":
      checkAll(field.fields, value, path, found);
      return;
    case "union": {
      const variant = variantOf(field, value);
      if (variant) checkAll(variant.fields, value, path, found);
      else found[path] = `method is one of ${field.variants.map((one) => words(one.method)).join(", ")}`;
      return;
    }
    default:
      return;
  }
}

function checkAll(fields: Field[], value: Json, path: string, found: Problems): void {
  const content = isObject(value) ? value : {};
  for (const field of fields) check(field, content[field.key], `${path}.${field.key}`, found);
}

function checkNumbers(
  count: { least: number; most: number | undefined },
  value: Json,
  path: string,
  found: Problems,
): void {
  if (!Array.isArray(value) || !value.every((one) => typeof one === "number" && Number.isFinite(one))) {
    found[path] = "wants numbers, separated by commas";
  } else if (value.length < count.least || value.length > (count.most ?? Infinity)) {
    const wanted = count.least === count.most ? `${count.least}` : `${count.least} to ${count.most ?? "any number of"}`;
    found[path] = `wants ${wanted} numbers, got ${value.length}`;
  }
}

/** Return what is wrong with a number, or undefined. */
export function numberProblem(value: Json, integer: boolean, limits: Limits): string | undefined {
  if (typeof value !== "number" || !Number.isFinite(value)) return "wants a number";
  if (integer && !Number.isInteger(value)) return `wants a whole number, got ${value}`;
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = limits;
  if (minimum !== undefined && value < minimum) return `is at least ${minimum}, got ${value}`;
  if (maximum !== undefined && value > maximum) return `is at most ${maximum}, got ${value}`;
  if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) return `is more than ${exclusiveMinimum}, got ${value}`;
  if (exclusiveMaximum !== undefined && value >= exclusiveMaximum) return `is less than ${exclusiveMaximum}, got ${value}`;
  return undefined;
}
