/** What the service says: types made from its OpenAPI description by `npm run types`. */

import type { components } from "./openapi";
import type { JsonObject } from "../recipe/schema";

type Schemas = components["schemas"];

/** An answer says everything; the description calls optional what may be null. */
type Whole<T> = T extends (infer One)[]
  ? Whole<One>[]
  : T extends object
    ? { [Key in keyof T]-?: Whole<Exclude<T[Key], undefined>> }
    : T;

/** The description knows recipes as objects; they are JSON. */
type WithRecipe<T> = Omit<T, "recipe"> & { recipe: JsonObject };

export type State = Schemas["State"];
export type ReconstructionSummary = Whole<Schemas["ReconstructionSummary"]>;
export type ReconstructionDetail = WithRecipe<Whole<Schemas["ReconstructionDetail"]>>;
export type ReconstructionPage = Whole<Schemas["ReconstructionPage"]>;
export type Volume = NonNullable<ReconstructionDetail["volume"]>;
export type ScanSummary = Whole<Schemas["ScanAnswer"]>;
export type ScanPage = Whole<Schemas["ScanPage"]>;
export type ScanDetail = Whole<Schemas["ScanDetail"]>;
export type AxisAnswer = Whole<Schemas["AxisAnswer"]>;
export type SavedRecipe = WithRecipe<Whole<Schemas["RecipeAnswer"]>>;
export type Proposal = WithRecipe<Whole<Schemas["ProposalAnswer"]>>;
export type CheckedRecipe = Omit<Whole<Schemas["CheckedRecipe"]>, "recipe"> & { recipe: JsonObject | null };
export type FieldProblem = Whole<Schemas["Problem"]>;
export type ServiceEvent = Whole<Schemas["ServiceEvent"]>;
export type LiveDetail = Whole<Schemas["LiveDetail"]>;
export type LiveWishes = Whole<Schemas["LiveWishes"]>;
export type Me = Whole<Schemas["MeAnswer"]>;
export type BatchAnswer = Whole<Schemas["BatchAnswer"]>;
export type BatchDetail = Whole<Schemas["BatchDetail"]>;
export type BatchPage = Whole<Schemas["BatchPage"]>;
export type BatchItem = Whole<Schemas["ItemAnswer"]>;
export type BatchState = Schemas["BatchState"];
