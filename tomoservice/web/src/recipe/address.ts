/** The view of a scan as the address of the page, which can be sent to a colleague. */

import type { JsonObject } from "./schema";

/** Single pictures, as the service makes them. */
export const PICTURES = [
  "slice",
  "xz",
  "yz",
  "sinogram",
  "projection",
  "recorded-sinogram",
  "recorded-projection",
] as const;
export type PictureView = (typeof PICTURES)[number];

export const VIEWS = ["slice", "planes", ...PICTURES.slice(1)] as const;
/** What the workbench shows: a picture, or three planes at once. */
export type View = (typeof VIEWS)[number];

export const PANELS = ["axis", "phase", "rings", "compare"] as const;
export type Panel = (typeof PANELS)[number];

export interface WorkbenchState {
  view: View;
  /** Slice, or line of the sinograms; the middle one, if not said, as with the others. */
  z: number | undefined;
  /** Where a plane along the axis lies that is seen from the front. */
  y: number | undefined;
  /** Where one lies that is seen from the side. */
  x: number | undefined;
  /** Angle of a projection, by its number. */
  angle: number;
  window: [number, number] | undefined;
  colours: string;
  panel: Panel;
  /** What differs from the defaults; undefined before anything was changed. */
  recipe: JsonObject | undefined;
}

export const START: WorkbenchState = {
  view: "slice",
  z: undefined,
  y: undefined,
  x: undefined,
  angle: 0,
  window: undefined,
  colours: "Grey",
  panel: "axis",
  recipe: undefined,
};

export function toQuery(state: WorkbenchState): string {
  const query = new URLSearchParams();
  if (state.view !== START.view) query.set("view", state.view);
  for (const axis of ["z", "y", "x"] as const) {
    if (state[axis] !== undefined) query.set(axis, String(state[axis]));
  }
  if (state.angle !== START.angle) query.set("angle", String(state.angle));
  if (state.window) query.set("window", state.window.map((value) => Number(value.toPrecision(6))).join(","));
  if (state.colours !== START.colours) query.set("colours", state.colours);
  if (state.panel !== START.panel) query.set("panel", state.panel);
  if (state.recipe) query.set("recipe", packed(state.recipe));
  return query.toString();
}

/** Read an address; what makes no sense in it is left out. */
export function fromQuery(text: string): WorkbenchState {
  const query = new URLSearchParams(text);
  const window = (query.get("window") ?? "").split(",").map(Number);
  return {
    view: VIEWS.find((view) => view === query.get("view")) ?? START.view,
    z: whole(query.get("z")),
    y: whole(query.get("y")),
    x: whole(query.get("x")),
    angle: whole(query.get("angle")) ?? START.angle,
    window: isRange(window) ? window : undefined,
    colours: query.get("colours") ?? START.colours,
    panel: PANELS.find((panel) => panel === query.get("panel")) ?? START.panel,
    recipe: unpacked(query.get("recipe")),
  };
}

function isRange(numbers: number[]): numbers is [number, number] {
  const [low, high] = numbers;
  return numbers.length === 2 && low !== undefined && high !== undefined && low < high;
}

function whole(text: string | null): number | undefined {
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

/** Return an object as text that may stand in an address. */
export function packed(content: JsonObject): string {
  const bytes = new TextEncoder().encode(JSON.stringify(content));
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

export function unpacked(text: string | null): JsonObject | undefined {
  if (!text) return undefined;
  try {
    const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const content: unknown = JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (one) => one.charCodeAt(0))));
    return typeof content === "object" && content !== null && !Array.isArray(content)
      ? (content as JsonObject)
      : undefined;
  } catch {
    return undefined;
  }
}
