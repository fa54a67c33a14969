import { describe, expect, it } from "vitest";

import { draggedAxis, mismatch, oppositeView, overlaid } from "./overlay";
import type { Picture } from "./picture";

function picture(columns: number, value: (column: number) => number): Picture {
  const values = Float32Array.from({ length: columns * 2 }, (_, index) => value(index % columns));
  return {
    values,
    rows: 2,
    columns,
    fullRows: 2,
    fullColumns: columns,
    units: "",
    exact: true,
    rotationAxis: undefined,
    seconds: {},
  };
}

const bump = (centre: number) => (column: number) => Math.exp(-((column - centre) ** 2) / 8);

describe("two opposite views", () => {
  const axis = 30.25;
  // A grain at 41 is seen at 2 * axis - 41 after half a turn.
  const first = picture(64, bump(41));
  const opposite = picture(64, bump(2 * axis - 41));

  it("fit best at the rotation axis", () => {
    const at = (where: number) => mismatch(first, opposite, where, [0, 1]);
    expect(at(axis)).toBeLessThan(1e-4);
    for (const off of [-2, -0.5, 0.5, 2]) expect(at(axis + off)).toBeGreaterThan(4 * at(axis));
  });

  it("are grey where they fit, and coloured where they do not", () => {
    const grey = overlaid(first, opposite, axis, [0, 1]);
    expect(grey[4 * 41]).toBeGreaterThan(240);
    expect(Math.abs((grey[4 * 41] ?? 0) - (grey[4 * 41 + 1] ?? 0))).toBeLessThan(12);
    const off = overlaid(first, opposite, axis + 5, [0, 1]);
    expect((off[4 * 41] ?? 0) - (off[4 * 41 + 1] ?? 0)).toBeGreaterThan(200);
  });

  it("move the axis half as far as the view is dragged", () => {
    // Dragged by 3 columns to the right, what was at 2 * axis - c is now 3 further: 2 * (axis + 1.5) - c.
    expect(draggedAxis(axis, 3)).toBe(axis + 1.5);
  });

  it("say nothing about columns that only one of them sees", () => {
    const edge = overlaid(first, opposite, 5, [0, 1], "difference");
    expect(edge[4 * 60]).toBe(128);
  });
});

describe("the opposite view", () => {
  it("is half a turn from the first", () => {
    expect(oppositeView({ first_deg: 0, last_deg: 180, count: 181 })).toEqual({ index: 180, off: 0 });
    expect(oppositeView({ first_deg: 10, last_deg: 369, count: 360 })).toEqual({ index: 180, off: 0 });
    expect(oppositeView({ first_deg: 180, last_deg: 0, count: 91 })?.index).toBe(90);
  });

  it("may be missed by a step, and be missing altogether", () => {
    expect(oppositeView({ first_deg: 0, last_deg: 179, count: 180 })).toEqual({ index: 179, off: 1 });
    expect(oppositeView({ first_deg: 0, last_deg: 120, count: 121 })).toBeUndefined();
    expect(oppositeView({ first_deg: 0, last_deg: 0, count: 1 })).toBeUndefined();
  });
});
