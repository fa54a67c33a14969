/** The form of a recipe, read from its JSON schema: what to show, in which unit, within which limits. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** The parts of JSON schema that recipes use. */
export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string;
  title?: string;
  description?: string;
  unit?: string;
  default?: Json;
  const?: Json;
  enum?: Json[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  discriminator?: { propertyName: string; mapping: Record<string, string> };
  properties?: Record<string, Schema>;
  required?: string[];
  prefixItems?: Schema[];
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

export interface Limits {
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

interface Common {
  key: string;
  title: string;
  help: string;
  unit: string;
  nullable: boolean;
  /** Undefined where the recipe has to say it. */
  fallback: Json | undefined;
}

export type Field = Common &
  (
    | { kind: "number"; integer: boolean; limits: Limits }
    | { kind: "switch" }
    | { kind: "choice"; options: (string | number)[] }
    | { kind: "text"; maxLength: number | undefined }
    | { kind: "numbers"; count: { least: number; most: number | undefined } }
    | { kind: "group"; fields: Field[] }
    | { kind: "union"; variants: Variant[] }
    | { kind: "other" }
  );

export type GroupField = Extract<Field, { kind: "group" }>;
export type UnionField = Extract<Field, { kind: "union" }>;

/** One of several methods, with parameters of its own. */
export interface Variant {
  method: string;
  help: string;
  fields: Field[];
}

/** Fields of a recipe that are no stage. */
const NO_STAGES = new Set(["schema_version", "name", "description"]);

/** Return the stages of a recipe, in physical order. */
export function stagesOf(schema: Schema): Field[] {
  const definitions = schema.$defs ?? {};
  return Object.entries(schema.properties ?? {})
    .filter(([key]) => !NO_STAGES.has(key))
    .map(([key, property]) => fieldOf(key, property, definitions, false));
}

type Definitions = Record<string, Schema>;

function resolved(schema: Schema, definitions: Definitions): Schema {
  if (!schema.$ref) return schema;
  const name = schema.$ref.split("/").pop() ?? "";
  // What stands beside a reference (a title) says more than what it refers to.
  const { $ref: _, ...beside } = schema;
  return { ...definitions[name], ...beside };
}

function fieldOf(key: string, raw: Schema, definitions: Definitions, required: boolean): Field {
  const whole = resolved(raw, definitions);
  const parts = (whole.anyOf ?? []).map((part) => resolved(part, definitions));
  const nullable = parts.some((part) => part.type === "null");
  const one = parts.find((part) => part.type !== "null");
  const schema: Schema = one ? { ...one, title: whole.title, description: whole.description } : whole;
  const common: Common = {
    key,
    title: whole.title ?? words(key),
    help: whole.description ?? "",
    unit: whole.unit ?? "",
    nullable,
    fallback: required ? undefined : whole.default,
  };
  return withFallback({ ...common, ...kindOf(schema, definitions) });
}

type Kind = Field extends infer One ? (One extends Field ? Omit<One, keyof Common> : never) : never;

function kindOf(schema: Schema, definitions: Definitions): Kind {
  if (schema.discriminator && schema.oneOf) {
    return { kind: "union", variants: variantsOf(schema.oneOf, definitions) };
  }
  if (schema.enum) {
    return { kind: "choice", options: schema.enum.filter((one) => typeof one === "string" || typeof one === "number") };
  }
  switch (schema.type) {
    case "boolean":
      return { kind: "switch" };
    case "integer":
    case "number":
      return { kind: "number", integer: schema.type === "integer", limits: limitsOf(schema) };
    case "string":
      return { kind: "text", maxLength: schema.maxLength };
    case "object":
      return { kind: "group", fields: fieldsOf(schema, definitions) };
    case "array":
      return arrayOf(schema);
    default:
      return { kind: "other" };
  }
}

function arrayOf(schema: Schema): Kind {
  const items = schema.prefixItems ?? (schema.items ? [schema.items] : []);
  if (items.length === 0 || !items.every((item) => item.type === "number" || item.type === "integer")) {
    return { kind: "other" };
  }
  return { kind: "numbers", count: { least: schema.minItems ?? 0, most: schema.maxItems } };
}

function variantsOf(alternatives: Schema[], definitions: Definitions): Variant[] {
  return alternatives.map((alternative) => {
    const schema = resolved(alternative, definitions);
    return {
      method: String(schema.properties?.method?.const ?? ""),
      help: schema.description ?? "",
      fields: fieldsOf(schema, definitions),
    };
  });
}

function fieldsOf(schema: Schema, definitions: Definitions): Field[] {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {})
    .filter(([key]) => key !== "method")
    .map(([key, property]) => fieldOf(key, property, definitions, required.has(key)));
}

function limitsOf(schema: Schema): Limits {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  return { minimum, maximum, exclusiveMinimum, exclusiveMaximum };
}

/** Groups and unions carry no default of their own in the schema: it follows from their fields. */
function withFallback(field: Field): Field {
  if (field.fallback !== undefined) return field;
  if (field.kind === "group") {
    const content = defaultsOf(field.fields);
    return content === undefined ? field : { ...field, fallback: content };
  }
  return field;
}

/** Return the defaults of fields, or undefined if one of them has none. */
export function defaultsOf(fields: Field[]): JsonObject | undefined {
  const content: JsonObject = {};
  for (const field of fields) {
    if (field.fallback === undefined) return undefined;
    content[field.key] = field.fallback;
  }
  return content;
}

/** Return a key as words: `half_acquisition` is "half acquisition". */
export function words(key: string): string {
  return key.replaceAll("_", " ");
}
