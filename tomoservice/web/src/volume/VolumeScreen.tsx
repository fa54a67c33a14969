/** A reconstruction: where it stands, and its volume in three planes. */

import { useState } from "react";

import { ExportDialog } from "./ExportDialog";
import { Planes } from "./Planes";
import { Solid } from "./Solid";
import { useAccess } from "../account/access";
import { useEvents } from "../api/events";
import { readReconstruction } from "../api/reconstructions";
import { readLevels, type Level } from "../api/volumes";
import type { ReconstructionDetail } from "../api/types";
import { JobActions } from "../jobs/JobActions";
import { JobProgress } from "../jobs/JobProgress";
import { packed } from "../recipe/address";
import { Busy, Note, Segments } from "../ui/controls";
import { Link } from "../ui/Link";
import { addressOf } from "../ui/router";
import { StateBadge } from "../ui/StateBadge";
import { useResource } from "../ui/useResource";

type Showing = "planes" | "solid";

export default function VolumeScreen({ run, id }: { run: string; id: string }) {
  const node = useResource(`${run}/${id}`, (signal) => readReconstruction(run, id, signal));
  useEvents(["reconstruction"], node.reload);
  const [showing, setShowing] = useState<Showing>("planes");
  if (node.error && !node.value) {
    return (
      <main className="page">
        <Note tone="bad">{node.error.message}</Note>
      </main>
    );
  }
  if (!node.value) {
    return (
      <main className="empty">
        <Busy text="Opening the volume" />
      </main>
    );
  }
  return (
    <main className="volume-screen">
      <Head node={node.value} showing={showing} onShow={setShowing} onChange={node.reload} />
      <Body key={node.value.volume?.path} node={node.value} showing={showing} />
    </main>
  );
}

interface HeadProps {
  node: ReconstructionDetail;
  showing: Showing;
  onShow: (showing: Showing) => void;
  onChange: () => void;
}

function Head({ node, showing, onShow, onChange }: HeadProps) {
  const access = useAccess();
  const [exporting, setExporting] = useState(false);
  const bench = addressOf({ screen: "workbench", run: node.run_uid });
  return (
    <div className="workbench-head">
      <div className="column" style={{ gap: 0, minWidth: 120 }}>
        <h1 className="ellipsis">{node.sample_name || node.run_uid.slice(0, 8)}</h1>
        <span className="faint ellipsis number">
          {node.volume ? `${[...node.volume.shape].reverse().join(" × ")} voxels · ` : ""}
          {node.recipe_name ?? "unnamed recipe"} · {node.id}
        </span>
      </div>
      <StateBadge state={node.state} />
      <div className="grow">
        <JobProgress job={node} />
      </div>
      {access?.canWrite && <JobActions job={node} onChange={onChange} />}
      <Segments
        label="What to show"
        value={showing}
        onChange={onShow}
        options={[
          { value: "planes", text: "Planes" },
          { value: "solid", text: "3-D" },
        ]}
      />
      <Link className="button" href={`${bench}?recipe=${packed(node.recipe)}`}>
        Refine
      </Link>
      <button type="button" disabled={!node.volume} onClick={() => setExporting(true)}>
        Export
      </button>
      {exporting && <ExportDialog node={node} onClose={() => setExporting(false)} />}
    </div>
  );
}

function Body({ node, showing }: { node: ReconstructionDetail; showing: Showing }) {
  const complete = node.pyramid === "complete";
  const levels = useResource(complete ? `levels of ${node.path}` : undefined, (signal) => readLevels(node.path, signal));
  if (!node.volume) {
    return (
      <div className="empty">
        {node.message ? <Note tone={node.state === "failed" ? "bad" : undefined}>{node.message}</Note> : <Busy text="The volume is being described" />}
      </div>
    );
  }
  const whole: Level = {
    path: node.volume.path,
    shape: node.volume.shape as Level["shape"],
    dtype: node.volume.dtype,
  };
  const known = levels.value?.length ? levels.value : [whole];
  if (showing === "solid") return <Solid node={node} levels={known} />;
  return <Planes node={node} whole={whole} levels={known} />;
}
