import { Html, useCameraState, useVisCanvasContext } from "@h5web/lib";

import { roundLength } from "./lengths";

/** How long something is in the sample. */
export function ScaleBar({ pixelUm }: { pixelUm: number }) {
  const { visSize, abscissaConfig } = useVisCanvasContext();
  const share = useCameraState((camera) => camera.scale.x, []);
  const columns = abscissaConfig.visDomain[1];
  const umPerPoint = (columns * pixelUm * share) / visSize.width;
  const { um, text } = roundLength(umPerPoint * 120);
  return (
    <Html>
      <div className="scale-bar">
        {text}
        <div style={{ width: um / umPerPoint }} />
      </div>
    </Html>
  );
}
