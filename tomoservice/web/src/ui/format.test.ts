import { expect, it } from "vitest";

import { ago, bytes, digits, span } from "./format";
import { lengthText, roundLength } from "../viewer/lengths";

it("writes sizes as people read them", () => {
  expect([0, 999, 1500, 4.2e9, 1e15].map(bytes)).toEqual(["0 B", "999 B", "1.5 kB", "4.2 GB", "1000 TB"]);
  expect(bytes(null)).toBe("–");
});

it("writes times as people say them", () => {
  expect([0.05, 3.21, 60, 600, 7200, 200_000].map(span)).toEqual(["50 ms", "3.2 s", "60 s", "10 min", "2 h", "2 d"]);
  expect(ago(1000, 1010)).toBe("just now");
  expect(ago(1000, 1600)).toBe("10 min ago");
});

it("writes numbers without needless digits", () => {
  expect([0, 1.5, 0.000012345, 123456789, Number.NaN].map((value) => digits(value))).toEqual([
    "0",
    "1.5",
    "1.23e-5",
    "1.23e+8",
    "–",
  ]);
});

it("chooses round lengths for scale bars", () => {
  expect(roundLength(730)).toEqual({ um: 500, text: "500 µm" });
  expect(roundLength(2300)).toEqual({ um: 2000, text: "2 mm" });
  expect(roundLength(0.3).text).toBe("200 nm");
  expect(lengthText(-12.345678)).toBe("-12.35 µm");
});
