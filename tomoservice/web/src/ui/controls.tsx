/** Controls that every screen shares. */

import { useEffect, useRef, type KeyboardEvent, type ReactNode } from "react";

import { Glyph, type GlyphName } from "./Glyph";

interface IconButtonProps {
  glyph: GlyphName;
  label: string;
  onClick: () => void;
  disabled?: boolean;
  pressed?: boolean;
  keys?: string;
}

export function IconButton({ glyph, label, onClick, disabled, pressed, keys }: IconButtonProps) {
  return (
    <button
      type="button"
      className="icon"
      aria-label={label}
      title={keys ? `${label} (${keys})` : label}
      aria-pressed={pressed}
      disabled={disabled}
      onClick={onClick}
    >
      <Glyph name={glyph} />
    </button>
  );
}

interface SwitchProps {
  label: string;
  on: boolean;
  onChange: (on: boolean) => void;
  disabled?: boolean;
  id?: string;
}

export function Switch({ label, on, onChange, disabled, id }: SwitchProps) {
  return (
    <button
      type="button"
      role="switch"
      id={id}
      className="switch"
      aria-checked={on}
      aria-label={label}
      title={label}
      disabled={disabled}
      onClick={() => onChange(!on)}
    />
  );
}

interface SegmentsProps<T extends string> {
  label: string;
  options: readonly { value: T; text: string; title?: string }[];
  value: T;
  onChange: (value: T) => void;
  className?: string;
}

/** One of a few choices, as tabs: arrow keys move between them. */
export function Segments<T extends string>({ label, options, value, onChange, className }: SegmentsProps<T>) {
  const move = (event: KeyboardEvent<HTMLDivElement>) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const index = options.findIndex((option) => option.value === value);
    const next = options[(index + step + options.length) % options.length];
    if (!next) return;
    onChange(next.value);
    event.currentTarget.querySelectorAll("button")[options.indexOf(next)]?.focus();
  };
  return (
    <div className={className ?? "segments"} role="tablist" aria-label={label} onKeyDown={move}>
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          role="tab"
          title={option.title}
          aria-selected={option.value === value}
          tabIndex={option.value === value ? 0 : -1}
          onClick={() => onChange(option.value)}
        >
          {option.text}
        </button>
      ))}
    </div>
  );
}

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ReactNode;
  actions?: ReactNode;
  wide?: boolean;
}

/** A dialog over the page; Escape closes it. */
export function Dialog({ title, onClose, children, actions, wide }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      className={wide ? "wide" : ""}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2>{title}</h2>
        <IconButton glyph="close" label="Close" onClick={onClose} />
      </header>
      <div className="content">{children}</div>
      {actions && <footer>{actions}</footer>}
    </dialog>
  );
}

export function Note({ tone, children }: { tone?: "warn" | "bad"; children: ReactNode }) {
  return (
    <div className={`note ${tone ?? ""}`} role={tone === "bad" ? "alert" : "note"}>
      <div>{children}</div>
    </div>
  );
}

export function Busy({ text }: { text: string }) {
  return (
    <span className="row" role="status">
      <span className="spinner" aria-hidden="true" />
      {text}
    </span>
  );
}

export function ProgressBar({ percent, tone }: { percent: number; tone?: "done" | "failed" }) {
  return (
    <div
      className={`bar ${tone ?? ""}`}
      role="progressbar"
      aria-valuenow={Math.round(percent)}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <div style={{ width: `${Math.min(100, Math.max(0, percent))}%` }} />
    </div>
  );
}
