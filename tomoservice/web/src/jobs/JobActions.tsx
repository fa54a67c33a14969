import { canDo, actOn, VERBS, type Verb } from "../api/jobs";
import type { ReconstructionSummary } from "../api/types";
import { IconButton } from "../ui/controls";
import { useAct } from "../ui/useAct";

interface Props {
  job: ReconstructionSummary;
  onChange: () => void;
}

/** What can be done with a reconstruction that is not done. */
export function JobActions({ job, onChange }: Props) {
  const { busy, act } = useAct(onChange);
  return (
    <div className="row" style={{ gap: 4 }} onClick={(event) => event.stopPropagation()}>
      {(Object.keys(VERBS) as Verb[])
        .filter((verb) => canDo(job.state, verb))
        .map((verb) => (
          <IconButton key={verb} glyph={VERBS[verb].glyph} label={VERBS[verb].label} disabled={busy} onClick={() => void act(() => actOn(job, verb))} />
        ))}
    </div>
  );
}
