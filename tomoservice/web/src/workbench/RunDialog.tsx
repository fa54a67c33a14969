import { useState } from "react";

import type { Scene } from "./useScene";
import { messageOf } from "../api/http";
import { reconstruct } from "../api/reconstructions";
import { packed } from "../recipe/address";
import { differencesBetween } from "../recipe/differences";
import { sparse } from "../recipe/recipe";
import { BatchDialog } from "../scans/BatchDialog";
import { Dialog, Note } from "../ui/controls";
import { bytes } from "../ui/format";
import { addressOf, go } from "../ui/router";
import { say } from "../ui/toasts";

interface Props {
  scene: Scene;
  name: string | undefined;
  onClose: () => void;
}

/** Queues the reconstruction of the whole volume. */
export function RunDialog({ scene, name, onClose }: Props) {
  const { bench, scan, count } = scene;
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const [batching, setBatching] = useState(false);
  const recipe = sparse(bench.stages, bench.recipe, bench.defaults);
  const run = async () => {
    setBusy(true);
    setError("");
    try {
      const made = await reconstruct(scan.run_uid, name ? { recipe, recipe_name: name } : { recipe });
      say("The reconstruction is queued.");
      go(addressOf({ screen: "volume", run: made.run_uid, id: made.id }));
    } catch (problem) {
      setError(messageOf(problem));
      setBusy(false);
    }
  };
  const many = () => go(`${addressOf({ screen: "scans" })}?recipe=${packed(recipe)}`);
  const differences = bench.stages.flatMap(({ key }) =>
    differencesBetween(bench.defaults[key], bench.recipe[key], key),
  );
  if (batching) {
    const given = name ? { ...recipe, name } : recipe;
    return <BatchDialog runs={[scan.run_uid]} given={given} adding onClose={onClose} />;
  }
  const columns = scene.preview.shown?.wanted.view === "slice" ? scene.preview.shown.picture.fullColumns : undefined;
  return (
    <Dialog
      title="Reconstruct the whole volume"
      onClose={onClose}
      actions={
        <>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="button" onClick={many}>
            Use it for many scans
          </button>
          <button type="button" onClick={() => setBatching(true)}>
            Add to a batch
          </button>
          <button type="button" className="primary" disabled={busy} autoFocus onClick={run}>
            Reconstruct now
          </button>
        </>
      }
    >
      <p>
        {count} slices of {scan.sample_name || "this scan"}
        {columns ? `, about ${bytes(count * columns * columns * 4)}` : ""}. You can look at it while it is being
        computed.
      </p>
      {bench.skipped.size > 0 && (
        <Note tone="warn">
          The pictures leave out {[...bench.skipped].map((stage) => stage.replaceAll("_", " ")).join(", ")}; the volume
          will not.
        </Note>
      )}
      <div>
        <h3>What differs from the default recipe</h3>
        <ul style={{ margin: "4px 0 0", paddingLeft: 18 }}>
          {differences.length === 0 && <li className="faint">nothing</li>}
          {differences.map(({ path, other }) => (
            <li key={path}>
              {path.replaceAll("_", " ")}: <strong>{other}</strong>
            </li>
          ))}
        </ul>
      </div>
      {error && <Note tone="bad">{error}</Note>}
    </Dialog>
  );
}
