/** Short messages in the corner: what has been done, and what went wrong. */

import { IconButton } from "./controls";
import { makeStore, useStore } from "./store";

interface Toast {
  id: number;
  text: string;
  tone: "good" | "bad";
}

const toasts = makeStore<Toast[]>([]);
let count = 0;

/** Milliseconds for which good news stays; bad news stays until it is closed. */
const STAY_MS = 5000;

export function say(text: string): void {
  const id = show(text, "good");
  setTimeout(() => hide(id), STAY_MS);
}

export function complain(text: string): void {
  show(text, "bad");
}

function show(text: string, tone: Toast["tone"]): number {
  count += 1;
  const same = toasts.get().filter((toast) => toast.text !== text);
  toasts.set([...same.slice(-3), { id: count, text, tone }]);
  return count;
}

function hide(id: number): void {
  toasts.set(toasts.get().filter((toast) => toast.id !== id));
}

export function Toasts() {
  return (
    <div className="toasts" aria-live="polite">
      {useStore(toasts).map((toast) => (
        <div key={toast.id} className={`toast ${toast.tone}`} role={toast.tone === "bad" ? "alert" : "status"}>
          <div className="grow" style={{ overflowWrap: "anywhere", whiteSpace: "pre-wrap" }}>
            {toast.text}
          </div>
          <IconButton glyph="close" label="Dismiss" onClick={() => hide(toast.id)} />
        </div>
      ))}
    </div>
  );
}
