import { DataToHtml, SelectionTool, SvgElement, SvgLine, SvgRect, type Selection } from "@h5web/lib";
import { Vector3 } from "three";

import type { Picture } from "../image/picture";

export type Tool = "pan" | "profile" | "region";

/** A line or a rectangle, in pixels of the whole picture. */
export interface Measure {
  tool: "profile" | "region";
  from: { x: number; y: number };
  to: { x: number; y: number };
}

interface Props {
  picture: Picture;
  tool: "profile" | "region";
  measure: Measure | undefined;
  onMeasure: (measure: Measure | undefined) => void;
}

/** Draws a line or a rectangle with the pointer, and shows the last one. */
export function MeasureTool({ picture, tool, measure, onMeasure }: Props) {
  const within = (point: Vector3) => ({
    x: Math.min(picture.fullColumns, Math.max(0, point.x)),
    y: Math.min(picture.fullRows, Math.max(0, point.y)),
  });
  const measured = ({ data: [start, end] }: Selection): Measure => ({ tool, from: within(start), to: within(end) });
  const shown = measure?.tool === tool ? measure : undefined;
  return (
    <>
      <SelectionTool
        id="measure"
        onSelectionStart={() => onMeasure(undefined)}
        onSelectionChange={(selection) => selection && onMeasure(measured(selection))}
      >
        {() => null}
      </SelectionTool>
      {shown && (
        <DataToHtml points={[new Vector3(shown.from.x, shown.from.y), new Vector3(shown.to.x, shown.to.y)]}>
          {(from, to) => (
            <SvgElement>
              {tool === "profile" ? (
                <SvgLine coords={[from, to]} stroke="#ffb454" strokeWidth={2} />
              ) : (
                <SvgRect coords={[from, to]} fill="rgb(255 180 84 / 12%)" stroke="#ffb454" strokeWidth={2} />
              )}
            </SvgElement>
          )}
        </DataToHtml>
      )}
    </>
  );
}
