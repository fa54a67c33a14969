/** What people want of reconstructions under way. */

import { askJson } from "./http";
import { reconstructionPath } from "./reconstructions";
import type { ReconstructionSummary, State } from "./types";
import type { GlyphName } from "../ui/Glyph";

interface Meaning {
  label: string;
  glyph: GlyphName;
  /** States in which it makes sense. */
  states: State[];
}

export const VERBS = {
  pause: { label: "Pause", glyph: "pause", states: ["queued", "running"] },
  resume: { label: "Resume", glyph: "play", states: ["paused"] },
  stop: { label: "Stop, and keep what there is", glyph: "stop", states: ["running", "paused"] },
  cancel: { label: "Cancel", glyph: "close", states: ["queued", "running", "paused"] },
  retry: { label: "Try again", glyph: "retry", states: ["failed", "cancelled"] },
} as const satisfies Record<string, Meaning>;

export type Verb = keyof typeof VERBS;

export function canDo(state: State, verb: Verb): boolean {
  const states: readonly State[] = VERBS[verb].states;
  return states.includes(state);
}

export function actOn({ run_uid, id }: ReconstructionSummary, verb: Verb): Promise<unknown> {
  return askJson(`${reconstructionPath(run_uid, id)}/${verb}`, { method: "POST" });
}
