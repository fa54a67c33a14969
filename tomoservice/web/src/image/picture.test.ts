import { describe, expect, it } from "vitest";

import { dequantised, difference, type Picture } from "./picture";
import { extremes, histogram, percentiles, profile, summary } from "./statistics";

it("numbers come back from 8 and 16 bits within half a step", () => {
  expect([...dequantised(Uint8Array.from([0, 255]), -1, 1)]).toEqual([-1, 1]);
  expect(dequantised(Uint8Array.from([127]), -1, 1)[0]).toBeCloseTo(0, 2);
  expect(dequantised(Uint16Array.from([32768]), 0, 65535)[0]).toBe(32768);
});

describe("statistics", () => {
  const values = Float32Array.from({ length: 1000 }, (_, index) => index);

  it("leave out what is no number", () => {
    expect(extremes(Float32Array.from([Number.NaN, 2, 5]))).toEqual([2, 5]);
    expect(percentiles(Float32Array.from([Number.NaN]))).toEqual([0, 1]);
    expect(histogram(Float32Array.from([1, Number.NaN, 3]), 2).counts).toEqual([1, 1]);
  });

  it("find percentiles", () => {
    const [low, high] = percentiles(values, 1, 99);
    expect(low).toBeCloseTo(10, 0);
    expect(high).toBeCloseTo(989, 0);
  });

  it("never give an empty range", () => {
    const [low, high] = percentiles(Float32Array.from([3, 3, 3]));
    expect(low).toBeLessThan(high);
  });

  it("count every value once", () => {
    expect(histogram(values, 10).counts).toEqual(new Array(10).fill(100));
  });

  it("measure a rectangle", () => {
    const found = summary(Float32Array.from([1, 2, 3, 4, 5, 6]), 3, { top: 0, left: 1, bottom: 2, right: 3 });
    expect(found).toMatchObject({ count: 4, mean: 4, range: [2, 6] });
    expect(found?.deviation).toBeCloseTo(Math.sqrt(2.5), 6);
  });

  it("read along a line, between pixels", () => {
    const ramp = { values: Float32Array.from([0, 1, 2, 3, 4, 5, 6, 7, 8]), rows: 3, columns: 3 };
    expect([...profile(ramp, { x: 0, y: 1 }, { x: 2, y: 1 })]).toEqual([3, 4, 5]);
    expect([...profile(ramp, { x: 0.5, y: 0 }, { x: 0.5, y: 1 })]).toEqual([0.5, 3.5]);
    expect(profile(ramp, { x: -1, y: 0 }, { x: 1, y: 0 })[0]).toBeNaN();
  });
});

it("differences want pictures of the same size", () => {
  const make = (columns: number, value: number): Picture => ({
    values: new Float32Array(columns).fill(value),
    rows: 1,
    columns,
    fullRows: 1,
    fullColumns: columns,
    units: "",
    exact: true,
    rotationAxis: undefined,
    seconds: {},
  });
  expect(difference(make(2, 5), make(2, 3))?.values).toEqual(Float32Array.from([2, 2]));
  expect(difference(make(2, 5), make(3, 3))).toBeUndefined();
});
