/** A small plot of curves, drawn as SVG. */

import { useRef, type PointerEvent } from "react";

import { digits } from "./format";
import { useSize } from "./hooks";

export interface Curve {
  x: ArrayLike<number>;
  y: ArrayLike<number>;
  second?: boolean;
}

interface Props {
  label: string;
  curves: Curve[];
  height?: number;
  /** Value of x with a dashed line. */
  mark?: number;
  xUnit?: string;
  onPick?: (x: number) => void;
}

const MARGIN = { left: 4, right: 4, top: 6, bottom: 16 };

export function Plot({ label, curves, height = 110, mark, xUnit, onPick }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const [x0, x1] = limits(curves.map((curve) => curve.x));
  const [y0, y1] = limits(curves.map((curve) => curve.y));
  const across = (x: number) => MARGIN.left + ((x - x0) / (x1 - x0)) * (width - MARGIN.left - MARGIN.right);
  const down = (y: number) => height - MARGIN.bottom - ((y - y0) / (y1 - y0)) * (height - MARGIN.top - MARGIN.bottom);
  const pick = (event: PointerEvent<SVGSVGElement>) => {
    if (!onPick || !(event.buttons & 1)) return;
    const part = (event.clientX - event.currentTarget.getBoundingClientRect().left - MARGIN.left) / (width - 8);
    onPick(x0 + Math.min(1, Math.max(0, part)) * (x1 - x0));
  };
  return (
    <div ref={box} style={{ height }}>
      {width > 0 && (
        <svg
          className="plot"
          height={height}
          role="img"
          aria-label={label}
          style={{ cursor: onPick ? "crosshair" : undefined, touchAction: "none" }}
          onPointerDown={pick}
          onPointerMove={pick}
        >
          <line className="axis" x1={0} x2={width} y1={height - MARGIN.bottom} y2={height - MARGIN.bottom} />
          {curves.map((curve, index) => (
            <path key={index} className={curve.second ? "curve second" : "curve"} d={path(curve, across, down)} />
          ))}
          {mark !== undefined && mark >= x0 && mark <= x1 && (
            <line className="mark" x1={across(mark)} x2={across(mark)} y1={0} y2={height - MARGIN.bottom} />
          )}
          <text x={0} y={height - 3}>
            {digits(x0)}
          </text>
          <text x={width} y={height - 3} textAnchor="end">
            {digits(x1)} {xUnit}
          </text>
          <text x={width} y={10} textAnchor="end">
            {digits(y0, 3)} … {digits(y1, 3)}
          </text>
        </svg>
      )}
    </div>
  );
}

function limits(rows: ArrayLike<number>[]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const row of rows) {
    for (let index = 0; index < row.length; index += 1) {
      const value = row[index] as number;
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function path({ x, y }: Curve, across: (x: number) => number, down: (y: number) => number): string {
  let [text, pen] = ["", false];
  for (let index = 0; index < x.length; index += 1) {
    const value = y[index] as number;
    if (Number.isFinite(value)) {
      text += `${pen ? "L" : "M"}${across(x[index] as number).toFixed(1)} ${down(value).toFixed(1)}`;
    }
    pen = Number.isFinite(value);
  }
  return text;
}
