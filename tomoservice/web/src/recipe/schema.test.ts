import { describe, expect, it } from "vitest";

import { problemsOf } from "./checks";
import { differencesBetween } from "./differences";
import { filled, same, sparse, switched, valueAt, withValue } from "./recipe";
import { stagesOf, type Field, type JsonObject, type Schema } from "./schema";
// The schema that the service gives: docs/generate.py writes it.
import content from "../../../../docs/reference/recipe.schema.json";

const schema = content as unknown as Schema & { examples: [JsonObject] };
const stages = stagesOf(schema);
const [defaults] = schema.examples;

function stage(key: string): Field {
  const found = stages.find((one) => one.key === key);
  if (!found) throw new Error(`no stage ${key}`);
  return found;
}

describe("the form", () => {
  it("has every stage, in physical order", () => {
    expect(stages.map((one) => one.key)).toEqual([
      "frames",
      "flat_field",
      "outliers",
      "stripes",
      "phase",
      "minus_log",
      "beam_hardening",
      "rotation_axis",
      "reconstruction",
      "rings",
      "output",
    ]);
  });

  it("knows units, limits and help of a field", () => {
    const axis = stage("rotation_axis");
    if (axis.kind !== "union") throw new Error("the axis is a choice of methods");
    const value = axis.variants.find((one) => one.method === "value");
    const [column, tilt] = value?.fields ?? [];
    expect(column).toMatchObject({ kind: "number", unit: "pixel", fallback: undefined, title: "Rotation axis" });
    expect(column?.help).toContain("integer is");
    expect(tilt).toMatchObject({ limits: { minimum: -10, maximum: 10 }, fallback: 0 });
  });

  it("knows what may be left empty", () => {
    const axis = stage("rotation_axis");
    const auto = axis.kind === "union" ? axis.variants.find((one) => one.method === "auto") : undefined;
    expect(auto?.fields[0]).toMatchObject({ key: "search", kind: "numbers", nullable: true, count: { least: 2, most: 2 } });
  });

  it("leaves no field without a control but lists of objects", () => {
    const others: string[] = [];
    const look = (fields: Field[], path: string) => {
      for (const field of fields) {
        const here = `${path}${field.key}`;
        if (field.kind === "other") others.push(here);
        if (field.kind === "group") look(field.fields, `${here}.`);
        if (field.kind === "union") for (const variant of field.variants) look(variant.fields, `${here}:${variant.method}.`);
      }
    };
    look(stages, "");
    expect(others).toEqual(["phase:ctf_several.scans"]);
  });
});

describe("recipes", () => {
  it("say only what is not default, and are filled again", () => {
    expect(sparse(stages, defaults, defaults)).toEqual({});
    const recipe = withValue(defaults, ["rotation_axis"], { method: "value", value: 295.5, tilt_deg: 0 });
    const short = sparse(stages, recipe, defaults);
    expect(short).toEqual({ rotation_axis: { method: "value", value: 295.5 } });
    expect(same(filled(stages, short, defaults), recipe)).toBe(true);
  });

  it("are changed without touching what was there", () => {
    const changed = withValue(defaults, ["frames", "binning"], 2);
    expect(valueAt(changed, ["frames", "binning"])).toBe(2);
    expect(valueAt(defaults, ["frames", "binning"])).not.toBe(2);
    expect(withValue({ a: 1, b: 2 }, ["a"], undefined)).toEqual({ b: 2 });
  });

  it("keep what two methods have in common", () => {
    const field = stage("reconstruction");
    if (field.kind !== "union") throw new Error("reconstruction is a choice of methods");
    const other = switched(field, "sirt", { method: "fourier", circular_mask: false });
    expect(other).toMatchObject({ method: "sirt", circular_mask: false, iterations: 100 });
  });

  it("take seeds for what has no default, in nested choices too", () => {
    const field = stage("phase");
    if (field.kind !== "union") throw new Error("phase is a choice of methods");
    expect(switched(field, "paganin", { method: "none" }, { delta_beta: 300 })).toMatchObject({
      method: "paganin",
      material: { method: "delta_beta", delta_beta: 300 },
    });
  });

  it("say in words how they differ", () => {
    const other = withValue(defaults, ["stripes"], { method: "sorting", size: null });
    expect(differencesBetween(defaults, other)).toEqual([{ path: "stripes", one: "none", other: "sorting" }]);
    const axis = withValue(defaults, ["rotation_axis"], { method: "value", value: 295.5, tilt_deg: 0 });
    expect(differencesBetween(defaults, axis)).toEqual([{ path: "rotation_axis", one: "auto", other: "value 295.5" }]);
  });
});

describe("what is wrong", () => {
  it("is nothing in the default recipe", () => {
    expect(problemsOf(stages, defaults)).toEqual({});
  });

  it("is said at the field, with the limit", () => {
    const tilted = withValue(defaults, ["rotation_axis"], { method: "value", value: 10, tilt_deg: 11 });
    expect(problemsOf(stages, tilted)).toEqual({ "rotation_axis.tilt_deg": "is at most 10, got 11" });
    const empty = withValue(defaults, ["rotation_axis"], { method: "value", tilt_deg: 0 });
    expect(problemsOf(stages, empty)).toEqual({ "rotation_axis.value": "wants a value" });
  });

  it("covers lists and whole numbers", () => {
    const window = withValue(defaults, ["rotation_axis"], { method: "auto", search: [1], tilt: false });
    expect(problemsOf(stages, window)["rotation_axis.search"]).toBe("wants 2 numbers, got 1");
    const binning = withValue(defaults, ["frames", "angles", "step"], 1.5);
    expect(problemsOf(stages, binning)["frames.angles.step"]).toContain("whole number");
  });
});
