/** The picture in the middle of the workbench, with all that is needed to look at it. */

import { useEffect, useRef, useState } from "react";

import { ComparedPictures, DifferenceScale, type Compared } from "./ComparedPictures";
import { MeasureResult } from "./MeasureResult";
import { ThreePlanes } from "./ThreePlanes";
import { isPlane } from "./usePreview";
import { binningOf, COMPARE_MODES, type Comparison, type Scene } from "./useScene";
import { ViewerBar } from "./ViewerBar";
import type { PictureView } from "../recipe/address";
import { isExtra } from "../recipe/recipe";
import { useAccess } from "../account/access";
import { PLANE_DETAIL } from "../api/link";
import { ImageCanvas } from "../viewer/ImageCanvas";
import { Levels } from "../viewer/Levels";
import type { Measure, Tool } from "../viewer/MeasureTool";
import type { Place } from "../viewer/PointerProbe";
import { lengthText } from "../viewer/lengths";
import { Busy, Note, Segments } from "../ui/controls";
import { digits, span } from "../ui/format";
import { useNow, useSize } from "../ui/hooks";

export function Viewer({ scene }: { scene: Scene }) {
  const { preview, bench } = scene;
  const [chosenTool, setTool] = useState<Tool>("pan");
  const [measure, setMeasure] = useState<Measure>();
  const [probe, setProbe] = useState<Probe>();
  const [compared, setCompared] = useState<Compared>();
  const picture = preview.shown?.picture;
  // A picture of another kind is no stale version of this one.
  const fitting = preview.shown?.wanted.view === scene.picture ? picture : undefined;
  const pixelUm = scene.picture.endsWith("sinogram") ? undefined : pixelOf(scene);
  const threePlanes = bench.view.view === "planes" && !scene.comparison;
  const tool = threePlanes ? "pan" : chosenTool;
  const setPlace = (place: Place | undefined) => setProbe(place && { place, view: scene.picture });
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const { setScreenWidth } = scene;
  useEffect(() => {
    // In steps, so that a few pixels more are no reason to make another picture.
    if (width > 0) setScreenWidth(Math.ceil((width * window.devicePixelRatio) / 64) * 64);
  }, [width, setScreenWidth]);
  return (
    <section className="viewer" aria-label="Picture">
      <ViewerBar scene={scene} tool={tool} onTool={setTool} />
      <div ref={box} className={`picture ${preview.stale ? "stale" : ""}`} data-testid="picture" data-state={stateOf(scene)} data-axis={picture?.rotationAxis}>
        {fitting && threePlanes && <ThreePlanes scene={scene} slice={fitting} pixelUm={pixelUm} onProbe={setProbe} />}
        {fitting && !threePlanes && !scene.comparison && (
          <ImageCanvas
            picture={fitting}
            window={scene.window}
            colours={scene.colours}
            tool={tool}
            measure={measure}
            onMeasure={setMeasure}
            onProbe={setPlace}
            pixelUm={pixelUm}
          />
        )}
        {scene.comparison && (
          <ComparedPictures
            scene={scene}
            comparison={scene.comparison}
            tool={tool}
            measure={measure}
            onMeasure={setMeasure}
            onProbe={setPlace}
            pixelUm={pixelUm}
            onShown={setCompared}
          />
        )}
        <Overlays scene={scene} empty={!fitting && !scene.comparison} />
      </div>
      {measure && tool !== "pan" && fitting && (
        <MeasureResult
          picture={compared?.picture ?? fitting}
          other={compared?.other}
          measure={measure}
          pixelUm={pixelOf(scene)}
        />
      )}
      <div>
        {compared?.scale ? (
          <DifferenceScale scale={compared.scale} units={compared.picture.units} />
        ) : (
          <Levels
            picture={fitting}
            window={scene.window}
            automatic={bench.view.window === undefined}
            onChange={(window) => bench.look({ window })}
          />
        )}
        <Foot scene={scene} probe={probe} />
      </div>
    </section>
  );
}

function stateOf({ preview }: Scene): string {
  if (preview.error) return "failed";
  if (preview.stale || preview.busy) return "stale";
  return preview.shown ? "ready" : "empty";
}

/** Return the size of a pixel of the picture in micrometres. */
function pixelOf({ scan, bench }: Scene): number | undefined {
  return scan.pixel_size_um ? scan.pixel_size_um * binningOf(bench.recipe) : undefined;
}

function Overlays({ scene, empty }: { scene: Scene; empty: boolean }) {
  const { preview, bench, live } = scene;
  const canWrite = useAccess()?.canWrite;
  if (!canWrite) {
    return (
      <div className="message">
        <p>
          You may look at what is stored; pictures by a recipe of your own take a key that may write.
          <br />
          Sign in with one to go on.
        </p>
      </div>
    );
  }
  const wrong = Object.keys(bench.problems).length > 0;
  return (
    <>
      <div className="corner" aria-live="polite">
        {scene.comparison && <Comparing scene={scene} comparison={scene.comparison} />}
        {preview.busy && <Computing scene={scene} />}
        <Detail scene={scene} />
        {preview.stale && !preview.busy && !preview.error && !wrong && (
          <span className="chip">
            Picture of a former recipe
            <button type="button" onClick={preview.refresh}>
              Update
            </button>
          </span>
        )}
        {wrong && <span className="chip">The recipe has a mistake: the picture is that of the last one without</span>}
        {bench.skipped.size > 0 && (
          <span className="chip">
            Left out of the picture: {[...bench.skipped].map((stage) => stage.replaceAll("_", " ")).join(", ")}
          </span>
        )}
        <Slow scene={scene} />
      </div>
      {empty && !preview.error && (
        <div className="message">
          {live || preview.busy ? (
            <Busy text="Computing the first picture" />
          ) : (
            <button type="button" onClick={preview.refresh}>
              Show the picture
            </button>
          )}
        </div>
      )}
      {preview.error && (
        <div className="trouble">
          <Note tone="bad">{preview.error.message}</Note>
        </div>
      )}
    </>
  );
}

/** Says what the picture leaves out, and how to have it. */
function Detail({ scene: { preview } }: { scene: Scene }) {
  const { shown, stale, exactly } = preview;
  if (!shown || stale || shown.picture.exact) return null;
  const { columns, fullColumns } = shown.picture;
  const plane = isPlane(shown.wanted);
  const finest = plane && (shown.detail.maxWidth ?? 0) >= PLANE_DETAIL.finest.maxWidth;
  return (
    <span className="chip">
      {plane
        ? `Voxels ${Math.round(fullColumns / columns)} times as large: the plane takes all slices`
        : "Values as the screen needs them"}
      {!finest && (
        <button type="button" onClick={exactly}>
          {plane ? "Finer" : "Exact"}
        </button>
      )}
    </span>
  );
}

function Comparing({ scene, comparison }: { scene: Scene; comparison: Comparison }) {
  return (
    <span className="chip">
      <Segments
        label="How to compare"
        value={comparison.mode}
        onChange={(mode) => scene.compare({ ...comparison, mode })}
        options={COMPARE_MODES}
      />
      <button type="button" onClick={() => scene.compare(undefined)}>
        Stop comparing
      </button>
    </span>
  );
}

/** Seconds after which it is said how long somebody has been waiting, and that they need not. */
const PATIENCE_S = 2;

function Computing({ scene }: { scene: Scene }) {
  const { preview, bench } = scene;
  const [began] = useState(() => Date.now() / 1000);
  const waited = useNow(1000) - began;
  const axis = bench.recipe.rotation_axis as { method?: string } | undefined;
  return (
    <span className="chip">
      <span className="spinner" aria-hidden="true" />
      {preview.stale ? "Picture of the former recipe; computing" : "Computing"}
      {waited > PATIENCE_S && (
        <>
          {` for ${Math.round(waited)} s`}
          {axis?.method !== "value" && ": the rotation axis is searched first"}
          <button type="button" onClick={preview.cancel}>
            Stop
          </button>
        </>
      )}
    </span>
  );
}

/** Seconds of a picture beyond which it is said what takes so long. */
const SLOW_S = 3;

function Slow({ scene }: { scene: Scene }) {
  const { preview, bench, axis } = scene;
  const shown = preview.shown;
  if (!shown || shown.seconds < SLOW_S || preview.stale) return null;
  const slowest = Object.entries(shown.picture.seconds).sort((one, other) => other[1] - one[1])[0];
  if (!slowest || slowest[1] < SLOW_S / 2) return null;
  const [stage, seconds] = slowest;
  const searched = (bench.recipe.rotation_axis as { method?: string } | undefined)?.method !== "value";
  if (stage === "plan" && searched && axis !== undefined) {
    const keep = () => bench.change(["rotation_axis"], { method: "value", value: Number(axis.toFixed(3)), tilt_deg: 0 });
    return (
      <span className="chip">
        Finding the rotation axis took {span(seconds)}
        <button type="button" onClick={keep}>
          Keep {digits(axis, 6)}
        </button>
      </span>
    );
  }
  const form = bench.stages.find((one) => one.key === stage);
  const optional = form !== undefined && isExtra(form, bench.defaults);
  return (
    <span className="chip">
      Slow: {stage.replaceAll("_", " ")} takes {span(seconds)}
      {optional && !bench.skipped.has(stage) && (
        <button type="button" onClick={() => bench.skip(stage, true)}>
          Leave it out of pictures
        </button>
      )}
    </span>
  );
}

/** A pixel under the pointer, and the picture that it belongs to. */
export interface Probe {
  place: Place;
  view: PictureView;
}

/** What rows and columns of a picture are. */
const NAMES: Record<PictureView, [string, string]> = {
  slice: ["y", "x"],
  xz: ["z", "x"],
  yz: ["z", "y"],
  sinogram: ["angle", "column"],
  projection: ["row", "column"],
  "recorded-sinogram": ["angle", "column"],
  "recorded-projection": ["row", "column"],
};

function Foot({ scene, probe }: { scene: Scene; probe: Probe | undefined }) {
  const { preview } = scene;
  const shown = preview.shown;
  const pixel = pixelOf(scene);
  const threePlanes = scene.bench.view.view === "planes" && !scene.comparison;
  return (
    <div className="viewer-foot">
      {probe ? (
        <>
          <span className="number">
            {NAMES[probe.view][1]} {probe.place.column}, {NAMES[probe.view][0]} {probe.place.row}
          </span>
          {pixel && <span className="number faint">{physical(probe, scene, pixel)}</span>}
          <span className="number" data-testid="value">
            {(shown?.picture.exact === false || probe.view !== shown?.wanted.view) && "≈ "}
            {digits(probe.place.value, 5)} {shown?.picture.units}
          </span>
        </>
      ) : (
        <span className="faint">
          {threePlanes ? "Click: look there" : "Ctrl + drag: zoom to a part"} · Wheel: zoom · drag: move · ↑ ↓: next slice
        </span>
      )}
      <span className="grow" />
      {shown && (
        <span className="number faint" title={secondsTitle(shown.picture.seconds)}>
          {shown.picture.fullColumns} × {shown.picture.fullRows} · {span(shown.seconds)}
        </span>
      )}
    </div>
  );
}

/**
 * Positions are measured from the rotation axis, x to the right and y up, as in the volume, and from the first
 * slice.
 */
function physical({ place, view }: Probe, { places: { sizes } }: Scene, pixelUm: number): string {
  const x = (place.column - (sizes.x - 1) / 2) * pixelUm;
  switch (view) {
    case "slice":
      return `(${lengthText(x)}, ${lengthText(((sizes.y - 1) / 2 - place.row) * pixelUm)})`;
    case "xz":
      return `(${lengthText(x)}, ${lengthText(place.row * pixelUm)})`;
    case "yz":
      return `(${lengthText(((sizes.y - 1) / 2 - place.column) * pixelUm)}, ${lengthText(place.row * pixelUm)})`;
    default:
      return "";
  }
}

function secondsTitle(seconds: Record<string, number>): string {
  return Object.entries(seconds)
    .map(([stage, time]) => `${stage}: ${span(time)}`)
    .join("\n");
}
