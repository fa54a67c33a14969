/** What is being computed, what waits, and what has come of it. */

import { useState } from "react";

import { Batches } from "./Batches";
import { JobActions } from "./JobActions";
import { JobProgress } from "./JobProgress";
import { useAccess } from "../account/access";
import { useEvents } from "../api/events";
import { listReconstructions } from "../api/reconstructions";
import type { ReconstructionSummary, State } from "../api/types";
import { Busy, Note, Segments } from "../ui/controls";
import { ago } from "../ui/format";
import { useNow } from "../ui/hooks";
import { Link } from "../ui/Link";
import { addressOf } from "../ui/router";
import { StateBadge } from "../ui/StateBadge";
import { useResource } from "../ui/useResource";

type Which = "open" | "failed" | "done" | "all";

const STATES: Record<Which, State[]> = {
  open: ["running", "queued", "paused"],
  failed: ["failed", "cancelled"],
  done: ["done"],
  all: [],
};

const PAGE = 60;

export function QueueScreen() {
  const [which, setWhich] = useState<Which>("all");
  const [limit, setLimit] = useState(PAGE);
  const jobs = useResource(`${which} ${limit}`, (signal) =>
    listReconstructions([...STATES[which].map((state) => ["state", state]), ["limit", String(limit)]], signal),
  );
  useEvents(["reconstruction"], jobs.reload);
  const page = jobs.value;
  return (
    <main className="page">
      <div className="inner">
        <Batches />
        <div className="row wrap">
          <h1 className="grow">Reconstructions</h1>
          <Segments
            label="Which"
            value={which}
            onChange={setWhich}
            options={[
              { value: "all", text: "All" },
              { value: "open", text: "Under way" },
              { value: "failed", text: "Failed" },
              { value: "done", text: "Done" },
            ]}
          />
        </div>
        {jobs.error && !page && <Note tone="bad">{jobs.error.message}</Note>}
        {!page && jobs.loading && (
          <div className="empty">
            <Busy text="Reading the queue" />
          </div>
        )}
        {page?.reconstructions.length === 0 && (
          <div className="empty">
            <p>{which === "all" ? "Nothing has been reconstructed yet." : "There are none."}</p>
          </div>
        )}
        {page && page.reconstructions.length > 0 && <Jobs jobs={page.reconstructions} onChange={jobs.reload} />}
        {page && page.total > page.reconstructions.length && (
          <button type="button" onClick={() => setLimit(limit + PAGE)}>
            Show more ({page.total - page.reconstructions.length} left)
          </button>
        )}
      </div>
    </main>
  );
}

function Jobs({ jobs, onChange }: { jobs: ReconstructionSummary[]; onChange: () => void }) {
  const now = useNow();
  const canWrite = useAccess()?.canWrite;
  return (
    <div className="card">
      <table>
        <thead>
          <tr>
            <th style={{ width: "24%" }}>Sample</th>
            <th style={{ width: 110 }}>State</th>
            <th>Progress</th>
            <th style={{ width: 150 }}>Asked for</th>
            <th style={{ width: 150 }}>
              <span className="hidden-label">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <tr key={job.path}>
              <td>
                <Link href={addressOf({ screen: "volume", run: job.run_uid, id: job.id })}>
                  <strong>{job.sample_name || job.run_uid.slice(0, 8)}</strong>
                </Link>
                <div className="faint ellipsis">{job.recipe_name ?? "unnamed recipe"}</div>
              </td>
              <td>
                <StateBadge state={job.state} />
              </td>
              <td>
                <JobProgress job={job} />
              </td>
              <td className="soft">
                {ago(job.requested_at, now)}
                <div className="faint ellipsis">{job.requested_by}</div>
              </td>
              <td>{canWrite && <JobActions job={job} onChange={onChange} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
