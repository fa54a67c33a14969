/** The picture of the present recipe and that of another, to see what the difference does. */

import { useEffect, useMemo, useState } from "react";

import { usePreview } from "./usePreview";
import type { Comparison, Scene } from "./useScene";
import { difference, type Picture } from "../image/picture";
import { percentiles, type Range } from "../image/statistics";
import { ImageCanvas, type ImageCanvasProps } from "../viewer/ImageCanvas";
import { Link } from "../viewer/LinkedCamera";
import { Busy, Note } from "../ui/controls";
import { digits } from "../ui/format";

/** What a comparison shows, for whatever else wants to know. */
export interface Compared {
  /** Picture of the present recipe, or the difference. */
  picture: Picture;
  /** Picture of the other recipe, if both are shown. */
  other?: Picture;
  /** Of a difference: which values the colours stand for. */
  scale?: Range;
}

interface Props extends Pick<ImageCanvasProps, "tool" | "measure" | "onMeasure" | "onProbe" | "pixelUm"> {
  scene: Scene;
  comparison: Comparison;
  onShown: (compared: Compared | undefined) => void;
}

export function ComparedPictures({ scene, comparison, onShown, ...tools }: Props) {
  const { preview, picture: view, scan, number } = scene;
  const { mode, name } = comparison;
  const wanted = useMemo(
    () => ({ run: scan.run_uid, recipe: comparison.recipe, view, number }),
    [scan.run_uid, comparison.recipe, view, number],
  );
  // One after the other: two at a time would make both slower.
  const other = usePreview(wanted, scene.live && !preview.busy && !preview.stale, scene.screen);
  const link = useMemo(() => new Link(), []);
  const mine = preview.shown?.picture;
  const theirs = other.shown?.picture;
  const compared = useMemo(() => (mine && theirs ? comparedAs(mode, mine, theirs) : undefined), [mode, mine, theirs]);
  useEffect(() => {
    onShown(compared);
    return () => onShown(undefined);
  }, [compared, onShown]);
  if (other.error) {
    return (
      <div className="trouble">
        <Note tone="bad">
          {name}: {other.error.message}
        </Note>
      </div>
    );
  }
  if (!mine || !theirs) {
    return (
      <div className="message">
        <Busy text={`Computing ${name}`} />
      </div>
    );
  }
  if (!compared) {
    return <div className="message">The two recipes give pictures of different size.</div>;
  }
  const shared = { window: scene.window, colours: scene.colours, link, ...tools };
  switch (mode) {
    case "side":
      return (
        <div className="fill side-by-side">
          <div>
            <ImageCanvas picture={mine} {...shared} />
            <span className="name">present recipe</span>
          </div>
          <div>
            <ImageCanvas picture={theirs} {...shared} />
            <span className="name">{name}</span>
          </div>
        </div>
      );
    case "flicker":
      return <Flicker mine={mine} theirs={theirs} name={name} shared={shared} />;
    case "difference":
      return (
        <>
          <ImageCanvas {...shared} picture={compared.picture} window={compared.scale ?? scene.window} colours={OF_DIFFERENCES} />
          <span className="flicker-name">present recipe less {name}</span>
        </>
      );
  }
}

/** Colours of a difference: where the present recipe gives less, and where it gives more. */
const OF_DIFFERENCES = "Blue and red";

/** Return what a comparison shows; undefined if there is no difference of the two pictures. */
function comparedAs(mode: Comparison["mode"], mine: Picture, theirs: Picture): Compared | undefined {
  if (mode !== "difference") return { picture: mine, other: theirs };
  const picture = difference(mine, theirs);
  if (!picture) return undefined;
  const [low, high] = percentiles(picture.values);
  const most = Math.max(Math.abs(low), Math.abs(high)) || 1;
  return { picture, scale: [-most, most] };
}

interface FlickerProps {
  mine: Picture;
  theirs: Picture;
  name: string;
  shared: Omit<ImageCanvasProps, "picture">;
}

const FLICKER_MS = 700;

function Flicker({ mine, theirs, name, shared }: FlickerProps) {
  const [first, setFirst] = useState(true);
  useEffect(() => {
    const timer = setInterval(() => setFirst((before) => !before), FLICKER_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <>
      <ImageCanvas picture={first ? mine : theirs} {...shared} />
      <span className="flicker-name">{first ? "present recipe" : name}</span>
    </>
  );
}

/** Says which values the colours of a difference stand for. */
export function DifferenceScale({ scale, units }: { scale: Range; units: string }) {
  return (
    <div className="levels difference-scale">
      <span className="soft">less</span>
      <span className="number">{digits(scale[0], 3)}</span>
      <span className="colours" aria-hidden="true" />
      <span className="number">{digits(scale[1], 3)}</span>
      <span className="soft">more</span>
      <span className="faint">{units}</span>
    </div>
  );
}
