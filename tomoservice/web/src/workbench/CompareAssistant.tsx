/** Recipes put aside, and how the present one is compared with them. */

import { useMemo } from "react";

import type { Pin, Scene } from "./useScene";
import { differencesBetween } from "../recipe/differences";
import { IconButton } from "../ui/controls";
import { Glyph } from "../ui/Glyph";

export function CompareAssistant({ scene }: { scene: Scene }) {
  const { pins, setPins, bench, comparison, compare } = scene;
  const withDefault = comparison?.recipe === bench.defaults;
  const pin = () => {
    const id = Math.max(0, ...pins.map((one) => one.id)) + 1;
    setPins([...pins, { id, name: `pin ${id}`, recipe: scene.shownRecipe }]);
  };
  return (
    <div className="assistant">
      <section>
        <div className="row">
          <h2 className="grow">Compare</h2>
          <button type="button" onClick={pin}>
            <Glyph name="pin" />
            Pin the present recipe
          </button>
        </div>
        <p className="help">
          A pin keeps a recipe while you go on. Choose one to see it beside the present recipe; both show the same part
          of the slice.
        </p>
      </section>
      <section className="column">
        {pins.length === 0 && <p className="faint">No pins yet.</p>}
        {pins.map((one) => (
          <PinCard key={one.id} pin={one} scene={scene} />
        ))}
      </section>
      <section>
        <h3>Other recipes</h3>
        <button
          type="button"
          aria-pressed={withDefault}
          onClick={() =>
            compare(
              withDefault
                ? undefined
                : { name: "the default recipe", recipe: bench.defaults, mode: comparison?.mode ?? "side" },
            )
          }
        >
          The default recipe
        </button>
      </section>
    </div>
  );
}

function PinCard({ pin, scene }: { pin: Pin; scene: Scene }) {
  const { bench, comparison, compare, pins, setPins } = scene;
  const chosen = comparison?.recipe === pin.recipe;
  const differences = useMemo(
    () => bench.stages.flatMap(({ key }) => differencesBetween(pin.recipe[key], bench.recipe[key], key)),
    [bench.stages, pin.recipe, bench.recipe],
  );
  const rename = (name: string) => {
    setPins(pins.map((one) => (one.id === pin.id ? { ...one, name } : one)));
    if (chosen) compare({ ...comparison, name });
  };
  const remove = () => {
    setPins(pins.filter((one) => one.id !== pin.id));
    if (chosen) compare(undefined);
  };
  return (
    <div className="card" style={{ padding: 8 }}>
      <div className="row">
        <input
          aria-label="Name of the pin"
          className="grow"
          value={pin.name}
          onChange={(event) => rename(event.target.value)}
        />
        <button
          type="button"
          aria-pressed={chosen}
          onClick={() => compare(chosen ? undefined : { name: pin.name, recipe: pin.recipe, mode: comparison?.mode ?? "side" })}
        >
          Compare
        </button>
        <IconButton glyph="undo" label={`Go on with ${pin.name}`} onClick={() => bench.load(pin.recipe)} />
        <IconButton glyph="trash" label={`Remove ${pin.name}`} onClick={remove} />
      </div>
      <ul className="help" style={{ margin: "6px 0 0", paddingLeft: 18 }}>
        {differences.length === 0 && <li>the same as the present recipe</li>}
        {differences.slice(0, 6).map(({ path, one, other }) => (
          <li key={path}>
            {path.replaceAll("_", " ")}: <strong>{one}</strong>, now {other}
          </li>
        ))}
        {differences.length > 6 && <li>and {differences.length - 6} more</li>}
      </ul>
    </div>
  );
}
