/** Dark or light, as the system says until somebody chooses. */

import { makeStore } from "./store";

export type Theme = "dark" | "light";

const KEY = "tomoservice.theme";

function chosen(): Theme {
  const kept = localStorage.getItem(KEY);
  if (kept === "dark" || kept === "light") return kept;
  return window.matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
}

export const theme = makeStore<Theme>(chosen());

function apply(): void {
  document.documentElement.dataset.theme = theme.get();
}

apply();
theme.watch(apply);

export function toggleTheme(): void {
  const next = theme.get() === "dark" ? "light" : "dark";
  localStorage.setItem(KEY, next);
  theme.set(next);
}
