/** Which values are black and which are white, chosen in the histogram. */

import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";

import type { Picture } from "../image/picture";
import { histogram, percentiles, type Range } from "../image/statistics";
import { Glyph } from "../ui/Glyph";
import { digits } from "../ui/format";

interface Props {
  picture: Picture | undefined;
  window: Range;
  automatic: boolean;
  onChange: (window: Range | undefined) => void;
}

export function Levels({ picture, window, automatic, onChange }: Props) {
  const counted = useMemo(() => picture && histogram(picture.values), [picture]);
  if (!picture || !counted) return <div className="levels" style={{ minHeight: 51 }} />;
  // Whoever types a black level above the white one wants to look there: the other moves along.
  const span = window[1] - window[0];
  return (
    <div className="levels">
      <Bound label="Black" value={window[0]} onChange={(low) => onChange([low, low < window[1] ? window[1] : low + span])} />
      <HistogramBar counts={counted.counts} range={widened(counted.range, window)} own={counted.range} window={window} onChange={onChange} />
      <Bound label="White" value={window[1]} onChange={(high) => onChange([high > window[0] ? window[0] : high - span, high])} />
      <button type="button" aria-pressed={automatic} title="Follow every picture: 0.5 and 99.5 % of its values" onClick={() => onChange(automatic ? window : undefined)}>
        Auto
      </button>
      <button type="button" className="icon" aria-label="Window for this picture, kept" title="Fit to this picture, and keep it" onClick={() => onChange(percentiles(picture.values, 0.1, 99.9))}>
        <Glyph name="zoomOut" />
      </button>
    </div>
  );
}

function widened(own: Range, window: Range): Range {
  const span = own[1] - own[0];
  const low = Math.max(own[0] - span, Math.min(own[0], window[0]));
  const high = Math.min(own[1] + span, Math.max(own[1], window[1]));
  return [low, high];
}

function Bound({ label, value, onChange }: { label: string; value: number; onChange: (value: number) => void }) {
  const [text, setText] = useState<string>();
  const finish = () => {
    const number = Number(text?.replace(",", "."));
    if (text !== undefined && text.trim() !== "" && Number.isFinite(number)) onChange(number);
    setText(undefined);
  };
  return (
    <input
      type="text"
      inputMode="decimal"
      aria-label={`${label} level`}
      title={label}
      value={text ?? digits(value)}
      onFocus={(event) => event.currentTarget.select()}
      onChange={(event) => setText(event.target.value)}
      onBlur={finish}
      onKeyDown={(event) => {
        if (event.key === "Enter") finish();
        if (event.key === "Escape") setText(undefined);
      }}
    />
  );
}

interface BarProps {
  counts: number[];
  range: Range;
  own: Range;
  window: Range;
  onChange: (window: Range) => void;
}

function HistogramBar({ counts, range, own, window, onChange }: BarProps) {
  const box = useRef<HTMLDivElement>(null);
  const [low, high] = range;
  const place = (value: number) => Math.min(100, Math.max(0, ((value - low) / (high - low)) * 100));
  const dragged = useRef<0 | 1>();
  const latest = useRef(window);
  useEffect(() => {
    latest.current = window;
  }, [window]);

  const drag = (event: PointerEvent) => {
    const end = dragged.current;
    const rectangle = box.current?.getBoundingClientRect();
    if (end === undefined || !rectangle) return;
    const part = Math.min(1, Math.max(0, (event.clientX - rectangle.left) / rectangle.width));
    moveTo(end, low + part * (high - low));
  };
  const moveTo = (end: 0 | 1, value: number) => {
    const [black, white] = latest.current;
    const least = (high - low) / 1000;
    onChange(end === 0 ? [Math.min(value, white - least), white] : [black, Math.max(value, black + least)]);
  };
  const grab = (event: PointerEvent) => {
    const rectangle = box.current?.getBoundingClientRect();
    if (!rectangle) return;
    const part = ((event.clientX - rectangle.left) / rectangle.width) * 100;
    dragged.current = Math.abs(part - place(window[0])) <= Math.abs(part - place(window[1])) ? 0 : 1;
    event.currentTarget.setPointerCapture(event.pointerId);
    drag(event);
  };
  const keys = (end: 0 | 1) => (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    moveTo(end, window[end] + (step * (high - low)) / (event.shiftKey ? 20 : 200));
  };
  return (
    <div
      ref={box}
      className="histogram"
      onPointerDown={grab}
      onPointerMove={drag}
      onPointerUp={() => (dragged.current = undefined)}
    >
      <Bars counts={counts} left={place(own[0])} right={place(own[1])} shown={[place(window[0]), place(window[1])]} />
      {([0, 1] as const).map((end) => (
        <div
          key={end}
          className="handle"
          role="slider"
          tabIndex={0}
          aria-label={end === 0 ? "Black" : "White"}
          aria-valuenow={window[end]}
          aria-valuemin={low}
          aria-valuemax={high}
          style={{ left: `${place(window[end])}%` }}
          onKeyDown={keys(end)}
        />
      ))}
    </div>
  );
}

interface BarsProps {
  counts: number[];
  left: number;
  right: number;
  shown: Range;
}

function Bars({ counts, left, right, shown }: BarsProps) {
  // The background of a slice is one tall bar: the square root leaves the others to be seen.
  const most = Math.sqrt(Math.max(...counts, 1));
  const width = (right - left) / counts.length;
  return (
    <svg viewBox="0 0 100 38" preserveAspectRatio="none" aria-hidden="true">
      <rect className="shown" x={shown[0]} width={Math.max(0, shown[1] - shown[0])} y={0} height={38} />
      {counts.map((count, bin) => {
        const height = (Math.sqrt(count) / most) * 36;
        return <rect key={bin} className="count" x={left + bin * width} width={width * 1.02} y={38 - height} height={height} />;
      })}
    </svg>
  );
}
