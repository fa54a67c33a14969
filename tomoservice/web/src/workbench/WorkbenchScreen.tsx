/** One scan: the recipe, what it does to a slice, and help with what is hard to choose. */

import { useMemo, useState } from "react";

import { Assistants } from "./Assistants";
import { RecipeForm } from "./RecipeForm";
import { useScene, type Scene } from "./useScene";
import { Viewer } from "./Viewer";
import { WorkbenchHead } from "./WorkbenchHead";
import { useAccess } from "../account/access";
import { useEvents } from "../api/events";
import { checkRecipe, proposeRecipe, readSchema } from "../api/recipes";
import { readScan } from "../api/scans";
import type { Proposal, ScanDetail } from "../api/types";
import { stagesOf, type Field, type JsonObject } from "../recipe/schema";
import { Busy, Note, Segments } from "../ui/controls";
import { useKeys, useMedia } from "../ui/hooks";
import { useResource } from "../ui/useResource";

export default function WorkbenchScreen({ run }: { run: string }) {
  const scan = useResource(run, (signal) => readScan(run, signal));
  const form = useResource("form", readForm);
  const proposal = useResource(`proposal of ${run}`, (signal) => proposeRecipe(run, signal));
  useEvents(["scan", "reconstruction"], scan.reload);
  const error = [scan, form].find((one) => one.error && !one.value)?.error;
  if (error) {
    return (
      <main className="page">
        <Note tone="bad">{error.message}</Note>
      </main>
    );
  }
  if (!scan.value || !form.value || !(proposal.value ?? proposal.error)) {
    return (
      <main className="empty">
        <Busy text="Opening the scan" />
      </main>
    );
  }
  return <Bench scan={scan.value} form={form.value} proposal={proposal.value} />;
}

interface Form {
  stages: Field[];
  defaults: JsonObject;
}

async function readForm(signal: AbortSignal): Promise<Form> {
  const [schema, checked] = await Promise.all([readSchema(signal), checkRecipe({}, signal)]);
  return { stages: stagesOf(schema), defaults: checked.recipe ?? {} };
}

interface BenchProps {
  scan: ScanDetail;
  form: Form;
  proposal: Proposal | undefined;
}

const NARROW = "(max-width: 1200px)";

function Bench({ scan, form, proposal }: BenchProps) {
  const scene = useScene(scan, form.stages, form.defaults, proposal);
  const narrow = useMedia(NARROW);
  const [side, setSide] = useState<"recipe" | "help">("recipe");
  const { bench } = scene;
  useKeys({
    "Control+z": () => bench.undo?.(),
    "Control+Z": () => bench.redo?.(),
    "Control+y": () => bench.redo?.(),
    ArrowUp: () => scene.step(1),
    ArrowDown: () => scene.step(-1),
    PageUp: () => scene.step(10),
    PageDown: () => scene.step(-10),
  });
  return (
    <main className={`workbench ${narrow ? "narrow" : ""}`}>
      <WorkbenchHead scene={scene} proposal={proposal} />
      <aside className="side left" aria-label={narrow ? "Recipe and assistants" : "Recipe"}>
        {narrow && (
          <Segments
            className="side-tabs"
            label="Side"
            value={side}
            onChange={setSide}
            options={[
              { value: "recipe", text: "Recipe" },
              { value: "help", text: "Assistants" },
            ]}
          />
        )}
        {(!narrow || side === "recipe") && (
          <div className="side-content">
            <RecipeSide scene={scene} proposal={proposal} />
          </div>
        )}
        {narrow && side === "help" && <Assistants scene={scene} />}
      </aside>
      <Viewer scene={scene} />
      {!narrow && (
        <aside className="side right" aria-label="Assistants">
          <Assistants scene={scene} />
        </aside>
      )}
    </main>
  );
}

function RecipeSide({ scene, proposal }: { scene: Scene; proposal: Proposal | undefined }) {
  const access = useAccess();
  const { scan, bench } = scene;
  const seeds = useMemo(() => seedsOf(scene), [scene.axis, scan]);
  return (
    <>
      {proposal && <WhereFrom proposal={proposal} />}
      {scan.problem && (
        <div style={{ padding: 12 }}>
          <Note tone="warn">{scan.problem}</Note>
        </div>
      )}
      <RecipeForm bench={bench} problems={scene.problems} seeds={seeds} disabled={!access?.canWrite} />
    </>
  );
}

/** Values for what has no default: where the axis is thought to be, a material to begin with. */
function seedsOf(scene: Scene): JsonObject {
  const middle = ((scene.scan.columns ?? 1) - 1) / 2;
  return {
    rotation_axis: { value: Number((scene.axis ?? scene.scan.rotation_axis ?? middle).toFixed(3)) },
    phase: { delta_beta: 200, formula: "C5H8O2", density_g_cm3: 1.18, alpha: 0.001 },
  };
}

function WhereFrom({ proposal }: { proposal: Proposal }) {
  return (
    <details style={{ padding: "8px 12px", borderBottom: "1px solid var(--line)" }}>
      <summary className="soft ellipsis" style={{ cursor: "pointer" }}>
        Began with: <strong>{proposal.recipe_name ?? "the default recipe"}</strong>
      </summary>
      <p className="help" style={{ paddingTop: 4 }}>
        {proposal.reason}
      </p>
      {proposal.cautions.map((caution) => (
        <Note key={caution} tone="warn">
          {caution}
        </Note>
      ))}
    </details>
  );
}
