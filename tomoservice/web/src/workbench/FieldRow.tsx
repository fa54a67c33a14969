/** One field of the recipe: its name, its help, its value and what is wrong with it. */

import { useState } from "react";

import { NumberInput } from "../ui/NumberInput";
import { UnionControl } from "./UnionControl";
import { isObject, same, type Path } from "../recipe/recipe";
import type { Field, Json, JsonObject } from "../recipe/schema";
import { Switch } from "../ui/controls";

export interface FieldProps {
  path: Path;
  value: Json | undefined;
  change: (path: Path, value: Json | undefined) => void;
  problems: Record<string, string>;
  seeds: JsonObject;
}

export function FieldRow(props: FieldProps & { field: Field }) {
  const { field, path, value, problems } = props;
  if (field.kind === "group" || field.kind === "union") return <Nested {...props} />;
  const problem = problems[path.join(".")];
  const changed = field.fallback !== undefined && !same(value, field.fallback);
  const id = path.join("-");
  return (
    <div className={`form-row ${changed ? "changed" : ""} ${isWide(field) ? "wide" : ""}`}>
      <label htmlFor={id} title={field.help} className={field.help ? "help-there" : ""}>
        {field.title}
      </label>
      <div className="control">
        <Control {...props} id={id} problem={problem} />
      </div>
      {problem && (
        <div className="problem" id={`${id}-problem`}>
          {problem}
        </div>
      )}
    </div>
  );
}

function isWide(field: Field): boolean {
  return field.kind === "numbers" || field.kind === "text";
}

/** The first sentence, and the rest on demand. */
export function Help({ text }: { text: string }) {
  const [open, setOpen] = useState(false);
  const plain = text.replaceAll(/(?<!\n)\n(?!\n)/g, " ");
  const end = plain.search(/[.;:](\s|$)/);
  const short = end > 0 && end < plain.length - 2 ? `${plain.slice(0, end)}.` : plain;
  if (!text) return null;
  return (
    <p className="help">
      {open ? plain : short}{" "}
      {short.length < plain.length && (
        <button
          type="button"
          className="plain"
          style={{ display: "inline", minHeight: 0, padding: 0, color: "var(--accent)" }}
          aria-expanded={open}
          onClick={() => setOpen(!open)}
        >
          {open ? "less" : "more"}
        </button>
      )}
    </p>
  );
}

function Nested(props: FieldProps & { field: Field }) {
  const { field, path, value, seeds } = props;
  const [open, setOpen] = useState(field.kind === "union" && field.fallback === undefined);
  const inner = seeds[field.key];
  return (
    <div>
      <button
        type="button"
        className="plain"
        style={{ padding: 0, minHeight: 24, color: "var(--text-soft)" }}
        aria-expanded={open}
        title={field.help}
        onClick={() => setOpen(!open)}
      >
        {open ? "▾" : "▸"} {field.title}
        {!open && isObject(value) && typeof value.method === "string" ? `: ${value.method.replaceAll("_", " ")}` : ""}
      </button>
      {open && (
        <div className="nested">
          {field.kind === "union" && (
            <UnionControl {...props} field={field} seeds={isObject(inner) ? inner : seeds} />
          )}
          {field.kind === "group" &&
            field.fields.map((one) => (
              <FieldRow
                key={one.key}
                {...props}
                field={one}
                path={[...path, one.key]}
                value={isObject(value) ? value[one.key] : undefined}
              />
            ))}
        </div>
      )}
    </div>
  );
}

type ControlProps = FieldProps & { field: Field; id: string; problem: string | undefined };

function Control({ field, path, value, change, id, problem }: ControlProps) {
  const invalid = problem ? { "aria-invalid": true, "aria-describedby": `${id}-problem` } : {};
  switch (field.kind) {
    case "number":
      return (
        <NumberInput
          id={id}
          value={value}
          integer={field.integer}
          limits={field.limits}
          unit={field.unit}
          nullable={field.nullable}
          invalid={problem !== undefined}
          onChange={(number) => change(path, number)}
        />
      );
    case "switch":
      return <Switch id={id} label={field.title} on={value === true} onChange={(on) => change(path, on)} />;
    case "choice":
      return (
        <select
          id={id}
          {...invalid}
          value={String(value)}
          onChange={(event) => change(path, field.options.find((one) => String(one) === event.target.value))}
        >
          {field.options.map((option) => (
            <option key={option} value={option}>
              {String(option).replaceAll("_", " ")}
            </option>
          ))}
        </select>
      );
    case "text":
      return (
        <input
          id={id}
          {...invalid}
          value={typeof value === "string" ? value : ""}
          maxLength={field.maxLength}
          placeholder={field.nullable ? "none" : undefined}
          onChange={(event) => change(path, event.target.value || (field.nullable ? null : ""))}
        />
      );
    case "numbers":
      return <NumbersInput id={id} field={field} value={value} invalid={problem !== undefined} onChange={(v) => change(path, v)} />;
    default:
      return <span className="faint">edit it as YAML</span>;
  }
}

interface NumbersProps {
  id: string;
  field: Field;
  value: Json | undefined;
  invalid: boolean;
  onChange: (value: Json) => void;
}

/** Several numbers, separated by commas; empty is null, or none. */
function NumbersInput({ id, field, value, invalid, onChange }: NumbersProps) {
  const [text, setText] = useState<string>();
  const written = Array.isArray(value) ? value.join(", ") : "";
  return (
    <input
      id={id}
      aria-invalid={invalid}
      aria-describedby={invalid ? `${id}-problem` : undefined}
      placeholder={field.nullable ? "automatic" : "none"}
      value={text ?? written}
      onChange={(event) => {
        setText(event.target.value);
        const parts = event.target.value.split(/[\s,;]+/).filter(Boolean);
        if (parts.length === 0) onChange(field.nullable ? null : []);
        else onChange(parts.map((part) => (Number.isFinite(Number(part)) ? Number(part) : part)));
      }}
      onBlur={() => setText(undefined)}
    />
  );
}
