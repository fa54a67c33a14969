/** The recipe that is being refined, and what is looked at. */

import { useCallback, useEffect, useMemo, useRef, useState } from "react";

import { fromQuery, toQuery, type WorkbenchState } from "../recipe/address";
import { problemsOf, type Problems } from "../recipe/checks";
import { begin, changed, redone, undone, type History } from "../recipe/history";
import { filled, sparse, withValue, type Path, type Recipe } from "../recipe/recipe";
import type { Field, Json } from "../recipe/schema";
import { replaceQuery } from "../ui/router";

export interface Workbench {
  stages: Field[];
  defaults: Recipe;
  /** With every default written out. */
  recipe: Recipe;
  problems: Problems;
  view: WorkbenchState;
  look: (changes: Partial<WorkbenchState>) => void;
  change: (path: Path, value: Json | undefined) => void;
  /** Replace the whole recipe. */
  load: (recipe: Recipe) => void;
  undo: (() => void) | undefined;
  redo: (() => void) | undefined;
  /** Stages that previews leave out. */
  skipped: ReadonlySet<string>;
  skip: (stage: string, skipped: boolean) => void;
}

/** Milliseconds after which the address follows. */
const ADDRESS_MS = 300;

export function useWorkbench(stages: Field[], defaults: Recipe, first: Recipe): Workbench {
  const [view, setView] = useState(() => fromQuery(window.location.search));
  const [history, setHistory] = useState<History<Recipe>>(() =>
    begin(filled(stages, view.recipe ?? first, defaults)),
  );
  const [skipped, setSkipped] = useState<ReadonlySet<string>>(new Set());
  const recipe = history.present;

  const change = useCallback((path: Path, value: Json | undefined) => {
    setHistory((before) => changed(before, withValue(before.present, path, value), path.join("."), Date.now()));
  }, []);
  const load = useCallback(
    (loaded: Recipe) =>
      setHistory((before) => changed(before, filled(stages, { ...defaults, ...loaded }, defaults), "", Date.now())),
    [stages, defaults],
  );
  const look = useCallback((changes: Partial<WorkbenchState>) => setView((before) => ({ ...before, ...changes })), []);
  const skip = useCallback((stage: string, off: boolean) => {
    setSkipped((before) => {
      const after = new Set(before);
      if (off) after.add(stage);
      else after.delete(stage);
      return after;
    });
  }, []);

  const untouched = useRef(recipe);
  useEffect(() => {
    const differs = sparse(stages, recipe, defaults);
    const told = view.recipe !== undefined || recipe !== untouched.current ? differs : undefined;
    const timer = setTimeout(() => replaceQuery(toQuery({ ...view, recipe: told })), ADDRESS_MS);
    return () => clearTimeout(timer);
  }, [stages, defaults, recipe, view]);

  const problems = useMemo(() => problemsOf(stages, recipe), [stages, recipe]);
  return {
    stages,
    defaults,
    recipe,
    problems,
    view,
    look,
    change,
    load,
    undo: history.past.length > 0 ? () => setHistory(undone) : undefined,
    redo: history.future.length > 0 ? () => setHistory(redone) : undefined,
    skipped,
    skip,
  };
}

/** Return the recipe with some stages turned off. */
export function without(recipe: Recipe, stages: Iterable<string>): Recipe {
  const left = { ...recipe };
  for (const stage of stages) left[stage] = { method: "none" };
  return left;
}
