import type { ReconstructionSummary } from "../api/types";
import { ProgressBar } from "../ui/controls";
import { span } from "../ui/format";

/** How far a reconstruction is, and what is to be known of it. */
export function JobProgress({ job }: { job: ReconstructionSummary }) {
  const { progress, state } = job;
  if (state === "running" || state === "paused") {
    const left = progress?.seconds_left;
    return (
      <div className="column" style={{ gap: 3 }}>
        <ProgressBar percent={progress?.percent ?? 0} />
        <span className="faint number ellipsis">
          {Math.round(progress?.percent ?? 0)} % · {progress?.stage || "starting"}
          {state === "running" && left ? ` · ${span(left)} left` : ""}
        </span>
      </div>
    );
  }
  if (!job.message) return null;
  const tone = state === "failed" ? "var(--bad)" : "var(--text-soft)";
  return (
    <span style={{ color: tone, overflowWrap: "anywhere" }} title={job.message}>
      {job.message}
    </span>
  );
}
