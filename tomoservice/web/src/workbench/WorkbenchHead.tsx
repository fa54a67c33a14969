import { useState } from "react";

import { RunDialog } from "./RunDialog";
import { SaveDialog } from "./SaveDialog";
import type { Scene } from "./useScene";
import { YamlDialog } from "./YamlDialog";
import { useAccess } from "../account/access";
import type { Proposal, ScanDetail } from "../api/types";
import { same } from "../recipe/recipe";
import { IconButton } from "../ui/controls";
import { digits } from "../ui/format";
import { Link } from "../ui/Link";
import { addressOf } from "../ui/router";
import { StateBadge } from "../ui/StateBadge";
import { say } from "../ui/toasts";

type Asking = "save" | "run" | "yaml";

export function WorkbenchHead({ scene, proposal }: { scene: Scene; proposal: Proposal | undefined }) {
  const { scan, bench } = scene;
  const access = useAccess();
  const [asking, setAsking] = useState<Asking>();
  const [saved, setSaved] = useState({ name: proposal?.recipe_name ?? undefined, recipe: bench.recipe });
  // A recipe that has been changed since is not the one of that name.
  const unchanged = same(saved.recipe, bench.recipe) ? saved.name : undefined;
  const wrong = Object.keys(bench.problems).length > 0;
  const close = () => setAsking(undefined);
  const share = async () => {
    await navigator.clipboard.writeText(window.location.href);
    say("The address of this view is copied.");
  };
  return (
    <div className="workbench-head">
      <div className="column grow" style={{ gap: 0 }}>
        <h1 className="ellipsis">{scan.sample_name || scan.title || scan.run_uid}</h1>
        <span className="faint ellipsis number">{facts(scan)}</span>
      </div>
      <Latest scan={scan} />
      <IconButton glyph="undo" label="Undo" keys="Ctrl+Z" disabled={!bench.undo} onClick={() => bench.undo?.()} />
      <IconButton glyph="redo" label="Redo" keys="Ctrl+Y" disabled={!bench.redo} onClick={() => bench.redo?.()} />
      <IconButton glyph="link" label="Copy the address of this view" onClick={share} />
      <button type="button" onClick={() => setAsking("yaml")}>
        YAML
      </button>
      <button type="button" disabled={!access?.canWrite || wrong} onClick={() => setAsking("save")}>
        Save recipe
      </button>
      <button type="button" className="primary" disabled={!access?.canWrite || wrong} onClick={() => setAsking("run")}>
        Reconstruct
      </button>
      {asking === "save" && <SaveDialog scene={scene} name={saved.name} onClose={close} onSaved={(name) => setSaved({ name, recipe: bench.recipe })} />}
      {asking === "run" && <RunDialog scene={scene} name={unchanged} onClose={close} />}
      {asking === "yaml" && <YamlDialog scene={scene} onClose={close} />}
    </div>
  );
}

function facts(scan: ScanDetail): string {
  const known = [
    `${scan.columns ?? "?"} × ${scan.rows ?? "?"} pixels`,
    `${scan.projections ?? "?"} projections`,
    scan.angles && `${digits(scan.angles.range_deg, 4)}°`,
    scan.energy_kev !== null && `${digits(scan.energy_kev)} keV`,
    scan.pixel_size_um !== null && `${digits(scan.pixel_size_um, 3)} µm`,
    scan.distance_mm !== null && `${digits(scan.distance_mm)} mm`,
  ];
  return known.filter(Boolean).join(" · ");
}

function Latest({ scan }: { scan: ScanDetail }) {
  const latest = scan.latest_reconstructions[0];
  if (!latest) return null;
  return (
    <Link
      className="row"
      href={addressOf({ screen: "volume", run: latest.run_uid, id: latest.id })}
      title="The newest reconstruction of this scan"
    >
      <StateBadge state={latest.state} />
      {latest.state === "running" && <span className="number">{Math.round(latest.progress?.percent ?? 0)} %</span>}
    </Link>
  );
}
