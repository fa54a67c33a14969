/** How to take a volume home. */

import { useState } from "react";

import { API, ask, messageOf } from "../api/http";
import type { ReconstructionDetail } from "../api/types";
import { readPlane, type Level } from "../api/volumes";
import { percentiles, type Range } from "../image/statistics";
import { Levels } from "../viewer/Levels";
import { Dialog, Note } from "../ui/controls";
import { bytes, digits } from "../ui/format";
import { say } from "../ui/toasts";
import { useResource } from "../ui/useResource";

const FORMS = [
  { value: "tiff", text: "TIFF, a file per slice" },
  { value: "h5", text: "HDF5 (NXtomoproc)" },
  { value: "ome.zarr", text: "OME-Zarr, at several resolutions" },
];
const TYPES = ["float32", "uint16", "uint8"];
/** Bytes that the service gives in one answer. */
const MOST_BYTES = 300e6;

export function ExportDialog({ node, onClose }: { node: ReconstructionDetail; onClose: () => void }) {
  const [form, setForm] = useState("tiff");
  const [dtype, setDtype] = useState("float32");
  const [range, setRange] = useState<Range>();
  const middle = useMiddle(node);
  const fitting = middle.value ? percentiles(middle.value.values, 0.01, 99.99) : undefined;
  const clip = range ?? fitting;
  const whole = dtype === "float32";
  const command = [
    `tomoservice export ${node.id} ${fileName(node)}.${form} --uri ${window.location.origin}`,
    !whole && `--dtype ${dtype}`,
    !whole && clip && `--range ${digits(clip[0], 5)} ${digits(clip[1], 5)}`,
  ]
    .filter(Boolean)
    .join(" ");
  const copy = async () => {
    await navigator.clipboard.writeText(command);
    say("The command is copied.");
  };
  return (
    <Dialog wide title="Export the volume" onClose={onClose} actions={<button type="button" className="primary" onClick={copy}>Copy the command</button>}>
      <div className="row wrap">
        <label className="field">
          Format
          <select value={form} onChange={(event) => setForm(event.target.value)}>
            {FORMS.map((one) => (
              <option key={one.value} value={one.value}>
                {one.text}
              </option>
            ))}
          </select>
        </label>
        <label className="field">
          Numbers
          <select value={dtype} onChange={(event) => setDtype(event.target.value)}>
            {TYPES.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <Size node={node} dtype={dtype} />
      </div>
      {!whole && clip && (
        <>
          <p className="help">
            Values beyond the range become the lowest and the highest number. The histogram is that of the middle slice.
          </p>
          <Levels picture={middle.value} window={clip} automatic={range === undefined} onChange={setRange} />
        </>
      )}
      <p className="help">Volumes are written by the command line, straight from the disk they are stored on:</p>
      <pre className="note" style={{ margin: 0, userSelect: "all" }}>{command}</pre>
      <Direct node={node} />
    </Dialog>
  );
}

/** Return a name for the file that no shell takes apart. */
function fileName(node: ReconstructionDetail): string {
  return `${node.sample_name ?? "volume"}-${node.id}`.replaceAll(/[^A-Za-z0-9._-]+/g, "-");
}

function useMiddle(node: ReconstructionDetail) {
  const volume = node.volume;
  return useResource(volume ? `middle of ${volume.path}` : undefined, (signal) => {
    const shape = (volume?.shape ?? [1, 1, 1]) as Level["shape"];
    const level: Level = { path: volume?.path ?? "", shape, dtype: volume?.dtype ?? "float32" };
    return readPlane(level, "z", Math.floor(shape[0] / 2), shape, signal);
  });
}

function voxels(node: ReconstructionDetail): number {
  return (node.volume?.shape ?? []).reduce((product, size) => product * size, 1);
}

function Size({ node, dtype }: { node: ReconstructionDetail; dtype: string }) {
  const each = dtype === "float32" ? 4 : dtype === "uint16" ? 2 : 1;
  return <span className="faint number">{bytes(voxels(node) * each)}</span>;
}

/** What is small enough is given by the service itself. */
function Direct({ node }: { node: ReconstructionDetail }) {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  if (node.state !== "done" || voxels(node) * 4 > MOST_BYTES) return null;
  const download = async () => {
    setBusy(true);
    setError("");
    try {
      const answer = await ask(`${API}/array/full/${node.path}/volume?format=image/tiff`);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await answer.blob());
      link.download = `${node.sample_name ?? node.run_uid}-${node.id}.tif`;
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (problem) {
      setError(messageOf(problem));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <button type="button" disabled={busy} onClick={download}>
        {busy ? "Downloading ..." : "Or download it here as one TIFF file"}
      </button>
      {error && <Note tone="bad">{error}</Note>}
    </>
  );
}
