import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";

import { SolidScene, type Mode } from "./solidScene";
import { readLevel, type Level } from "../api/volumes";
import type { ReconstructionDetail } from "../api/types";
import { percentiles } from "../image/statistics";
import { Busy, Note, Segments } from "../ui/controls";
import { useSize } from "../ui/hooks";
import { useResource } from "../ui/useResource";

/** Voxels that a browser holds and draws without trouble. */
const MOST_VOXELS = 8e6;

export function solidLevel(levels: readonly Level[]): Level | undefined {
  return levels.find(({ shape }) => shape[0] * shape[1] * shape[2] <= MOST_VOXELS);
}

/** The volume as a solid, at a resolution that the browser can hold. */
export function Solid({ node, levels }: { node: ReconstructionDetail; levels: Level[] }) {
  const level = solidLevel(levels);
  const ready = level && node.state === "done" ? level : undefined;
  const voxels = useResource(ready?.path, async (signal) => scaled(await readLevel(ready as Level, signal)));
  if (!ready) {
    return (
      <div className="empty">
        {node.state === "done"
          ? "The volume is too large to be drawn, and its lower resolutions are not made yet."
          : "The volume can be drawn once it is complete."}
      </div>
    );
  }
  if (voxels.error) return <Note tone="bad">{voxels.error.message}</Note>;
  if (!voxels.value) {
    return (
      <div className="empty">
        <Busy text={`Reading ${[...ready.shape].reverse().join(" × ")} voxels`} />
      </div>
    );
  }
  return <Drawn values={voxels.value} level={ready} />;
}

/** Return values from 0 to 255, extremes cut off. */
function scaled(values: Float32Array): Uint8Array<ArrayBuffer> {
  const [low, high] = percentiles(values, 0.1, 99.9);
  const scale = 255 / (high - low);
  return Uint8Array.from(values, (value) => Math.min(255, Math.max(0, (value - low) * scale)) || 0);
}

function Drawn({ values, level }: { values: Uint8Array<ArrayBuffer>; level: Level }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const scene = useRef<SolidScene>();
  const size = useSize(box);
  const [mode, setMode] = useState<Mode>("mist");
  const [floor, setFloor] = useState(0.3);
  const [opacity, setOpacity] = useState(0.5);
  const shape = useMemo(() => level.shape, [level]);

  useEffect(() => {
    if (!canvas.current) return undefined;
    const made = new SolidScene(canvas.current, values, shape);
    scene.current = made;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      made.zoom(event.deltaY > 0 ? 1.08 : 0.92);
    };
    const element = canvas.current;
    element.addEventListener("wheel", wheel, { passive: false });
    return () => {
      element.removeEventListener("wheel", wheel);
      made.dispose();
    };
  }, [values, shape]);
  useEffect(() => scene.current?.resize(size.width, size.height), [size, values]);
  useEffect(() => scene.current?.show(mode, [floor, 1], opacity), [mode, floor, opacity, values]);

  const turn = (event: PointerEvent) => {
    if (event.buttons & 1) scene.current?.turn(-event.movementX / 180, event.movementY / 180);
  };
  const keys = (event: KeyboardEvent) => {
    const step = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
    if (!step) return;
    event.preventDefault();
    scene.current?.turn(step[0] ?? 0, step[1] ?? 0);
  };
  return (
    <div ref={box} className="solid">
      <canvas
        ref={canvas}
        tabIndex={0}
        aria-label="The volume, drawn as a solid; arrow keys turn it"
        onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
        onPointerMove={turn}
        onKeyDown={keys}
      />
      <div className="controls">
        <Segments
          label="How it is drawn"
          value={mode}
          onChange={setMode}
          options={[
            { value: "mist", text: "Translucent" },
            { value: "brightest", text: "Brightest voxel" },
          ]}
        />
        <label className="field" style={{ color: "inherit" }}>
          Leave out below
          <input type="range" min={0} max={0.95} step={0.01} value={floor} onChange={(event) => setFloor(Number(event.target.value))} />
        </label>
        {mode === "mist" && (
          <label className="field" style={{ color: "inherit" }}>
            Density
            <input type="range" min={0.02} max={2} step={0.02} value={opacity} onChange={(event) => setOpacity(Number(event.target.value))} />
          </label>
        )}
        <span style={{ fontSize: 11.5, color: "#aeb7c2" }}>
          {[...shape].reverse().join(" × ")} voxels · drag: turn · wheel: nearer
        </span>
      </div>
    </div>
  );
}
