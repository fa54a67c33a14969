/** A picture that can be zoomed, moved and measured in, drawn by h5web. */

import { DefaultInteractions, HeatmapMesh, ScaleType, VisCanvas } from "@h5web/lib";
import "@h5web/lib/styles.css";
import ndarray from "ndarray";
import { memo, useMemo, type ReactNode } from "react";
import { LinearFilter, NearestFilter } from "three";

import { coloursCalled } from "./colours";
import { LinkedCamera, type Link } from "./LinkedCamera";
import { MeasureTool, type Measure, type Tool } from "./MeasureTool";
import { PointerProbe, type Place } from "./PointerProbe";
import { ScaleBar } from "./ScaleBar";
import type { Picture } from "../image/picture";
import type { Range } from "../image/statistics";

/** A picture much wider than high, or the other way, is stretched: nobody sees anything in a hair. */
const HAIR = 10;

export interface ImageCanvasProps {
  picture: Picture;
  window: Range;
  /** Name of a scale of colours. */
  colours: string;
  tool?: Tool;
  measure?: Measure;
  onMeasure?: (measure: Measure | undefined) => void;
  onProbe?: (place: Place | undefined) => void;
  /** Size of a pixel of the whole picture, where it has one in both directions. */
  pixelUm?: number;
  link?: Link;
  children?: ReactNode;
}

export function ImageCanvas(props: ImageCanvasProps) {
  const { picture, window, tool = "pan", pixelUm, link } = props;
  const { rows, columns, fullRows, fullColumns } = picture;
  const values = useMemo(() => ndarray(picture.values, [rows, columns]), [picture.values, rows, columns]);
  const colours = coloursCalled(props.colours);
  const ratio = fullColumns / fullRows;
  const hair = ratio > HAIR || ratio < 1 / HAIR;
  // Zoomed in, single pixels are to be seen as such.
  const filter = picture.exact ? NearestFilter : LinearFilter;
  return (
    <div className="fill h5" data-keep-canvas-colors>
      <VisCanvas
        aspect={hair ? "auto" : "equal"}
        showAxes={false}
        abscissaConfig={{ visDomain: [0, fullColumns], isIndexAxis: true }}
        ordinateConfig={{ visDomain: [0, fullRows], isIndexAxis: true, flip: true }}
      >
        <DefaultInteractions
          pan={tool === "pan" ? {} : { modifierKey: "Shift" }}
          selectToZoom={{ modifierKey: "Control" }}
          xAxisZoom={false}
          yAxisZoom={false}
          xSelectToZoom={false}
          ySelectToZoom={false}
        />
        <HeatmapMesh
          values={values}
          domain={window}
          colorMap={colours.map}
          invertColorMap={colours.inverted}
          scaleType={ScaleType.Linear}
          scale={[1, -1, 1]}
          magFilter={filter}
          minFilter={LinearFilter}
        />
        <ShaderKeeper />
        {props.onProbe && <PointerProbe picture={picture} onProbe={props.onProbe} />}
        {props.onMeasure && tool !== "pan" && (
          <MeasureTool picture={picture} tool={tool} measure={props.measure} onMeasure={props.onMeasure} />
        )}
        {pixelUm !== undefined && !hair && <ScaleBar pixelUm={pixelUm} />}
        <LinkedCamera link={link} />
        {props.children}
      </VisCanvas>
    </div>
  );
}

/**
 * Too small to be seen, keeps the shader of pictures compiled.
 *
 * h5web makes a new material for every picture, and a program that no material uses any more is thrown
 * away: compiling it again takes longer than everything else about a new picture.
 */
const ShaderKeeper = memo(function ShaderKeeper() {
  return (
    <HeatmapMesh
      values={NOTHING}
      domain={[0, 1]}
      colorMap="Greys"
      scaleType={ScaleType.Linear}
      scale={[1e-6, 1e-6, 1]}
      frustumCulled={false}
    />
  );
});
const NOTHING = ndarray(new Float32Array(1), [1, 1]);
