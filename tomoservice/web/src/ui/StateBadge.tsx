import type { State } from "../api/types";

const TONES: Record<State, string> = {
  virtual: "",
  queued: "",
  running: "busy",
  paused: "warn",
  done: "good",
  failed: "bad",
  cancelled: "warn",
};

const WORDS: Partial<Record<State, string>> = { virtual: "on demand" };

export function StateBadge({ state }: { state: State }) {
  return <span className={`badge ${TONES[state]}`}>{WORDS[state] ?? state}</span>;
}
