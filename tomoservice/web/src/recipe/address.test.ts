import { expect, it } from "vitest";

import { fromQuery, START, toQuery, type WorkbenchState } from "./address";

it("holds the whole view", () => {
  const state: WorkbenchState = {
    view: "sinogram",
    z: 12,
    y: 200,
    x: 0,
    angle: 3,
    window: [-0.001, 0.02],
    colours: "Viridis",
    panel: "phase",
    recipe: { phase: { method: "paganin", material: { method: "compound", formula: "Al₂O₃", density_g_cm3: 3.95 } } },
  };
  expect(fromQuery(toQuery(state))).toEqual(state);
});

it("is empty for the view that everybody begins with", () => {
  expect(toQuery(START)).toBe("");
  expect(fromQuery("")).toEqual(START);
});

it("leaves out what makes no sense", () => {
  const state = fromQuery("view=cube&z=-3&y=1.5&x=&angle=x&window=5,1&panel=bar&recipe=%%%");
  expect(state).toEqual(START);
  expect(fromQuery("recipe=WzFd").recipe).toBeUndefined();
});
