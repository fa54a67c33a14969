/** Planes of a volume, read through Tiled at the resolution that the screen needs. */

import { API, ask, askJson } from "./http";
import { learnSpeed } from "./link";
import type { Picture } from "../image/picture";

/** The volume at one resolution. */
export interface Level {
  /** Path of its node in Tiled. */
  path: string;
  /** (z, y, x) */
  shape: Shape;
  /** Name of the type of a voxel, as NumPy has it. */
  dtype: string;
}

export type Shape = [z: number, y: number, x: number];

export const AXES = ["z", "y", "x"] as const;
export type Axis = (typeof AXES)[number];

/** Axes of the rows and of the columns of a plane. */
export const PLANES: Record<Axis, { rows: Axis; columns: Axis }> = {
  z: { rows: "y", columns: "x" },
  y: { rows: "z", columns: "x" },
  x: { rows: "z", columns: "y" },
};

interface Found {
  data: {
    id: string;
    attributes: { structure: { shape: Shape; data_type: { kind: string; itemsize: number } } };
  }[];
}

/** Return the volume at lower resolutions, the finest first; none before they have been made. */
export async function readLevels(path: string, signal?: AbortSignal): Promise<Level[]> {
  const found = await askJson<Found>(`${API}/search/${path}/pyramid/?fields=structure`, { signal });
  return found.data
    .map(({ id, attributes }) => ({
      path: `${path}/pyramid/${id}`,
      shape: attributes.structure.shape,
      dtype: dtypeOf(attributes.structure.data_type),
    }))
    .sort((one, other) => size(other) - size(one));
}

function size({ shape }: Level): number {
  return shape[0] * shape[1] * shape[2];
}

function dtypeOf({ kind, itemsize }: { kind: string; itemsize: number }): string {
  return `${kind === "f" ? "float" : "uint"}${8 * itemsize}`;
}

/** Return the coarsest level that still has a column of its own for every pixel of the screen. */
export function fittingLevel(levels: readonly Level[], axis: Axis, pixels: number): Level | undefined {
  const columns = AXES.indexOf(PLANES[axis].columns);
  return levels.filter((level) => (level.shape[columns] ?? 0) >= pixels).at(-1) ?? levels[0];
}

/**
 * Read a plane.
 *
 * @param place number of the plane, in voxels of the whole volume
 * @param full shape of the whole volume
 */
export async function readPlane(
  level: Level,
  axis: Axis,
  place: number,
  full: Shape,
  signal?: AbortSignal,
): Promise<Picture> {
  const along = AXES.indexOf(axis);
  const [depth, fullDepth] = [level.shape[along] ?? 1, full[along] ?? 1];
  const index = Math.min(depth - 1, Math.floor((place * depth) / fullDepth));
  const slice = AXES.map((one) => (one === axis ? String(index) : ":")).join(",");
  const answer = await ask(`${API}/array/full/${level.path}?slice=${slice}`, {
    signal,
    headers: { Accept: "application/octet-stream" },
  });
  const began = performance.now();
  const content = await answer.arrayBuffer();
  learnSpeed(content.byteLength, (performance.now() - began) / 1000);
  const extent = (shape: Shape, one: Axis) => shape[AXES.indexOf(one)] ?? 1;
  const { rows, columns } = PLANES[axis];
  return {
    values: floats(content, level.dtype),
    rows: extent(level.shape, rows),
    columns: extent(level.shape, columns),
    fullRows: extent(full, rows),
    fullColumns: extent(full, columns),
    units: "",
    exact: extent(level.shape, columns) === extent(full, columns),
    rotationAxis: undefined,
    seconds: {},
  };
}

/** Read a whole level. */
export async function readLevel(level: Level, signal?: AbortSignal): Promise<Float32Array> {
  const answer = await ask(`${API}/array/full/${level.path}`, {
    signal,
    headers: { Accept: "application/octet-stream" },
  });
  return floats(await answer.arrayBuffer(), level.dtype);
}

function floats(content: ArrayBuffer, dtype: string): Float32Array {
  switch (dtype) {
    case "float32":
      return new Float32Array(content);
    case "uint16":
      return Float32Array.from(new Uint16Array(content));
    case "uint8":
      return Float32Array.from(new Uint8Array(content));
    default:
      throw new Error(`voxels of type ${dtype} cannot be shown`);
  }
}
