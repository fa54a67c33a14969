import { useCanvasEvent } from "@h5web/lib";

import { at, type Picture } from "../image/picture";

/** A pixel of the whole picture, and its value. */
export interface Place {
  row: number;
  column: number;
  value: number | undefined;
}

/** Tells over which pixel the pointer is. */
export function PointerProbe({ picture, onProbe }: { picture: Picture; onProbe: (place: Place | undefined) => void }) {
  useCanvasEvent("pointermove", ({ dataPt }) => {
    const inside = dataPt.x >= 0 && dataPt.y >= 0 && dataPt.x < picture.fullColumns && dataPt.y < picture.fullRows;
    if (!inside) {
      onProbe(undefined);
      return;
    }
    const row = Math.floor((dataPt.y / picture.fullRows) * picture.rows);
    const column = Math.floor((dataPt.x / picture.fullColumns) * picture.columns);
    onProbe({ row: Math.floor(dataPt.y), column: Math.floor(dataPt.x), value: at(picture, row, column) });
  });
  useCanvasEvent("pointerleave", () => onProbe(undefined));
  return null;
}
