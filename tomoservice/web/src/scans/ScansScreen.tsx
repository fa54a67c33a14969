/** All scans, newest first. */

import { useDeferredValue, useState } from "react";

import { BatchDialog } from "./BatchDialog";
import { ScanRow } from "./ScanRow";
import { useAccess } from "../account/access";
import { useEvents } from "../api/events";
import { listScans } from "../api/scans";
import { fromQuery } from "../recipe/address";
import type { JsonObject } from "../recipe/schema";
import { Busy, Note } from "../ui/controls";
import { useSettled } from "../ui/hooks";
import { replaceQuery } from "../ui/router";
import { useResource } from "../ui/useResource";

const PAGE = 40;

const STATES = [
  { value: "", text: "Every acquisition" },
  { value: "running", text: "Still running" },
  { value: "complete", text: "Complete" },
  { value: "failed", text: "Failed" },
];

export function ScansScreen() {
  const [words, setWords] = useState("");
  const [acquisition, setAcquisition] = useState("");
  const [limit, setLimit] = useState(PAGE);
  const settled = useSettled(words, 250);
  const query = { words: settled, acquisition, offset: 0, limit };
  const scans = useResource(JSON.stringify(query), (signal) => listScans(query, signal));
  useEvents(["scan", "reconstruction"], scans.reload);
  // While others are searched, those that were found stay in view.
  const page = useDeferredValue(scans.value);
  const shown = scans.value ?? page;
  const choice = useChoice();
  return (
    <main className="page">
      <div className="inner">
        <div className="row wrap">
          <h1>Scans</h1>
          <span className="faint number" aria-live="polite">
            {shown && `${shown.total}`}
          </span>
          <div className="grow" />
          <input
            type="search"
            aria-label="Search scans"
            placeholder="Search sample, plan, uid"
            style={{ width: 260 }}
            value={words}
            onChange={(event) => setWords(event.target.value)}
          />
          <select
            aria-label="State of the acquisition"
            value={acquisition}
            onChange={(event) => setAcquisition(event.target.value)}
          >
            {STATES.map((state) => (
              <option key={state.value} value={state.value}>
                {state.text}
              </option>
            ))}
          </select>
        </div>
        {choice && (choice.runs.size > 0 || choice.given) && <ChoiceBar choice={choice} />}
        {scans.error && !shown && <Note tone="bad">{scans.error.message}</Note>}
        {!shown && scans.loading && <div className="empty"><Busy text="Reading the list of scans" /></div>}
        {shown && shown.scans.length === 0 && <NoScans searched={Boolean(settled || acquisition)} />}
        {shown && shown.scans.length > 0 && (
          <div className="card">
            <table className="scans-table">
              <thead>
                <tr>
                  {choice && (
                    <th>
                      <span className="hidden-label">Chosen</span>
                    </th>
                  )}
                  <th>Projection and slice</th>
                  <th>Sample</th>
                  <th>Beam</th>
                  <th>Size</th>
                  <th>Taken</th>
                  <th>Reconstruction</th>
                </tr>
              </thead>
              <tbody>
                {shown.scans.map((scan) => (
                  <ScanRow
                    key={scan.run_uid}
                    scan={scan}
                    chosen={choice?.runs.has(scan.run_uid)}
                    onChoose={(chosen) => choice?.choose(scan.run_uid, chosen)}
                  />
                ))}
              </tbody>
            </table>
          </div>
        )}
        {shown && shown.total > shown.scans.length && (
          <button type="button" onClick={() => setLimit(limit + PAGE)} disabled={scans.loading}>
            Show more ({shown.total - shown.scans.length} left)
          </button>
        )}
      </div>
    </main>
  );
}

interface Choice {
  runs: ReadonlySet<string>;
  choose: (run: string, chosen: boolean) => void;
  clear: () => void;
  /** A recipe that somebody brings from the workbench. */
  given: JsonObject | undefined;
}

/** Scans that are chosen to be reconstructed together; undefined for whoever may not do that. */
function useChoice(): Choice | undefined {
  const canWrite = useAccess()?.canWrite;
  const [runs, setRuns] = useState<ReadonlySet<string>>(new Set());
  const [given, setGiven] = useState(() => fromQuery(window.location.search).recipe);
  if (!canWrite) return undefined;
  return {
    runs,
    given,
    choose: (run, chosen) => {
      const after = new Set(runs);
      if (chosen) after.add(run);
      else after.delete(run);
      setRuns(after);
    },
    clear: () => {
      setRuns(new Set());
      setGiven(undefined);
      replaceQuery("");
    },
  };
}

function ChoiceBar({ choice }: { choice: Choice }) {
  const [asking, setAsking] = useState(false);
  const count = choice.runs.size;
  return (
    <div className="card row" style={{ padding: "8px 12px" }} role="status">
      <strong className="number">
        {count} {count === 1 ? "scan" : "scans"} chosen
      </strong>
      {choice.given && <span className="soft">for the recipe from the workbench</span>}
      <span className="grow" />
      <button type="button" onClick={choice.clear}>
        Choose none
      </button>
      <button type="button" className="primary" disabled={count === 0} onClick={() => setAsking(true)}>
        Reconstruct them
      </button>
      {asking && <BatchDialog runs={[...choice.runs]} given={choice.given} onClose={() => setAsking(false)} />}
    </div>
  );
}

function NoScans({ searched }: { searched: boolean }) {
  if (searched) {
    return (
      <div className="empty">
        <p>No scan fits what you search for.</p>
      </div>
    );
  }
  return (
    <div className="empty">
      <h2>No scans yet</h2>
      <p>A scan appears here by itself when the beamline takes one. To publish a file:</p>
      <code>tomoservice ingest FILE.h5</code>
    </div>
  );
}
