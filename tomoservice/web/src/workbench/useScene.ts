/** Everything that the parts of the workbench share. */

import { useEffect, useMemo, useState } from "react";

import { isPlane, usePreview, type PreviewState, type Screen } from "./usePreview";
import { useWorkbench, without, type Workbench } from "./useWorkbench";
import { useAccess } from "../account/access";
import { ApiError } from "../api/http";
import type { PreviewWanted } from "../api/previews";
import type { Proposal, ScanDetail } from "../api/types";
import type { Picture } from "../image/picture";
import { percentiles, type Range } from "../image/statistics";
import type { PictureView, View } from "../recipe/address";
import { isObject, type Recipe } from "../recipe/recipe";
import type { Field, Json } from "../recipe/schema";

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
  /** The single picture that is looked at; of three planes the slice. */
  picture: PictureView;
  /** Where one looks, along each axis of the volume and among the projections. */
  places: Places;
  /** Which of them is looked at, and how many there are. */
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
  const [known, setKnown] = useState<KnownShape>();
  const places = usePlaces(scan, bench, known);
  const picture = pictureOf(view.view);
  const { number, count, goTo, step } = numbersOf(places, coordinateOf(picture));
  const [live, setLive] = useState(true);
  const [pins, setPins] = useState<Pin[]>([]);
  const [comparison, compare] = useState<Comparison>();
  const canWrite = useAccess()?.canWrite ?? false;

  const shownRecipe = useMemo(() => without(bench.recipe, bench.skipped), [bench.recipe, bench.skipped]);
  const sound = Object.keys(bench.problems).length === 0;
  const wanted = useMemo<PreviewWanted | undefined>(
    () => (sound && canWrite ? { run: scan.run_uid, recipe: shownRecipe, view: picture, number } : undefined),
    [sound, canWrite, scan.run_uid, shownRecipe, picture, number],
  );
  const [screenWidth, setScreenWidth] = useState(800);
  const [levels, setLevels] = useState<Range>();
  const screen = { width: screenWidth, columns: scan.columns ?? 1024, window: levels };
  const preview = usePreview(wanted, live, screen);
  const axis = useAxis(bench.recipe, preview);
  const window = useLevels(preview, view.window, picture);
  const { shown } = preview;
  const measured = shown?.wanted.view === picture;
  useEffect(() => setLevels(measured ? window : undefined), [measured, window]);
  useEffect(() => {
    if (shown) setKnown((before) => shapeOf(shown.wanted, shown.picture) ?? before);
  }, [shown]);

  return {
    scan,
    bench,
    preview,
    shownRecipe,
    problems: { ...serverProblems(preview.error), ...bench.problems },
    picture,
    places,
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

/** Return the picture of a view: of three planes the slice. */
function pictureOf(view: View): PictureView {
  return view === "planes" ? "slice" : view;
}

/** What the number of a picture counts: voxels along an axis of the volume, or projections. */
export type Coordinate = "z" | "y" | "x" | "angle";

export function coordinateOf(picture: PictureView): Coordinate {
  switch (picture) {
    case "projection":
    case "recorded-projection":
      return "angle";
    case "xz":
      return "y";
    case "yz":
      return "x";
    default:
      return "z";
  }
}

export interface Places {
  at: Record<Coordinate, number>;
  sizes: Record<Coordinate, number>;
  goTo: (changes: Partial<Record<Coordinate, number>>) => void;
}

const COORDINATES = ["z", "y", "x", "angle"] as const satisfies Coordinate[];

/** Shape of a slice, as a picture has shown it: larger than the detector where half of the sample is seen at a time. */
interface KnownShape {
  shape: [number, number];
  /** What of the recipe it depends on. */
  by: string;
}

/** Return what a picture tells of the shape of slices, if it does. */
function shapeOf(wanted: PreviewWanted, { fullRows, fullColumns }: Picture): KnownShape | undefined {
  const by = shapedBy(wanted.recipe);
  if (wanted.view === "slice") return { shape: [fullRows, fullColumns], by };
  if (!isPlane(wanted) || isCropped(wanted.recipe)) return undefined;
  return { shape: [fullColumns, fullColumns], by };
}

function shapedBy({ frames, output, reconstruction }: Recipe): string {
  return JSON.stringify([frames, isObject(output) ? output.crop : undefined, reconstruction]);
}

function isCropped({ output }: Recipe): boolean {
  const crop = isObject(output) && isObject(output.crop) ? output.crop : {};
  return [crop.rows, crop.columns].some((range) => isObject(range) && (range.start || typeof range.stop === "number"));
}

/** Return where one looks: where it was said, or in the middle. */
function usePlaces(scan: ScanDetail, bench: Workbench, known: KnownShape | undefined): Places {
  const { recipe, view, look } = bench;
  return useMemo(() => {
    const [rows, columns] = known?.by === shapedBy(recipe) ? known.shape : sliceShape(scan, recipe);
    const sizes = { z: sliceCount(scan, recipe), y: rows, x: columns, angle: Math.max(1, scan.projections ?? 1) };
    const inside = (one: Coordinate, place: number) => Math.min(sizes[one] - 1, Math.max(0, Math.floor(place)));
    const middle = (one: Coordinate) => (one === "angle" ? 0 : Math.floor(sizes[one] / 2));
    const at = { z: 0, y: 0, x: 0, angle: 0 };
    for (const one of COORDINATES) at[one] = inside(one, view[one] ?? middle(one));
    const goTo = (changes: Partial<Record<Coordinate, number>>) => {
      const asked = COORDINATES.filter((one) => changes[one] !== undefined);
      look(Object.fromEntries(asked.map((one) => [one, inside(one, changes[one] ?? 0)])));
    };
    return { at, sizes, goTo };
  }, [scan, recipe, view, look, known]);
}

function numbersOf({ at, sizes, goTo }: Places, one: Coordinate) {
  return {
    number: at[one],
    count: sizes[one],
    goTo: (number: number) => goTo({ [one]: number }),
    step: (steps: number) => goTo({ [one]: at[one] + steps }),
  };
}

/** Return how many slices a recipe gives, as far as can be told from its selection of rows. */
function sliceCount(scan: ScanDetail, recipe: Recipe): number {
  const frames = isObject(recipe.frames) ? recipe.frames : {};
  return Math.max(1, Math.floor(lengthOf(frames.rows, scan.rows ?? 1) / binningOf(recipe)));
}

/** Return rows and columns of a slice, as far as can be told before there is one: a detector's width each. */
function sliceShape(scan: ScanDetail, recipe: Recipe): [number, number] {
  const frames = isObject(recipe.frames) ? recipe.frames : {};
  const output = isObject(recipe.output) ? recipe.output : {};
  const crop = isObject(output.crop) ? output.crop : {};
  const edge = Math.max(1, Math.floor(lengthOf(frames.columns, scan.columns ?? 1) / binningOf(recipe)));
  return [lengthOf(crop.rows, edge), lengthOf(crop.columns, edge)];
}

/** Return how many of `total` a range of a recipe keeps. */
function lengthOf(range: Json | undefined, total: number): number {
  const { start, stop } = isObject(range) ? range : {};
  const end = typeof stop === "number" ? Math.min(stop, total) : total;
  return Math.max(1, end - (typeof start === "number" ? start : 0));
}

export function binningOf(recipe: Recipe): number {
  const frames = isObject(recipe.frames) ? recipe.frames : {};
  return typeof frames.binning === "number" ? frames.binning : 1;
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
function useLevels(preview: PreviewState, chosen: Range | undefined, view: PictureView): Range {
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
