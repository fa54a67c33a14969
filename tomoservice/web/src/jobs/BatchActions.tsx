import { BATCH_VERBS, steerBatch, type BatchVerb } from "../api/batches";
import type { BatchAnswer } from "../api/types";
import { IconButton } from "../ui/controls";
import type { GlyphName } from "../ui/Glyph";
import { useAct } from "../ui/useAct";

const MEANINGS: Record<BatchVerb, { label: string; glyph: GlyphName }> = {
  pause: { label: "Pause the batch", glyph: "pause" },
  resume: { label: "Resume the batch", glyph: "play" },
  retry: { label: "Try again what failed", glyph: "retry" },
  stop: { label: "Stop the batch, and keep what there is", glyph: "stop" },
  cancel: { label: "Cancel the batch", glyph: "close" },
};

/** Return whether it makes sense for a batch that stands like this. */
export function canSteer({ state, summary }: BatchAnswer, verb: BatchVerb): boolean {
  const open = state === "submitting" || state === "queued" || state === "running";
  switch (verb) {
    case "pause":
      return open;
    case "resume":
      return state === "paused";
    case "retry":
      return state === "finished" && (summary.counts.failed ?? 0) + (summary.counts.cancelled ?? 0) > 0;
    default:
      return open || state === "paused";
  }
}

/** What can be done with a batch as a whole. */
export function BatchActions({ batch, onChange }: { batch: BatchAnswer; onChange: () => void }) {
  const { busy, act } = useAct(onChange);
  return (
    <div className="row" style={{ gap: 4 }}>
      {BATCH_VERBS.filter((verb) => canSteer(batch, verb)).map((verb) => (
        <IconButton key={verb} {...MEANINGS[verb]} disabled={busy} onClick={() => void act(() => steerBatch(batch.id, verb))} />
      ))}
    </div>
  );
}
