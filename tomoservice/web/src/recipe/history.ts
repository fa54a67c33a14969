/** Undo and redo. */

export interface History<T> {
  past: T[];
  present: T;
  future: T[];
  /** What the last change was about; changes of the same thing in quick succession are one step. */
  topic: string;
  time: number;
}

/** Steps that are kept. */
export const STEPS = 200;
/** Milliseconds within which changes of the same thing belong together, such as those of a dragged slider. */
export const TOGETHER_MS = 900;

export function begin<T>(present: T): History<T> {
  return { past: [], present, future: [], topic: "", time: 0 };
}

export function changed<T>(history: History<T>, present: T, topic: string, time: number): History<T> {
  if (Object.is(present, history.present)) return history;
  const together = topic !== "" && topic === history.topic && time - history.time < TOGETHER_MS;
  const past = together ? history.past : [...history.past, history.present].slice(-STEPS);
  return { past, present, future: [], topic, time };
}

export function undone<T>(history: History<T>): History<T> {
  const previous = history.past.at(-1);
  if (previous === undefined) return history;
  return {
    past: history.past.slice(0, -1),
    present: previous,
    future: [history.present, ...history.future],
    topic: "",
    time: 0,
  };
}

export function redone<T>(history: History<T>): History<T> {
  const [next, ...future] = history.future;
  if (next === undefined) return history;
  return { past: [...history.past, history.present], present: next, future, topic: "", time: 0 };
}
