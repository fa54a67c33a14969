import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";

import type { Scene } from "./useScene";
import type { Detail } from "../api/link";
import { fetchPreview } from "../api/previews";
import { draggedAxis, mismatch, oppositeView, overlaid, type Mixture } from "../image/overlay";
import type { Picture } from "../image/picture";
import { percentiles } from "../image/statistics";
import { Busy, Note, Segments } from "../ui/controls";
import { digits } from "../ui/format";
import { useResource } from "../ui/useResource";

interface Props {
  scene: Scene;
  axis: number;
  onChange: (axis: number) => void;
}

/** The first view and the opposite one, mirrored: they are dragged until they lie on each other. */
export function AxisOverlay({ scene, axis, onChange }: Props) {
  const { scan } = scene;
  const opposite = useMemo(
    () => scan.angles && oppositeView({ ...scan.angles, count: scan.projections ?? 1 }),
    [scan.angles, scan.projections],
  );
  const views = useResource(opposite ? `${scan.run_uid} ${opposite.index}` : undefined, (signal) =>
    readViews(scene, opposite?.index ?? 0, signal),
  );
  const [mixture, setMixture] = useState<Mixture>("colours");
  return (
    <section aria-label="Opposite views">
      <div className="row">
        <h2 className="grow">0° on 180°</h2>
        <Segments
          label="How views are mixed"
          value={mixture}
          onChange={setMixture}
          options={[
            { value: "colours", text: "Colours" },
            { value: "difference", text: "Difference" },
          ]}
        />
      </div>
      {!opposite && <p className="help">This scan has no two opposite views.</p>}
      {views.error && <Note tone="bad">{views.error.message}</Note>}
      {views.value ? (
        <DraggedViews views={views.value} axis={axis} mixture={mixture} onChange={onChange} />
      ) : (
        opposite &&
        !views.error && (
          <div className="overlay-box" style={{ display: "grid", placeItems: "center", color: "#aeb7c2" }}>
            <Busy text="Reading two views" />
          </div>
        )
      )}
      {opposite && opposite.off > 0.3 && (
        <p className="help">The opposite view is {digits(opposite.off, 2)}° off: expect a small remainder.</p>
      )}
    </section>
  );
}

/** More columns than the panel has pixels, so that half a pixel of the detector is still to be seen. */
const VIEWS: Detail = { format: "uint16", maxWidth: 1024 };

interface Views {
  first: Picture;
  opposite: Picture;
}

async function readViews({ scan, bench }: Scene, index: number, signal: AbortSignal): Promise<Views> {
  // Neither the axis nor anything after the flat field matters to what the views look like.
  const middle = ((scan.columns ?? 1) - 1) / 2;
  const recipe = {
    flat_field: bench.recipe.flat_field ?? null,
    rotation_axis: { method: "value", value: middle },
  };
  const read = (number: number) =>
    fetchPreview({ run: scan.run_uid, recipe, view: "projection", number }, signal, VIEWS);
  const first = await read(0);
  return { first, opposite: await read(index) };
}

interface DraggedProps {
  views: Views;
  axis: number;
  mixture: Mixture;
  onChange: (axis: number) => void;
}

function DraggedViews({ views, axis, mixture, onChange }: DraggedProps) {
  const { first, opposite } = views;
  const canvas = useRef<HTMLCanvasElement>(null);
  const drag = useRef<{ x: number; axis: number }>();
  const range = useMemo(() => percentiles(first.values, 1, 99), [first]);
  // Columns of the whole frame per column of the pictures.
  const scale = first.fullColumns / first.columns;
  const inPicture = (axis + 0.5) / scale - 0.5;

  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return undefined;
    const frame = requestAnimationFrame(() => {
      const pixels = overlaid(first, opposite, inPicture, range, mixture);
      context.putImageData(new ImageData(pixels as Uint8ClampedArray<ArrayBuffer>, first.columns, first.rows), 0, 0);
    });
    return () => cancelAnimationFrame(frame);
  }, [first, opposite, inPicture, range, mixture]);

  const move = (event: PointerEvent<HTMLDivElement>) => {
    if (!drag.current) return;
    const perPoint = first.fullColumns / event.currentTarget.clientWidth;
    // Where the mirrored view is dragged to; finer with the Shift key.
    const columns = (event.clientX - drag.current.x) * perPoint * (event.shiftKey ? 0.1 : 1);
    onChange(draggedAxis(drag.current.axis, columns));
  };
  const keys = (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    onChange(axis + step * (event.shiftKey ? 0.05 : 0.5));
  };
  return (
    <>
      <div
        className="overlay-box"
        role="slider"
        tabIndex={0}
        aria-label="Opposite view, dragged onto the first"
        aria-valuenow={axis}
        aria-valuemin={0}
        aria-valuemax={first.fullColumns}
        onKeyDown={keys}
        onPointerDown={(event) => {
          drag.current = { x: event.clientX, axis };
          event.currentTarget.setPointerCapture(event.pointerId);
        }}
        onPointerMove={move}
        onPointerUp={() => (drag.current = undefined)}
      >
        <canvas ref={canvas} width={first.columns} height={first.rows} />
        {mixture === "colours" && (
          <div className="legend">
            <span style={{ color: "#ff8f85" }}>0°</span>
            <span style={{ color: "#7fe5e5" }}>180° mirrored</span>
          </div>
        )}
      </div>
      <div className="row faint">
        <span className="grow ellipsis" title="Drag the picture sideways, with Shift ten times finer; ← and → move by half a column">
          Drag sideways; Shift: fine
        </span>
        <span className="number" data-testid="mismatch" title="Mean square difference; smaller is better">
          mismatch {digits(mismatch(first, opposite, inPicture, range) * 1000, 3)}
        </span>
      </div>
    </>
  );
}
