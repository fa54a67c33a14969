/** Help with what is hard to choose. */

import { AxisAssistant } from "./AxisAssistant";
import { CompareAssistant } from "./CompareAssistant";
import { PhaseAssistant } from "./PhaseAssistant";
import { RingsAssistant } from "./RingsAssistant";
import type { Scene } from "./useScene";
import { useAccess } from "../account/access";
import type { Panel } from "../recipe/address";
import { Note, Segments } from "../ui/controls";

const PANELS: { value: Panel; text: string; title: string }[] = [
  { value: "axis", text: "Axis", title: "Find the rotation axis" },
  { value: "phase", text: "Phase", title: "Choose the material for phase retrieval" },
  { value: "rings", text: "Rings", title: "Compare methods against stripes and rings" },
  { value: "compare", text: "Compare", title: "Compare recipes" },
];

export function Assistants({ scene }: { scene: Scene }) {
  const access = useAccess();
  const { view, look } = scene.bench;
  return (
    <>
      <Segments
        className="side-tabs"
        label="Assistants"
        options={PANELS}
        value={view.panel}
        onChange={(panel) => look({ panel })}
      />
      <div className="side-content">
        {access?.canWrite ? (
          <Panels scene={scene} />
        ) : (
          <div className="assistant">
            <Note>Refining takes a key that may write.</Note>
          </div>
        )}
      </div>
    </>
  );
}

function Panels({ scene }: { scene: Scene }) {
  switch (scene.bench.view.panel) {
    case "axis":
      return <AxisAssistant scene={scene} />;
    case "phase":
      return <PhaseAssistant scene={scene} />;
    case "rings":
      return <RingsAssistant scene={scene} />;
    case "compare":
      return <CompareAssistant scene={scene} />;
  }
}
