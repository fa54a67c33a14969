/** Says where a plane lies along an axis of the volume, and moves it. */

interface Props {
  axis: string;
  at: number;
  /** Voxels along the axis. */
  size: number;
  onMove: (place: number) => void;
}

export function PlaneCaption({ axis, at, size, onMove }: Props) {
  return (
    <figcaption className="row">
      <strong>{axis}</strong>
      <input
        type="range"
        aria-label={`Position along ${axis}`}
        min={0}
        max={size - 1}
        value={at}
        onChange={(event) => onMove(Number(event.target.value))}
      />
      <span className="number faint">
        {at} / {size - 1}
      </span>
    </figcaption>
  );
}
