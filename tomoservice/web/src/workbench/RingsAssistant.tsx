/** Methods against stripes and rings, side by side on this slice. */

import { useEffect, useMemo, useRef, useState } from "react";

import type { Scene } from "./useScene";
import { isAborted, messageOf } from "../api/http";
import type { Detail } from "../api/link";
import { fetchPreview } from "../api/previews";
import type { Picture } from "../image/picture";
import { percentiles, type Range } from "../image/statistics";
import { isObject, switched } from "../recipe/recipe";
import { words, type JsonObject, type UnionField } from "../recipe/schema";
import { Segments } from "../ui/controls";

/** Enough for a picture of a few centimetres. */
const SMALL: Detail = { format: "uint16", maxWidth: 320 };

type Showing = "slice" | "sinogram";

export function RingsAssistant({ scene }: { scene: Scene }) {
  const [showing, setShowing] = useState<Showing>("slice");
  const [asked, setAsked] = useState(false);
  const stage = scene.bench.stages.find((one) => one.key === "stripes");
  if (stage?.kind !== "union") return null;
  return (
    <div className="assistant">
      <section>
        <div className="row">
          <h2 className="grow">Stripes and rings</h2>
          <Segments
            label="What to show"
            value={showing}
            onChange={setShowing}
            options={[
              { value: "slice", text: "Slice" },
              { value: "sinogram", text: "Sinogram" },
            ]}
          />
        </div>
        <p className="help">
          A detector column that errs makes a stripe in the sinogram and a ring in the slice. Each method is tried on
          slice {scene.number} with its usual parameters; choose one, then refine it in the recipe.
        </p>
      </section>
      {asked ? (
        <Methods key={showing} scene={scene} stage={stage} showing={showing} />
      ) : (
        <button type="button" className="primary" onClick={() => setAsked(true)}>
          Try every method
        </button>
      )}
    </div>
  );
}

interface Tried {
  method: string;
  picture?: Picture;
  error?: string;
}

function Methods({ scene, stage, showing }: { scene: Scene; stage: UnionField; showing: Showing }) {
  const { bench, scan, number } = scene;
  const current = bench.recipe.stripes;
  // The recipe without its own removal of stripes: changing that is no reason to try again.
  const rest = useMemo(() => JSON.stringify({ ...scene.shownRecipe, stripes: undefined }), [scene.shownRecipe]);
  const [tried, setTried] = useState<Tried[]>([]);

  useEffect(() => {
    const controller = new AbortController();
    const others = JSON.parse(rest) as JsonObject;
    setTried(stage.variants.map(({ method }) => ({ method })));
    const tell = (one: Tried) =>
      setTried((before) => before.map((other) => (other.method === one.method ? one : other)));
    const run = async () => {
      // One after the other: the workers share the sinogram, and the first pictures come soon.
      for (const { method } of stage.variants) {
        const recipe = { ...others, stripes: switched(stage, method, undefined) };
        try {
          const wanted = { run: scan.run_uid, recipe, view: showing, number };
          tell({ method, picture: await fetchPreview(wanted, controller.signal, SMALL) });
        } catch (error) {
          if (isAborted(error)) return;
          tell({ method, error: messageOf(error) });
        }
      }
    };
    void run();
    return () => controller.abort();
  }, [rest, stage, scan.run_uid, showing, number]);

  const reference = tried.find((one) => one.picture)?.picture;
  const range = useMemo<Range>(() => (reference ? percentiles(reference.values) : [0, 1]), [reference]);
  return (
    <div className="methods">
      {tried.map((one) => (
        <MethodCard
          key={one.method}
          tried={one}
          range={range}
          chosen={isObject(current) && current.method === one.method}
          onChoose={() => bench.change(["stripes"], switched(stage, one.method, undefined))}
        />
      ))}
    </div>
  );
}

interface CardProps {
  tried: Tried;
  range: Range;
  chosen: boolean;
  onChoose: () => void;
}

function MethodCard({ tried, range, chosen, onChoose }: CardProps) {
  return (
    <button type="button" className="method-card" aria-pressed={chosen} title={tried.error} onClick={onChoose}>
      <span className="small-picture">
        {tried.picture ? (
          <SmallPicture picture={tried.picture} range={range} />
        ) : tried.error ? null : (
          <span className="spinner" aria-hidden="true" />
        )}
      </span>
      <span className="ellipsis">
        {words(tried.method)}
        {tried.error && <span style={{ color: "var(--bad)" }}> failed</span>}
      </span>
    </button>
  );
}

/** A picture in grey, without zoom. */
export function SmallPicture({ picture, range }: { picture: Picture; range: Range }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const image = new ImageData(picture.columns, picture.rows);
    const scale = 255 / (range[1] - range[0] || 1);
    picture.values.forEach((value, index) => {
      const grey = (value - range[0]) * scale;
      image.data.fill(Math.min(255, Math.max(0, grey || 0)), 4 * index, 4 * index + 3);
      image.data[4 * index + 3] = 255;
    });
    context.putImageData(image, 0, 0);
  }, [picture, range]);
  return <canvas ref={canvas} width={picture.columns} height={picture.rows} />;
}
