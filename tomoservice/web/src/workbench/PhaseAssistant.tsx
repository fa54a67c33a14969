/** Phase retrieval: how strongly, by a material or a number, with and without side by side. */

import { NumberInput } from "../ui/NumberInput";
import type { Scene } from "./useScene";
import { isObject } from "../recipe/recipe";
import type { Json, JsonObject } from "../recipe/schema";
import { Segments, Switch } from "../ui/controls";

const START: JsonObject = { method: "paganin", material: { method: "delta_beta", delta_beta: 200 } };

export function PhaseAssistant({ scene }: { scene: Scene }) {
  const { bench, comparison } = scene;
  const stage = bench.recipe.phase;
  const on = isObject(stage) && stage.method !== "none";
  const compared = comparison?.name === WITHOUT;
  const turn = (wanted: boolean) => bench.change(["phase"], wanted ? START : { method: "none" });
  return (
    <div className="assistant">
      <section>
        <div className="row">
          <h2 className="grow">Phase retrieval</h2>
          <Switch label="Phase retrieval" on={on} onChange={turn} />
        </div>
        <p className="help">
          Propagation gives edges that shine. Phase retrieval turns them into density: the larger δ/β, the smoother.
          Choose the largest that still keeps the finest edges you need.
        </p>
      </section>
      {on && isObject(stage) && <Material scene={scene} stage={stage} />}
      {on && <Geometry scene={scene} stage={stage as JsonObject} />}
      {on && (
        <section>
          <button
            type="button"
            aria-pressed={compared}
            onClick={() =>
              scene.compare(
                compared
                  ? undefined
                  : { name: WITHOUT, recipe: { ...scene.shownRecipe, phase: { method: "none" } }, mode: "side" },
              )
            }
          >
            {compared ? "Show this picture only" : "Show beside the picture without"}
          </button>
          <p className="help">A line drawn across an edge (ruler, above the picture) shows both profiles.</p>
        </section>
      )}
    </div>
  );
}

const WITHOUT = "without phase retrieval";

function Material({ scene, stage }: { scene: Scene; stage: JsonObject }) {
  const { change } = scene.bench;
  const material = isObject(stage.material) ? stage.material : {};
  const byFormula = material.method === "compound";
  const set = (value: Json) => change(["phase", "material"], value);
  return (
    <section aria-label="Material">
      <div className="row">
        <h3 className="grow">Material</h3>
        <Segments
          label="Material by"
          value={byFormula ? "compound" : "delta_beta"}
          onChange={(method) =>
            set(
              method === "compound"
                ? { method, formula: "C5H8O2", density_g_cm3: 1.18 }
                : { method, delta_beta: 200 },
            )
          }
          options={[
            { value: "delta_beta", text: "δ/β" },
            { value: "compound", text: "Formula" },
          ]}
        />
      </div>
      {byFormula ? (
        <div className="value-line">
          <input
            aria-label="Formula"
            placeholder="Ca5(PO4)3OH"
            value={typeof material.formula === "string" ? material.formula : ""}
            onChange={(event) => change(["phase", "material", "formula"], event.target.value)}
          />
          <NumberInput
            label="Density"
            unit="g/cm³"
            value={material.density_g_cm3}
            onChange={(value) => change(["phase", "material", "density_g_cm3"], value)}
          />
        </div>
      ) : (
        <RatioSlider value={material.delta_beta} onChange={(value) => change(["phase", "material", "delta_beta"], value)} />
      )}
    </section>
  );
}

/** Logarithms of the smallest and largest ratio of the slider. */
const [LEAST, MOST] = [0, 4.5];

function RatioSlider({ value, onChange }: { value: Json | undefined; onChange: (value: number) => void }) {
  const ratio = typeof value === "number" && value > 0 ? value : 1;
  return (
    <div className="value-line">
      <input
        type="range"
        aria-label="δ/β"
        min={LEAST}
        max={MOST}
        step={0.02}
        value={Math.log10(ratio)}
        onChange={(event) => onChange(Number((10 ** Number(event.target.value)).toPrecision(3)))}
      />
      <NumberInput label="δ/β, number" value={value} onChange={(one) => typeof one === "number" && onChange(one)} />
    </div>
  );
}

function Geometry({ scene, stage }: { scene: Scene; stage: JsonObject }) {
  const { scan, bench } = scene;
  const rows = [
    { key: "distance_mm", text: "Distance", unit: "mm", known: scan.distance_mm },
    { key: "energy_kev", text: "Energy", unit: "keV", known: scan.energy_kev },
    { key: "pixel_size_um", text: "Pixel", unit: "µm", known: scan.pixel_size_um },
  ];
  return (
    <section aria-label="Geometry">
      <h3>Geometry</h3>
      {rows.map((row) => (
        <div key={row.key} className="form-row">
          <label htmlFor={`phase-assistant-${row.key}`}>{row.text}</label>
          <div className="control">
            <NumberInput
              id={`phase-assistant-${row.key}`}
              nullable
              unit={row.unit}
              placeholder={row.known === null ? "unknown" : String(Number(row.known.toPrecision(5)))}
              value={stage[row.key]}
              onChange={(value) => bench.change(["phase", row.key], value)}
            />
          </div>
        </div>
      ))}
      <p className="help">Left empty, they are those of the scan.</p>
    </section>
  );
}
