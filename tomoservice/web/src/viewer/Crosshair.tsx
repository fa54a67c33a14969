import { DataToHtml, SvgElement, SvgLine, useCanvasEvent } from "@h5web/lib";
import { useRef } from "react";
import { Vector3 } from "three";

interface Point {
  x: number;
  y: number;
}

interface Props {
  at: Point;
  size: Point;
  onPick: (point: Point) => void;
}

/** Pixels that the pointer may move between going down and up for it to be a click. */
const STILL = 4;

/** Shows where the other planes are; a click moves them. */
export function Crosshair({ at, size, onPick }: Props) {
  const down = useRef<Point>();
  useCanvasEvent("pointerdown", ({ htmlPt, sourceEvent }) => {
    down.current = sourceEvent.button === 0 ? { x: htmlPt.x, y: htmlPt.y } : undefined;
  });
  useCanvasEvent("pointerup", ({ htmlPt, dataPt }) => {
    const start = down.current;
    down.current = undefined;
    if (!start || Math.hypot(htmlPt.x - start.x, htmlPt.y - start.y) > STILL) return;
    if (dataPt.x >= 0 && dataPt.y >= 0 && dataPt.x < size.x && dataPt.y < size.y) onPick({ x: dataPt.x, y: dataPt.y });
  });
  const line = { stroke: "#ffb454", strokeWidth: 1, strokeOpacity: 0.65 };
  return (
    <DataToHtml
      points={[new Vector3(0, at.y), new Vector3(size.x, at.y), new Vector3(at.x, 0), new Vector3(at.x, size.y)]}
    >
      {(left, right, top, bottom) => (
        <SvgElement>
          <SvgLine coords={[left, right]} {...line} />
          <SvgLine coords={[top, bottom]} {...line} />
        </SvgElement>
      )}
    </DataToHtml>
  );
}
