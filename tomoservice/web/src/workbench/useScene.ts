/** Everything that the parts of the workbench share. */

import { useCallback, useEffect, useMemo, useState } from "react";

import { usePreview, type PreviewState, type Screen } from "./usePreview";
import { useWorkbench, without, type Workbench } from "./useWorkbench";
import { useAccess } from "../account/access";
import { ApiError } from "../api/http";
import type { PreviewWanted } from "../api/previews";
import type { Proposal, ScanDetail } from "../api/types";
import { percentiles, type Range } from "../image/statistics";
import type { View } from "../recipe/address";
import { isObject, type Recipe } from "../recipe/recipe";
import type { Field } from "../recipe/schema";

/** A result that was put aside, with its recipe. */
export interface Pin {
  id: number;
  name: string;
  recipe: Recipe;
}

export type CompareMode = "side" | "flicker" | "difference";

export const COMPARE_MODES: { value: CompareMode; text: string }[] = [
  { value: "side", text: "Side by side" },
  { value: "flicker", text: "Flicker" },
  { value: "difference", text: "Difference" },
];

export interface Comparison {
  /** What the present recipe is compared with. */
  name: string;
  recipe: Recipe;
  mode: CompareMode;
}

export interface Scene {
  scan: ScanDetail;
  bench: Workbench;
  preview: PreviewState;
  /** What previews show: the recipe without what they leave out. */
  shownRecipe: Recipe;
  /** What is wrong with the recipe, by path. */
  problems: Record<string, string>;
  /** Slice or angle that is looked at, and how many there are. */
  number: number;
  count: number;
  goTo: (number: number) => void;
  step: (steps: number) => void;
  /** Rotation axis of the picture that is shown, if it is known. */
  axis: number | undefined;
  window: Range;
  /** What pictures are made for. */
  screen: Screen;
  /** Say how many pixels of the screen the picture is wide. */
  setScreenWidth: (width: number) => void;
  colours: string;
  live: boolean;
  setLive: (live: boolean) => void;
  pins: Pin[];
  setPins: (pins: Pin[]) => void;
  comparison: Comparison | undefined;
  compare: (comparison: Comparison | undefined) => void;
}

export function useScene(
  scan: ScanDetail,
  stages: Field[],
  defaults: Recipe,
  proposal: Proposal | undefined,
): Scene {
  const bench = useWorkbench(stages, defaults, proposal?.recipe ?? defaults);
  const { view } = bench;
  const { number, count, goTo, step } = useNumber(scan, bench);
  const [live, setLive] = useState(true);
  const [pins, setPins] = useState<Pin[]>([]);
  const [comparison, compare] = useState<Comparison>();
  const canWrite = useAccess()?.canWrite ?? false;

  const shownRecipe = useMemo(() => without(bench.recipe, bench.skipped), [bench.recipe, bench.skipped]);
  const sound = Object.keys(bench.problems).length === 0;
  const wanted = useMemo<PreviewWanted | undefined>(
    () => (sound && canWrite ? { run: scan.run_uid, recipe: shownRecipe, view: view.view, number } : undefined),
    [sound, canWrite, scan.run_uid, shownRecipe, view.view, number],
  );
  const [screenWidth, setScreenWidth] = useState(800);
  const [levels, setLevels] = useState<Range>();
  const screen = { width: screenWidth, columns: scan.columns ?? 1024, window: levels };
  const preview = usePreview(wanted, live, screen);
  const axis = useAxis(bench.recipe, preview);
  const window = useLevels(preview, view.window, view.view);
  const measured = preview.shown?.wanted.view === view.view;
  useEffect(() => setLevels(measured ? window : undefined), [measured, window]);

  return {
    scan,
    bench,
    preview,
    shownRecipe,
    problems: { ...serverProblems(preview.error), ...bench.problems },
    number,
    count,
    goTo,
    step,
    axis,
    window,
    screen,
    setScreenWidth,
    colours: view.colours,
    live,
    setLive,
    pins,
    setPins,
    comparison,
    compare,
  };
}

export function isProjection(view: View): boolean {
  return view === "projection" || view === "recorded-projection";
}

function useNumber(scan: ScanDetail, bench: Workbench) {
  const { view, look } = bench;
  const angles = isProjection(view.view);
  const count = Math.max(1, (angles ? scan.projections : sliceCount(scan, bench.recipe)) ?? 1);
  const asked = angles ? view.angle : (view.slice ?? Math.floor(count / 2));
  const number = Math.min(count - 1, asked);
  const goTo = useCallback(
    (wanted: number) => {
      const inside = Math.min(count - 1, Math.max(0, Math.round(wanted)));
      look(angles ? { angle: inside } : { slice: inside });
    },
    [angles, count, look],
  );
  const step = useCallback((steps: number) => goTo(number + steps), [goTo, number]);
  return { number, count, goTo, step };
}

/** Return how many slices a recipe gives, as far as can be told from its selection of rows. */
function sliceCount(scan: ScanDetail, recipe: Recipe): number {
  const frames = isObject(recipe.frames) ? recipe.frames : {};
  const rows = isObject(frames.rows) ? frames.rows : {};
  const total = scan.rows ?? 1;
  const start = typeof rows.start === "number" ? rows.start : 0;
  const stop = typeof rows.stop === "number" ? Math.min(rows.stop, total) : total;
  const binning = typeof frames.binning === "number" ? frames.binning : 1;
  return Math.max(1, Math.floor((stop - start) / binning));
}

function useAxis(recipe: Recipe, preview: PreviewState): number | undefined {
  const [found, setFound] = useState<number>();
  const told = preview.shown?.picture.rotationAxis;
  useEffect(() => {
    if (told !== undefined) setFound(told);
  }, [told]);
  const asked = isObject(recipe.rotation_axis) ? recipe.rotation_axis.value : undefined;
  return typeof asked === "number" ? asked : found;
}

/** Return the values that are black and white: those chosen, or what fits the picture. */
function useLevels(preview: PreviewState, chosen: Range | undefined, view: View): Range {
  const picture = preview.shown?.wanted.view === view ? preview.shown.picture : undefined;
  const fitting = useMemo(() => (picture ? percentiles(picture.values) : undefined), [picture]);
  const [last, setLast] = useState<Range>([0, 1]);
  useEffect(() => {
    if (fitting) setLast(fitting);
  }, [fitting]);
  return chosen ?? fitting ?? last;
}

function serverProblems(error: Error | undefined): Record<string, string> {
  if (!(error instanceof ApiError)) return {};
  return Object.fromEntries(error.problems.map(({ field, problem }) => [field, problem]));
}
