import type { BatchAnswer, BatchState } from "../api/types";
import { ProgressBar } from "../ui/controls";
import { digits, span } from "../ui/format";

const TONES: Record<BatchState, string> = {
  submitting: "busy",
  refused: "bad",
  queued: "",
  running: "busy",
  paused: "warn",
  ending: "warn",
  finished: "good",
};

export function BatchBadge({ batch }: { batch: BatchAnswer }) {
  const failed = batch.state === "finished" && (batch.summary.counts.failed ?? 0) > 0;
  return <span className={`badge ${failed ? "bad" : TONES[batch.state]}`}>{batch.state}</span>;
}

/** How a batch goes: how much is done, how quickly, how long it will take. */
export function BatchProgress({ batch }: { batch: BatchAnswer }) {
  const { summary } = batch;
  const { done = 0, failed = 0, cancelled = 0 } = summary.counts;
  const parts = [
    `${done} of ${summary.items} done`,
    failed > 0 && `${failed} failed`,
    cancelled > 0 && `${cancelled} cancelled`,
    summary.slices_per_s && `${digits(summary.slices_per_s, 2)} slices/s`,
    batch.state === "running" && summary.seconds_left && `${span(summary.seconds_left)} left`,
    batch.state === "finished" && summary.seconds && `took ${span(summary.seconds)}`,
  ];
  return (
    <div className="column" style={{ gap: 3 }}>
      <ProgressBar
        percent={summary.items ? (100 * (done + failed + cancelled)) / summary.items : 0}
        tone={batch.state !== "finished" ? undefined : failed > 0 ? "failed" : "done"}
      />
      <span className="faint number">{parts.filter(Boolean).join(" · ")}</span>
      {batch.message && <span style={{ color: "var(--bad)" }}>{batch.message}</span>}
    </div>
  );
}
