/** The picture of the present recipe and that of another, to see what the difference does. */

import { useEffect, useMemo, useState } from "react";

import { usePreview } from "./usePreview";
import type { Comparison, Scene } from "./useScene";
import { difference, type Picture } from "../image/picture";
import { percentiles, type Range } from "../image/statistics";
import { ImageCanvas, type ImageCanvasProps } from "../viewer/ImageCanvas";
import { Link } from "../viewer/LinkedCamera";
import { Busy, Note } from "../ui/controls";

interface Props extends Pick<ImageCanvasProps, "tool" | "measure" | "onMeasure" | "onProbe"> {
  scene: Scene;
  comparison: Comparison;
}

export function ComparedPictures({ scene, comparison, ...tools }: Props) {
  const { preview, bench, scan, number } = scene;
  const wanted = useMemo(
    () => ({ run: scan.run_uid, recipe: comparison.recipe, view: bench.view.view, number }),
    [scan.run_uid, comparison.recipe, bench.view.view, number],
  );
  // One after the other: two at a time would make both slower.
  const other = usePreview(wanted, scene.live && !preview.busy, scene.screen);
  const link = useMemo(() => new Link(), []);
  const mine = preview.shown?.picture;
  const theirs = other.shown?.picture;
  if (other.error) {
    return (
      <div className="trouble">
        <Note tone="bad">
          {comparison.name}: {other.error.message}
        </Note>
      </div>
    );
  }
  if (!mine || !theirs) {
    return (
      <div className="message">
        <Busy text={`Computing ${comparison.name}`} />
      </div>
    );
  }
  const shared = { window: scene.window, colours: scene.colours, link, ...tools };
  switch (comparison.mode) {
    case "side":
      return (
        <div className="fill side-by-side">
          <div>
            <ImageCanvas picture={mine} {...shared} />
            <span className="name">present recipe</span>
          </div>
          <div>
            <ImageCanvas picture={theirs} {...shared} />
            <span className="name">{comparison.name}</span>
          </div>
        </div>
      );
    case "flicker":
      return <Flicker mine={mine} theirs={theirs} name={comparison.name} shared={shared} />;
    case "difference":
      return <Difference mine={mine} theirs={theirs} name={comparison.name} shared={shared} />;
  }
}

type Shared = Omit<ImageCanvasProps, "picture">;

interface PairProps {
  mine: Picture;
  theirs: Picture;
  name: string;
  shared: Shared;
}

const FLICKER_MS = 700;

function Flicker({ mine, theirs, name, shared }: PairProps) {
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

function Difference({ mine, theirs, name, shared }: PairProps) {
  const picture = useMemo(() => difference(mine, theirs), [mine, theirs]);
  const window = useMemo<Range>(() => {
    if (!picture) return [-1, 1];
    const [low, high] = percentiles(picture.values);
    const most = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [-most, most];
  }, [picture]);
  if (!picture) {
    return <div className="message">The two recipes give pictures of different size.</div>;
  }
  return (
    <>
      <ImageCanvas picture={picture} {...shared} window={window} colours="Blue and red" />
      <span className="flicker-name">present recipe less {name}</span>
    </>
  );
}
