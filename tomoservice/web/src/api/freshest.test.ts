import { describe, expect, it } from "vitest";

import { Freshest, PATIENCE_MS } from "./freshest";

/** Time that goes on when a test says so. */
function clockwork() {
  let now = 0;
  let timers: { at: number; call: () => void }[] = [];
  return {
    after: (milliseconds: number, call: () => void) => {
      const timer = { at: now + milliseconds, call };
      timers.push(timer);
      return () => {
        timers = timers.filter((one) => one !== timer);
      };
    },
    pass: (milliseconds: number) => {
      now += milliseconds;
      const due = timers.filter((one) => one.at <= now);
      timers = timers.filter((one) => one.at > now);
      for (const timer of due) timer.call();
    },
  };
}

function service() {
  const asked: { wanted: number; signal: AbortSignal; answer: (text: string) => void }[] = [];
  const request = (wanted: number, signal: AbortSignal) =>
    new Promise<string>((resolve, reject) => {
      asked.push({ wanted, signal, answer: resolve });
      signal.addEventListener("abort", () => reject(new DOMException("superseded", "AbortError")));
    });
  return { asked, request };
}

const soon = () => new Promise((resolve) => setTimeout(resolve));

function started() {
  const clock = clockwork();
  const { asked, request } = service();
  const answers: string[] = [];
  const errors: unknown[] = [];
  const freshest = new Freshest(
    request,
    { onAnswer: (answer) => answers.push(answer), onError: (error) => errors.push(error) },
    clock,
  );
  return { clock, asked, answers, errors, freshest };
}

describe("wanting many things in quick succession", () => {
  it("asks once for what comes together", async () => {
    const { asked, freshest } = started();
    for (const wanted of [1, 2, 3]) freshest.want(wanted);
    await soon();
    expect(asked.map((one) => one.wanted)).toEqual([3]);
  });

  it("shows what comes quickly, and then asks for the newest only", async () => {
    const { asked, answers, freshest } = started();
    freshest.want(1);
    await soon();
    for (const wanted of [2, 3, 4]) freshest.want(wanted);
    expect(asked).toHaveLength(1);
    asked[0]?.answer("one");
    await soon();
    expect(answers).toEqual(["one"]);
    expect(asked.map((one) => one.wanted)).toEqual([1, 4]);
  });

  it("gives up what is slow and superseded", async () => {
    const { clock, asked, answers, errors, freshest } = started();
    freshest.want(1);
    await soon();
    freshest.want(2);
    expect(asked[0]?.signal.aborted).toBe(false);
    clock.pass(PATIENCE_MS);
    expect(asked[0]?.signal.aborted).toBe(true);
    await soon();
    expect(asked.map((one) => one.wanted)).toEqual([1, 2]);
    asked[1]?.answer("two");
    await soon();
    expect([answers, errors]).toEqual([["two"], []]);
  });

  it("gives the next one more time, so that something comes while somebody never stops", async () => {
    const { clock, asked, answers, freshest } = started();
    freshest.want(1);
    await soon();
    freshest.want(2);
    clock.pass(PATIENCE_MS);
    await soon();
    freshest.want(3);
    clock.pass(PATIENCE_MS);
    expect(asked[1]?.signal.aborted).toBe(false);
    asked[1]?.answer("two");
    await soon();
    expect(answers).toEqual(["two"]);
    expect(asked.map((one) => one.wanted)).toEqual([1, 2, 3]);
  });

  it("waits for what is slow as long as nothing else is wanted", async () => {
    const { clock, asked, answers, freshest } = started();
    freshest.want(1);
    await soon();
    clock.pass(10 * PATIENCE_MS);
    expect(asked[0]?.signal.aborted).toBe(false);
    asked[0]?.answer("one");
    await soon();
    expect(answers).toEqual(["one"]);
  });

  it("hears nothing any more once stopped", async () => {
    const { asked, answers, errors, freshest } = started();
    freshest.want(1);
    await soon();
    freshest.stop();
    expect(asked[0]?.signal.aborted).toBe(true);
    await soon();
    expect([answers, errors]).toEqual([[], []]);
  });
});
