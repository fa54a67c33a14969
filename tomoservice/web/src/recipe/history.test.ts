import { expect, it } from "vitest";

import { begin, changed, redone, STEPS, TOGETHER_MS, undone } from "./history";

it("goes back and forth", () => {
  let history = begin("a");
  history = changed(history, "b", "x", 0);
  history = changed(history, "c", "y", 1);
  expect(undone(history).present).toBe("b");
  expect(undone(undone(history)).present).toBe("a");
  expect(redone(undone(history)).present).toBe("c");
  expect(undone(begin("a")).present).toBe("a");
});

it("forgets what was undone when something else is done", () => {
  const history = changed(undone(changed(begin(1), 2, "x", 0)), 3, "x", 10);
  expect(redone(history).present).toBe(3);
});

it("takes a dragged slider as one step", () => {
  let history = begin(0);
  for (let step = 1; step <= 20; step += 1) history = changed(history, step, "axis", step * 50);
  expect(undone(history).present).toBe(0);
  history = changed(history, 21, "axis", 20 * 50 + TOGETHER_MS + 1);
  expect(undone(history).present).toBe(20);
});

it("does not keep everything for ever", () => {
  let history = begin(0);
  for (let step = 1; step <= STEPS + 50; step += 1) history = changed(history, step, "", step);
  expect(history.past.length).toBe(STEPS);
});
