import { useState, type KeyboardEvent } from "react";

import type { Json, Limits } from "../recipe/schema";

interface Props {
  id?: string;
  label?: string;
  value: Json | undefined;
  integer?: boolean;
  limits?: Limits;
  unit?: string;
  nullable?: boolean;
  invalid?: boolean;
  placeholder?: string;
  /** How far an arrow key goes. */
  step?: number;
  onChange: (value: number | null | undefined) => void;
}

/** A number that is taken as it is typed; arrow keys change it, what is empty is automatic. */
export function NumberInput(props: Props) {
  const { id, label, value, integer, unit, nullable, invalid, placeholder, onChange } = props;
  const [text, setText] = useState<string>();
  const written = typeof value === "number" ? String(value) : "";
  const take = (typed: string) => {
    setText(typed);
    const number = Number(typed.replace(",", "."));
    if (typed.trim() === "") onChange(nullable ? null : undefined);
    else if (Number.isFinite(number)) onChange(number);
  };
  const step = (event: KeyboardEvent<HTMLInputElement>) => {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!direction || typeof value !== "number") return;
    event.preventDefault();
    setText(undefined);
    onChange(stepped(value, direction * (event.shiftKey ? 10 : 1), props));
  };
  const nonsense = text !== undefined && text.trim() !== "" && !Number.isFinite(Number(text.replace(",", ".")));
  return (
    <div className="with-unit">
      <input
        id={id}
        aria-label={label}
        inputMode={integer ? "numeric" : "decimal"}
        aria-invalid={invalid || nonsense}
        aria-describedby={invalid && id ? `${id}-problem` : undefined}
        placeholder={placeholder ?? (nullable ? "automatic" : "")}
        style={unit ? { paddingRight: 14 + 7 * Math.min(unit.length, 8) } : undefined}
        value={text ?? written}
        onChange={(event) => take(event.target.value)}
        onBlur={() => setText(undefined)}
        onKeyDown={step}
      />
      {unit && (
        <span className="unit" title={unit}>
          {unit}
        </span>
      )}
    </div>
  );
}

/** Return the next value: by whole numbers, or by a hundredth of the size. */
export function stepped(value: number, steps: number, { integer, limits = {}, step }: Partial<Props>): number {
  const size = step ?? (integer ? 1 : 10 ** Math.floor(Math.log10(Math.abs(value) || 1) - 1));
  const next = Number((value + steps * size).toPrecision(12));
  const low = limits.minimum ?? (limits.exclusiveMinimum !== undefined ? limits.exclusiveMinimum + size / 10 : -Infinity);
  const high = limits.maximum ?? (limits.exclusiveMaximum !== undefined ? limits.exclusiveMaximum - size / 10 : Infinity);
  return Math.min(high, Math.max(low, next));
}
