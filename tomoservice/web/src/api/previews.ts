/** Pictures of a scan by a recipe that need not be stored anywhere. */

import { ask } from "./http";
import { EXACT, learnSpeed, type Detail } from "./link";
import { scanPath } from "./scans";
import { dequantised, type Picture } from "../image/picture";
import type { PictureView } from "../recipe/address";
import type { JsonObject } from "../recipe/schema";

export interface PreviewWanted {
  run: string;
  recipe: JsonObject;
  view: PictureView;
  /** Slice, or line of the sinograms; place of a plane; angle of a projection. */
  number: number;
}

export async function fetchPreview(
  wanted: PreviewWanted,
  signal?: AbortSignal,
  detail: Detail = EXACT,
): Promise<Picture> {
  const { run, recipe, view, number } = wanted;
  const { format, maxWidth, between } = detail;
  const body = {
    ...{ recipe, view, number, format },
    ...(maxWidth === undefined ? {} : { max_width: maxWidth }),
    ...(between === undefined ? {} : { low: between[0], high: between[1] }),
  };
  const answer = await ask(`${scanPath(run)}/preview`, { body, signal });
  const began = performance.now();
  const content = await answer.arrayBuffer();
  learnSpeed(content.byteLength, (performance.now() - began) / 1000);
  return pictureOf(answer.headers, content);
}

/** Return the picture in an answer. */
export function pictureOf(headers: Headers, content: ArrayBuffer): Picture {
  const [rows = 0, columns = 0] = sizes(headers.get("X-Tomo-Shape"));
  const [fullRows = rows, fullColumns = columns] = sizes(headers.get("X-Tomo-Full-Shape"));
  const axis = headers.get("X-Tomo-Rotation-Axis");
  const dtype = headers.get("X-Tomo-Dtype");
  return {
    values: valuesOf(content, dtype, Number(headers.get("X-Tomo-Low")), Number(headers.get("X-Tomo-High"))),
    rows,
    columns,
    fullRows,
    fullColumns,
    units: headers.get("X-Tomo-Units") ?? "",
    exact: dtype === "<f4" && columns === fullColumns,
    rotationAxis: axis ? Number(axis) : undefined,
    seconds: JSON.parse(headers.get("X-Tomo-Seconds") ?? "{}") as Record<string, number>,
  };
}

function sizes(text: string | null): number[] {
  return text ? text.split(",").map(Number) : [];
}

function valuesOf(content: ArrayBuffer, dtype: string | null, low: number, high: number): Float32Array {
  switch (dtype) {
    case "<u2":
      return dequantised(new Uint16Array(content), low, high);
    case "|u1":
      return dequantised(new Uint8Array(content), low, high);
    default:
      return new Float32Array(content);
  }
}
