/** Three planes of the volume that a recipe would give, which meet in one point. */

import { useMemo } from "react";

import { usePreview, type PreviewState } from "./usePreview";
import { coordinateOf, type Coordinate, type Scene } from "./useScene";
import type { Probe } from "./Viewer";
import type { PreviewWanted } from "../api/previews";
import { PLANES } from "../api/volumes";
import type { Picture } from "../image/picture";
import { Crosshair } from "../viewer/Crosshair";
import { ImageCanvas } from "../viewer/ImageCanvas";
import { PlaneCaption } from "../viewer/PlaneCaption";
import { Busy } from "../ui/controls";

interface Props {
  scene: Scene;
  slice: Picture;
  pixelUm: number | undefined;
  onProbe: (probe: Probe | undefined) => void;
}

export function ThreePlanes({ scene, slice, pixelUm, onProbe }: Props) {
  const { preview, live } = scene;
  // One after the other: the two along the axis are of the same volume, and the slice matters most.
  const first = live && !preview.busy && !preview.stale;
  const front = usePreview(usePlaneOf(scene, "xz"), first, scene.screen);
  const then = first && (front.error !== undefined || (front.shown !== undefined && !front.stale));
  const side = usePreview(usePlaneOf(scene, "yz"), then, scene.screen);
  const shared = { scene, pixelUm, onProbe };
  return (
    <div className="planes">
      <div className="plane plane-z">
        <div className={`picture ${preview.stale ? "stale" : ""}`}>
          <Pointed {...shared} view="slice" picture={slice} />
        </div>
      </div>
      <Along {...shared} view="xz" preview={front} />
      <Along {...shared} view="yz" preview={side} />
    </div>
  );
}

type PlaneView = "xz" | "yz";

function usePlaneOf({ scan, shownRecipe, places, problems }: Scene, view: PlaneView): PreviewWanted | undefined {
  const number = places.at[coordinateOf(view)];
  const sound = Object.keys(problems).length === 0;
  return useMemo(
    () => (sound ? { run: scan.run_uid, recipe: shownRecipe, view, number } : undefined),
    [sound, scan.run_uid, shownRecipe, view, number],
  );
}

interface PointedProps extends Omit<Props, "slice"> {
  view: "slice" | PlaneView;
  picture: Picture;
}

/** A plane, with where the two others are. */
function Pointed({ scene, view, picture, pixelUm, onProbe }: PointedProps) {
  const { at, goTo } = scene.places;
  const { rows, columns } = PLANES[coordinateOf(view) as "z" | "y" | "x"];
  return (
    <ImageCanvas
      picture={picture}
      window={scene.window}
      colours={scene.colours}
      pixelUm={pixelUm}
      onProbe={(place) => onProbe(place && { place, view })}
    >
      <Crosshair
        at={{ x: at[columns] + 0.5, y: at[rows] + 0.5 }}
        size={{ x: picture.fullColumns, y: picture.fullRows }}
        onPick={({ x, y }) => goTo({ [columns]: x, [rows]: y })}
      />
    </ImageCanvas>
  );
}

interface AlongProps extends Omit<Props, "slice"> {
  view: PlaneView;
  preview: PreviewState;
}

const SEEN: Record<PlaneView, string> = { xz: "Seen from the front", yz: "Seen from the side" };

function Along({ preview, ...shared }: AlongProps) {
  const { view, scene } = shared;
  const { shown, error, stale } = preview;
  const along: Coordinate = coordinateOf(view);
  const { at, sizes, goTo } = scene.places;
  const state = error ? "failed" : stale || !shown ? "stale" : "ready";
  return (
    <figure className={`plane plane-${along}`} aria-label={SEEN[view]}>
      <div className={`picture ${stale && !error ? "stale" : ""}`} data-testid={`plane-${along}`} data-state={state}>
        {shown && !error && <Pointed {...shared} picture={shown.picture} />}
        {error && <div className="message">{error.message}</div>}
        {!shown && !error && (
          <div className="message">
            {scene.live ? (
              <Busy text="Computing: it takes all slices" />
            ) : (
              <button type="button" onClick={preview.refresh}>
                Show the plane
              </button>
            )}
          </div>
        )}
        {shown && stale && !scene.live && (
          <div className="corner">
            <button type="button" onClick={preview.refresh}>
              Update
            </button>
          </div>
        )}
      </div>
      <PlaneCaption axis={along} at={at[along]} size={sizes[along]} onMove={(place) => goTo({ [along]: place })} />
    </figure>
  );
}
