/** Three planes of a volume that meet in one point. */

import { useEffect, useMemo, useRef, useState } from "react";

import { Crosshair } from "../viewer/Crosshair";
import { usePlane } from "./usePlane";
import { AXES, fittingLevel, PLANES, type Axis, type Level } from "../api/volumes";
import type { ReconstructionDetail, State } from "../api/types";
import type { Picture } from "../image/picture";
import { percentiles, type Range } from "../image/statistics";
import { fromQuery, toQuery } from "../recipe/address";
import { COLOURS } from "../viewer/colours";
import { ImageCanvas } from "../viewer/ImageCanvas";
import { Levels } from "../viewer/Levels";
import { lengthText } from "../viewer/lengths";
import { PlaneCaption } from "../viewer/PlaneCaption";
import type { Place } from "../viewer/PointerProbe";
import { Busy } from "../ui/controls";
import { digits } from "../ui/format";
import { useKeys, useSize } from "../ui/hooks";
import { replaceQuery } from "../ui/router";

export type Point = Record<Axis, number>;

interface Props {
  node: ReconstructionDetail;
  whole: Level;
  levels: Level[];
}

export function Planes({ node, whole, levels }: Props) {
  const [point, setPoint] = usePoint(whole);
  const [chosen, setChosen] = useState<Range | undefined>(() => fromQuery(window.location.search).window);
  const [colours, setColours] = useState(() => fromQuery(window.location.search).colours);
  const [main, setMain] = useState<Picture>();
  const [probe, setProbe] = useState<Place & { axis: Axis }>();
  const fitting = useMemo<Range>(() => (main ? percentiles(main.values) : [0, 1]), [main]);
  const shown = chosen ?? fitting;
  useAddress(point, chosen, colours);
  const move = (axis: Axis, steps: number) =>
    setPoint({ ...point, [axis]: within(whole, axis, point[axis] + steps) });
  useKeys({
    ArrowUp: () => move("z", 1),
    ArrowDown: () => move("z", -1),
    PageUp: () => move("z", 10),
    PageDown: () => move("z", -10),
  });
  const voxel = voxelUm(node);
  return (
    <div className="planes-body">
      <div className="planes">
        {AXES.map((axis) => (
          <Plane
            key={axis}
            axis={axis}
            {...{ node, whole, levels, point, colours }}
            window={shown}
            onPoint={(changes) => setPoint({ ...point, ...changes })}
            onPicture={axis === "z" ? setMain : undefined}
            onProbe={(place) => setProbe(place && { ...place, axis })}
          />
        ))}
      </div>
      <Levels picture={main} window={shown} automatic={chosen === undefined} onChange={setChosen} />
      <div className="viewer-foot">
        <span className="number">
          {AXES.map((axis) => `${axis} ${point[axis]}`).join(" · ")}
          {voxel ? ` · ${AXES.map((axis) => lengthText(point[axis] * voxel)).join(", ")}` : ""}
        </span>
        {probe && (
          <span className="number">
            {digits(probe.value, 5)} {String(node.volume?.metadata.units ?? "")}
          </span>
        )}
        <span className="grow" />
        <select aria-label="Colours" value={colours} onChange={(event) => setColours(event.target.value)}>
          {Object.keys(COLOURS).map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
        <span className="faint">Click: look there · ↑ ↓: next slice</span>
      </div>
    </div>
  );
}

function within(whole: Level, axis: Axis, place: number): number {
  return Math.min((whole.shape[AXES.indexOf(axis)] ?? 1) - 1, Math.max(0, Math.floor(place)));
}

/** The point in which the planes meet: that of the address, or the middle. */
function usePoint(whole: Level): [Point, (point: Point) => void] {
  return useState<Point>(() => {
    const given = (new URLSearchParams(window.location.search).get("at") ?? "").split(",").map(Number);
    const middle = whole.shape.map((size) => Math.floor(size / 2));
    const [z, y, x] = given.length === 3 && given.every((one) => Number.isFinite(one)) ? given : middle;
    return { z: within(whole, "z", z ?? 0), y: within(whole, "y", y ?? 0), x: within(whole, "x", x ?? 0) };
  });
}

function useAddress(point: Point, chosen: Range | undefined, colours: string): void {
  useEffect(() => {
    const timer = setTimeout(() => {
      const view = toQuery({ ...fromQuery(""), window: chosen, colours });
      replaceQuery(`at=${point.z},${point.y},${point.x}${view ? `&${view}` : ""}`);
    }, 300);
    return () => clearTimeout(timer);
  }, [point, chosen, colours]);
}

function voxelUm(node: ReconstructionDetail): number | undefined {
  const sizes = node.volume?.metadata.voxel_size_um;
  const last: unknown = Array.isArray(sizes) ? sizes.at(-1) : undefined;
  return typeof last === "number" ? last : undefined;
}

const UNDER_WAY: State[] = ["queued", "running", "paused"];

interface PlaneProps extends Props {
  axis: Axis;
  point: Point;
  window: Range;
  colours: string;
  onPoint: (changes: Partial<Point>) => void;
  onPicture?: (picture: Picture) => void;
  onProbe: (place: Place | undefined) => void;
}

function Plane({ axis, node, whole, levels, point, window: shown, colours, onPoint, onPicture, onProbe }: PlaneProps) {
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const level = fittingLevel(levels, axis, width * window.devicePixelRatio) ?? whole;
  // A slice of a volume under way is computed at once; the other planes take all of it.
  const there = axis === "z" || !UNDER_WAY.includes(node.state);
  const plane = usePlane(there ? { level, axis, place: point[axis], full: whole.shape } : undefined, node.state);
  const { rows, columns } = PLANES[axis];
  const { picture } = plane;
  useEffect(() => {
    if (picture) onPicture?.(picture);
  }, [picture, onPicture]);
  const size = whole.shape[AXES.indexOf(axis)] ?? 1;
  return (
    <figure className={`plane plane-${axis}`} aria-label={`Plane across ${axis}`}>
      <div ref={box} className={`picture ${plane.stale && !plane.error ? "stale" : ""}`} data-testid={`plane-${axis}`} data-state={plane.error ? "failed" : plane.stale ? "stale" : "ready"}>
        {picture && !plane.error && (
          <ImageCanvas picture={picture} window={shown} colours={colours} pixelUm={voxelUm(node)} onProbe={onProbe}>
            <Crosshair
              at={{ x: point[columns] + 0.5, y: point[rows] + 0.5 }}
              size={{ x: picture.fullColumns, y: picture.fullRows }}
              onPick={({ x, y }) => onPoint({ [columns]: within(whole, columns, x), [rows]: within(whole, rows, y) })}
            />
          </ImageCanvas>
        )}
        {!picture && !plane.error && (
          <div className="message">
            {there ? <Busy text="Reading" /> : "This plane is shown once the volume is complete."}
          </div>
        )}
        {plane.error && <div className="message">{plane.error.message}</div>}
      </div>
      <PlaneCaption axis={axis} at={point[axis]} size={size} onMove={(place) => onPoint({ [axis]: place })} />
    </figure>
  );
}
