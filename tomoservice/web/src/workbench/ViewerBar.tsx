import { useState } from "react";

import { coordinateOf, type Coordinate, type Scene } from "./useScene";
import { COLOURS } from "../viewer/colours";
import { VIEWS, type View } from "../recipe/address";
import type { Tool } from "../viewer/MeasureTool";
import { IconButton, Segments } from "../ui/controls";

const NAMES: Record<View, string> = {
  slice: "Slice",
  planes: "Three planes",
  xz: "Plane from the front",
  yz: "Plane from the side",
  sinogram: "Sinogram",
  projection: "Projection",
  "recorded-sinogram": "Recorded sinogram",
  "recorded-projection": "Recorded projection",
};

const COUNTED: Record<Coordinate, string> = { z: "Slice", y: "Place along y", x: "Place along x", angle: "Angle" };

interface Props {
  scene: Scene;
  tool: Tool;
  onTool: (tool: Tool) => void;
}

export function ViewerBar({ scene, tool, onTool }: Props) {
  const { bench, live, setLive } = scene;
  const { view, look } = bench;
  const planes = view.view === "planes" && !scene.comparison;
  return (
    <div className="viewer-bar">
      <select
        aria-label="What to show"
        value={view.view}
        onChange={(event) => look({ view: event.target.value as View, window: undefined })}
      >
        {VIEWS.map((one) => (
          <option key={one} value={one}>
            {NAMES[one]}
          </option>
        ))}
      </select>
      <NumberSlider scene={scene} />
      <div className="row" style={{ gap: 4 }}>
        <IconButton
          glyph="ruler"
          label="Profile along a line"
          pressed={tool === "profile"}
          disabled={planes}
          onClick={() => onTool(tool === "profile" ? "pan" : "profile")}
        />
        <IconButton
          glyph="square"
          label="Values in a rectangle"
          pressed={tool === "region"}
          disabled={planes}
          onClick={() => onTool(tool === "region" ? "pan" : "region")}
        />
        <select aria-label="Colours" value={view.colours} onChange={(event) => look({ colours: event.target.value })}>
          {Object.keys(COLOURS).map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
        <Segments
          label="When pictures are made"
          value={live ? "live" : "on demand"}
          onChange={(value) => setLive(value === "live")}
          options={[
            { value: "live", text: "Live", title: "Every change shows at once" },
            { value: "on demand", text: "Manual", title: "Pictures are made when you ask for them" },
          ]}
        />
      </div>
    </div>
  );
}

function NumberSlider({ scene }: { scene: Scene }) {
  const { number, count, goTo, picture } = scene;
  const [text, setText] = useState<string>();
  const name = COUNTED[coordinateOf(picture)];
  return (
    <div className="slice-control">
      <input
        type="range"
        aria-label={name}
        min={0}
        max={count - 1}
        value={number}
        disabled={count === 1}
        onChange={(event) => goTo(Number(event.target.value))}
      />
      <input
        type="number"
        aria-label={`${name} number`}
        min={0}
        max={count - 1}
        value={text ?? number}
        onChange={(event) => {
          setText(event.target.value);
          if (event.target.value !== "") goTo(Number(event.target.value));
        }}
        onBlur={() => setText(undefined)}
      />
      <span className="faint number">/ {count - 1}</span>
    </div>
  );
}
