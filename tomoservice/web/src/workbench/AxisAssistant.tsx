/** The rotation axis: by hand with the slice in view, by two opposite views, or by a search. */

import { useRef, useState } from "react";

import { AxisOverlay } from "./AxisOverlay";
import { NumberInput } from "../ui/NumberInput";
import type { Scene } from "./useScene";
import { isAborted, messageOf } from "../api/http";
import { findAxis } from "../api/scans";
import type { AxisAnswer } from "../api/types";
import { isObject } from "../recipe/recipe";
import { Note } from "../ui/controls";
import { digits } from "../ui/format";
import { Plot } from "../ui/Plot";

export function AxisAssistant({ scene }: { scene: Scene }) {
  const { bench, axis } = scene;
  const stage = bench.recipe.rotation_axis;
  const byHand = isObject(stage) && stage.method === "value";
  const use = (value: number) => {
    const tilt = isObject(stage) && typeof stage.tilt_deg === "number" ? stage.tilt_deg : 0;
    const rounded = Number(value.toFixed(3));
    bench.change(["rotation_axis"], { method: "value", value: rounded, tilt_deg: tilt });
  };
  return (
    <div className="assistant">
      <section aria-label="Rotation axis by hand">
        <h2>Rotation axis</h2>
        {axis === undefined ? (
          <p className="help">It is known once there is a picture of the slice.</p>
        ) : (
          <AxisSlider axis={axis} columns={scene.scan.columns ?? 1} onChange={use} />
        )}
        <p className="help">
          {byHand
            ? "The recipe says this column. A sharp slice without arcs or doubled edges is right."
            : "The recipe has it found automatically. Move the slider to say it yourself."}
        </p>
      </section>
      {axis !== undefined && <AxisOverlay scene={scene} axis={axis} onChange={use} />}
      <AxisSearch scene={scene} axis={axis} onUse={use} />
    </div>
  );
}

const REACHES = [2, 10, 50];
/** Smallest step of the slider, in pixels, for each reach. */
const STEPS: Record<number, number> = { 2: 0.05, 10: 0.25, 50: 1 };

interface SliderProps {
  axis: number;
  columns: number;
  onChange: (value: number) => void;
}

/** Moves the axis; the slider's middle stays while it is moved, and follows when it is let go. */
function AxisSlider({ axis, columns, onChange }: SliderProps) {
  const [reach, setReach] = useState(10);
  const [middle, setMiddle] = useState(axis);
  const held = useRef(false);
  const outside = Math.abs(axis - middle) > reach;
  const centre = outside && !held.current ? axis : middle;
  const step = STEPS[reach] ?? 0.25;
  const move = (value: number) => {
    if (centre !== middle) setMiddle(centre);
    onChange(value);
  };
  return (
    <>
      <div className="value-line">
        <input
          type="range"
          aria-label="Rotation axis"
          min={centre - reach}
          max={centre + reach}
          step={step}
          value={axis}
          onPointerDown={() => (held.current = true)}
          onPointerUp={() => (held.current = false)}
          onChange={(event) => move(Number(event.target.value))}
        />
        <NumberInput
          label="Rotation axis, column"
          value={Number(axis.toFixed(3))}
          unit="px"
          step={step}
          limits={{ minimum: -columns, maximum: 2 * columns }}
          onChange={(value) => typeof value === "number" && onChange(value)}
        />
      </div>
      <div className="row">
        <span className="faint">Reach</span>
        <div className="row" style={{ gap: 4 }} role="group" aria-label="Reach of the slider">
          {REACHES.map((one) => (
            <button
              key={one}
              type="button"
              style={{ minHeight: 24 }}
              aria-pressed={one === reach}
              onClick={() => {
                setMiddle(axis);
                setReach(one);
              }}
            >
              ±{one}
            </button>
          ))}
        </div>
        <span className="faint">columns</span>
      </div>
    </>
  );
}

const METHODS = [
  { value: "auto", text: "every method" },
  { value: "fourier", text: "Fourier (Vo 2014)" },
  { value: "phase_correlation", text: "opposite views" },
  { value: "entropy", text: "sharpest slice (slow)" },
  { value: "overlap", text: "overlap, for half-acquisition" },
];

interface SearchProps {
  scene: Scene;
  axis: number | undefined;
  onUse: (value: number) => void;
}

function AxisSearch({ scene, axis, onUse }: SearchProps) {
  const [method, setMethod] = useState("auto");
  const [found, setFound] = useState<AxisAnswer>();
  const [error, setError] = useState("");
  const running = useRef<AbortController>();
  const [busy, setBusy] = useState(false);

  const search = async () => {
    const controller = new AbortController();
    running.current = controller;
    setBusy(true);
    setError("");
    try {
      const recipe = { ...scene.bench.recipe, rotation_axis: { method } };
      setFound(await findAxis(scene.scan.run_uid, recipe, controller.signal));
    } catch (problem) {
      if (!isAborted(problem)) setError(messageOf(problem));
    } finally {
      setBusy(false);
    }
  };
  return (
    <section aria-label="Search for the axis">
      <h2>Search</h2>
      <div className="row">
        <select aria-label="Method" className="grow" value={method} onChange={(event) => setMethod(event.target.value)}>
          {METHODS.map((one) => (
            <option key={one.value} value={one.value}>
              {one.text}
            </option>
          ))}
        </select>
        {busy ? (
          <button type="button" onClick={() => running.current?.abort()}>
            <span className="spinner" aria-hidden="true" />
            Stop
          </button>
        ) : (
          <button type="button" onClick={search}>
            Find
          </button>
        )}
      </div>
      {error && <Note tone="bad">{error}</Note>}
      {found && <Found found={found} axis={axis} onUse={onUse} />}
    </section>
  );
}

function Found({ found, axis, onUse }: { found: AxisAnswer; axis: number | undefined; onUse: (value: number) => void }) {
  const metric = found.metric.map((value) => value ?? Number.NaN);
  const sure = found.confidence >= 0.7 ? "sure" : found.confidence >= 0.3 ? "likely" : "a guess";
  return (
    <>
      <div className="row">
        <strong className="number">{digits(found.rotation_axis, 6)}</strong>
        <span className="faint">
          {found.method.replaceAll("_", " ")}, {sure} ({Math.round(found.confidence * 100)} %)
        </span>
        <span className="grow" />
        <button type="button" className="primary" onClick={() => onUse(found.rotation_axis)}>
          Use this
        </button>
      </div>
      {found.at_window_edge && (
        <Note tone="warn">The best is at the border of what was tried: it may lie beyond. Widen the search window.</Note>
      )}
      {found.candidates.length > 1 && (
        <Plot
          label="How badly each column fits; lower is better. Click to use a column."
          curves={[{ x: found.candidates, y: metric }]}
          mark={axis}
          xUnit="column"
          onPick={onUse}
        />
      )}
      {found.note && <p className="help">{found.note}</p>}
    </>
  );
}
