import { useMemo } from "react";

import type { Picture } from "../image/picture";
import { profile, summary } from "../image/statistics";
import { lengthText } from "../viewer/lengths";
import type { Measure } from "../viewer/MeasureTool";
import { digits } from "../ui/format";
import { Plot } from "../ui/Plot";

interface Props {
  picture: Picture;
  /** Of another recipe, to compare with. */
  other?: Picture;
  measure: Measure;
  pixelUm: number | undefined;
}

/** What was measured: a profile along a line, or the values in a rectangle. */
export function MeasureResult(props: Props) {
  return (
    <div className="measure">{props.measure.tool === "profile" ? <Profile {...props} /> : <Region {...props} />}</div>
  );
}

/** Return a place of the whole picture in pixels of this one, counted from the middle of the first. */
function inPicture(picture: Picture, { x, y }: { x: number; y: number }) {
  return {
    x: (x / picture.fullColumns) * picture.columns - 0.5,
    y: (y / picture.fullRows) * picture.rows - 0.5,
  };
}

function Profile({ picture, other, measure, pixelUm }: Props) {
  const length = Math.hypot(measure.to.x - measure.from.x, measure.to.y - measure.from.y);
  const curves = useMemo(
    () =>
      [picture, other].flatMap((one, index) => {
        if (!one) return [];
        const y = profile(one, inPicture(one, measure.from), inPicture(one, measure.to));
        const x = Float32Array.from(y, (_, at) => (at / (y.length - 1)) * length);
        return [{ x, y, second: index === 1 }];
      }),
    [picture, other, measure, length],
  );
  return (
    <>
      <div className="soft number">
        {digits(length, 4)} pixels{pixelUm ? ` · ${lengthText(length * pixelUm)}` : ""}
      </div>
      <Plot label="Profile along the line" curves={curves} height={104} xUnit="pixels" />
    </>
  );
}

function Region({ picture, measure }: Props) {
  const [from, to] = [inPicture(picture, measure.from), inPicture(picture, measure.to)];
  const found = summary(picture.values, picture.columns, {
    left: Math.max(0, Math.round(Math.min(from.x, to.x))),
    right: Math.min(picture.columns, Math.round(Math.max(from.x, to.x)) + 1),
    top: Math.max(0, Math.round(Math.min(from.y, to.y))),
    bottom: Math.min(picture.rows, Math.round(Math.max(from.y, to.y)) + 1),
  });
  if (!found) return <span className="faint">Draw a rectangle.</span>;
  return (
    <div className="row wrap number" style={{ gap: 18, paddingTop: 4 }}>
      <span>mean {digits(found.mean, 5)}</span>
      <span>standard deviation {digits(found.deviation, 4)}</span>
      <span>
        {digits(found.range[0], 4)} … {digits(found.range[1], 4)} {picture.units}
      </span>
      <span className="faint">{found.count} values</span>
      {found.deviation > 0 && <span className="faint">mean / deviation {digits(Math.abs(found.mean) / found.deviation, 3)}</span>}
    </div>
  );
}
