/** Scales of colours for grey values, by the names that people see. */

import type { ColorMap } from "@h5web/lib";

interface Colours {
  map: ColorMap;
  /** Whether the scale is turned round. */
  inverted: boolean;
}

const GREY: Colours = { map: "Greys", inverted: false };

export const COLOURS: Record<string, Colours> = {
  Grey: GREY,
  "Grey, inverted": { map: "Greys", inverted: true },
  Viridis: { map: "Viridis", inverted: false },
  Inferno: { map: "Inferno", inverted: false },
  Cividis: { map: "Cividis", inverted: false },
  Turbo: { map: "Turbo", inverted: false },
  "Blue and red": { map: "RdBu", inverted: true },
};

export function coloursCalled(name: string): Colours {
  return COLOURS[name] ?? GREY;
}
