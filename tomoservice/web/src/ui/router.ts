/** Which screen is shown: the path of the page below `/tomo/`. */

import { makeStore, useStore } from "./store";

const BASE = import.meta.env.BASE_URL;

export type Place =
  | { screen: "scans" }
  | { screen: "workbench"; run: string }
  | { screen: "live"; run: string }
  | { screen: "queue"; batch?: string }
  | { screen: "volume"; run: string; id: string }
  | { screen: "nowhere" };

interface Location {
  path: string;
  query: string;
}

function present(): Location {
  return { path: window.location.pathname.slice(BASE.length), query: window.location.search };
}

const location = makeStore<Location>(present());

window.addEventListener("popstate", () => location.set(present()));

export function usePlace(): Place {
  return placeOf(useStore(location).path);
}

export function placeOf(path: string): Place {
  const [screen, first, second] = path.split("/").map(decodeURIComponent);
  if (!screen) return { screen: "scans" };
  if (screen === "scans" && first) return { screen: "workbench", run: first };
  if (screen === "live" && first) return { screen: "live", run: first };
  if (screen === "queue") return first ? { screen: "queue", batch: first } : { screen: "queue" };
  if (screen === "volumes" && first && second) return { screen: "volume", run: first, id: second };
  return { screen: "nowhere" };
}

export function addressOf(place: Place): string {
  switch (place.screen) {
    case "workbench":
      return `${BASE}scans/${encodeURIComponent(place.run)}`;
    case "live":
      return `${BASE}live/${encodeURIComponent(place.run)}`;
    case "queue":
      return place.batch ? `${BASE}queue/${encodeURIComponent(place.batch)}` : `${BASE}queue`;
    case "volume":
      return `${BASE}volumes/${encodeURIComponent(place.run)}/${encodeURIComponent(place.id)}`;
    default:
      return BASE;
  }
}

export function go(address: string): void {
  window.history.pushState(null, "", address);
  location.set(present());
}

/** Change what stands behind `?`, without a step in the browser's history. */
export function replaceQuery(query: string): void {
  const address = window.location.pathname + (query ? `?${query}` : "");
  if (address === window.location.pathname + window.location.search) return;
  window.history.replaceState(null, "", address);
}
