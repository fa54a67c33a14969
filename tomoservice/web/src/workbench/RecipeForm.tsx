/** The recipe, stage by stage. */

import { useState } from "react";

import { FieldRow } from "./FieldRow";
import { UnionControl } from "./UnionControl";
import type { Workbench } from "./useWorkbench";
import { isExtra, isObject, same, switched } from "../recipe/recipe";
import { words, type Field, type Json, type JsonObject, type UnionField } from "../recipe/schema";
import { IconButton, Switch } from "../ui/controls";
import { Glyph } from "../ui/Glyph";

interface Props {
  bench: Workbench;
  /** What is wrong, by path; the service's word where it has one. */
  problems: Record<string, string>;
  /** Values for fields that have no default. */
  seeds: JsonObject;
  disabled: boolean;
}

const OPEN_AT_FIRST = new Set(["rotation_axis"]);

export function RecipeForm({ bench, problems, seeds, disabled }: Props) {
  return (
    <form aria-label="Recipe" onSubmit={(event) => event.preventDefault()}>
      <fieldset disabled={disabled} style={{ border: 0, margin: 0, padding: 0, minWidth: 0 }}>
        {bench.stages.map((stage) => (
          <Stage key={stage.key} stage={stage} bench={bench} problems={problems} seeds={seeds} />
        ))}
      </fieldset>
    </form>
  );
}

function Stage({ stage, bench, problems, seeds }: Omit<Props, "disabled"> & { stage: Field }) {
  const [open, setOpen] = useState(OPEN_AT_FIRST.has(stage.key));
  const value = bench.recipe[stage.key];
  const wrong = Object.keys(problems).some((path) => path === stage.key || path.startsWith(`${stage.key}.`));
  const changed = !same(value, bench.defaults[stage.key]);
  const id = `stage-${stage.key}`;
  return (
    <section className={`stage ${wrong ? "wrong" : ""} ${changed ? "changed" : ""}`}>
      <div className="stage-head">
        <button type="button" className="open" aria-expanded={open} aria-controls={id} onClick={() => setOpen(!open)}>
          <Glyph name="chevron" />
          <span className="ellipsis">{stage.title}</span>
          <span className="method ellipsis">{wrong ? "look here" : summaryOf(value, changed)}</span>
        </button>
        <StageSwitch stage={stage} bench={bench} seeds={seeds} />
      </div>
      {open && (
        <div className="stage-body" id={id}>
          {changed && (
            <button
              type="button"
              className="plain"
              style={{ alignSelf: "flex-start", minHeight: 22, padding: 0, color: "var(--accent)" }}
              onClick={() => bench.change([stage.key], bench.defaults[stage.key])}
            >
              Back to the default
            </button>
          )}
          <StageFields stage={stage} value={value} bench={bench} problems={problems} seeds={seeds} />
        </div>
      )}
    </section>
  );
}

function summaryOf(value: Json | undefined, changed: boolean): string {
  const method = isObject(value) ? value.method : undefined;
  if (typeof method === "string") return method === "none" ? "off" : words(method);
  return changed ? "changed" : "";
}

interface FieldsProps {
  stage: Field;
  value: Json | undefined;
  bench: Workbench;
  problems: Record<string, string>;
  seeds: JsonObject;
}

function StageFields({ stage, value, bench, problems, seeds }: FieldsProps) {
  if (stage.kind === "union") {
    return (
      <UnionControl
        field={stage}
        path={[stage.key]}
        value={value}
        change={bench.change}
        problems={problems}
        seeds={seedsAt(seeds, stage.key)}
      />
    );
  }
  if (stage.kind !== "group") return null;
  return (
    <>
      {stage.fields.map((field) => (
        <FieldRow
          key={field.key}
          field={field}
          path={[stage.key, field.key]}
          value={isObject(value) ? value[field.key] : undefined}
          change={bench.change}
          problems={problems}
          seeds={{}}
        />
      ))}
    </>
  );
}

function seedsAt(seeds: JsonObject, key: string): JsonObject {
  const found = seeds[key];
  return isObject(found) ? found : {};
}

/** Turns a stage on and off, and says whether previews leave it out. */
function StageSwitch({ stage, bench, seeds }: { stage: Field; bench: Workbench; seeds: JsonObject }) {
  const [before, setBefore] = useState<Json>();
  if (stage.kind !== "union" || !stage.variants.some((variant) => variant.method === "none")) return null;
  const value = bench.recipe[stage.key];
  const on = isObject(value) && value.method !== "none";
  const turn = (wanted: boolean) => {
    if (!wanted) setBefore(value);
    bench.change([stage.key], wanted ? (before ?? firstOf(stage, bench, seeds)) : { method: "none" });
  };
  const left = bench.skipped.has(stage.key);
  return (
    <>
      {on && isExtra(stage, bench.defaults) && (
        <IconButton
          glyph="eye"
          label={left ? `Previews leave out: ${stage.title}` : `Leave out of previews: ${stage.title}`}
          pressed={left}
          onClick={() => bench.skip(stage.key, !left)}
        />
      )}
      <Switch label={stage.title} on={on} onChange={turn} />
    </>
  );
}

/** Return the method that a stage has by default, or its first. */
function firstOf(stage: UnionField, bench: Workbench, seeds: JsonObject): Json {
  const usual = bench.defaults[stage.key];
  if (isObject(usual) && usual.method !== "none") return usual;
  const method = stage.variants.find((variant) => variant.method !== "none")?.method ?? "none";
  return switched(stage, method, undefined, seedsAt(seeds, stage.key));
}
