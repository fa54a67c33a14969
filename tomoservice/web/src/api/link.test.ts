import { expect, it } from "vitest";

import { BY_ITSELF_S, draftDetail, EXACT, FLUID_S, learnSpeed, settledDetail, speed } from "./link";

const LOCAL = 500e6;
const SLOW = 10e6 / 8;

it("sends exact values at once over a quick line", () => {
  expect(draftDetail(1024, 800, [0, 1], LOCAL)).toEqual(EXACT);
});

it("sends over a slow line what comes quickly, and exact values when nothing changes", () => {
  const draft = draftDetail(768, 800, [0, 1], SLOW);
  expect(draft.format).toBe("uint8");
  const width = draft.maxWidth ?? 0;
  expect(width * width).toBeLessThanOrEqual(SLOW * FLUID_S * 1.01);
  expect(settledDetail(768, 800, SLOW)).toEqual(EXACT);
});

it("quantises round the window that is shown", () => {
  expect(draftDetail(2048, 800, [1, 3], SLOW).between).toEqual([0, 4]);
  expect(draftDetail(2048, 800, undefined, SLOW)).toMatchObject({ format: "uint16" });
});

it("never sends more than the screen has, nor exact values by itself that take long", () => {
  expect(draftDetail(4096, 200, [0, 1], SLOW * 5).maxWidth).toBe(200);
  const settled = settledDetail(4096, 900, SLOW);
  expect(settled).toEqual({ format: "uint16", maxWidth: 900 });
  expect((900 * 900 * 2) / SLOW).toBeLessThan(BY_ITSELF_S);
});

it("knows at once that a line has become slow", () => {
  for (let times = 0; times < 20; times += 1) learnSpeed(LOCAL, 1);
  learnSpeed(SLOW, 1);
  expect(speed()).toBeLessThan(2 * SLOW);
  // What is small says nothing: it comes with the header.
  learnSpeed(100, 10);
  expect(speed()).toBeGreaterThan(SLOW / 2);
});
