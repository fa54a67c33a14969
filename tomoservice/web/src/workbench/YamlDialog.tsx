import { useEffect, useState } from "react";

import type { Scene } from "./useScene";
import { useAccess } from "../account/access";
import { messageOf } from "../api/http";
import { checkRecipe, checkText } from "../api/recipes";
import { Dialog, Note } from "../ui/controls";
import { say } from "../ui/toasts";

/** The recipe as text, to copy and to paste. */
export function YamlDialog({ scene, onClose }: { scene: Scene; onClose: () => void }) {
  const [text, setText] = useState<string>();
  const [error, setError] = useState("");
  const canWrite = useAccess()?.canWrite;
  const { bench } = scene;

  useEffect(() => {
    const controller = new AbortController();
    checkRecipe(bench.recipe, controller.signal).then(
      (checked) => {
        setText(checked.yaml ?? JSON.stringify(bench.recipe, null, 2));
        if (!checked.valid) setError(listed(checked.problems));
      },
      (problem: unknown) => {
        if (!controller.signal.aborted) setError(messageOf(problem));
      },
    );
    return () => controller.abort();
  }, [bench.recipe]);

  const use = async () => {
    try {
      const checked = await checkText(text ?? "");
      if (!checked.valid || !checked.recipe) {
        setError(listed(checked.problems));
        return;
      }
      bench.load(checked.recipe);
      onClose();
    } catch (problem) {
      setError(messageOf(problem));
    }
  };
  const copy = async () => {
    await navigator.clipboard.writeText(text ?? "");
    say("The recipe is copied.");
  };
  return (
    <Dialog
      wide
      title="Recipe as YAML"
      onClose={onClose}
      actions={
        <>
          <button type="button" onClick={copy} disabled={!text}>
            Copy
          </button>
          <button type="button" className="primary" disabled={!text || !canWrite} onClick={use}>
            Use this text
          </button>
        </>
      }
    >
      <textarea
        aria-label="Recipe as YAML"
        rows={22}
        spellCheck={false}
        style={{ fontFamily: "ui-monospace, monospace", fontSize: 12.5 }}
        value={text ?? ""}
        placeholder={error ? "" : "Reading ..."}
        onChange={(event) => {
          setText(event.target.value);
          setError("");
        }}
      />
      {error && <Note tone="bad">{error}</Note>}
    </Dialog>
  );
}

function listed(problems: { field: string; problem: string }[]): string {
  return problems.map(({ field, problem }) => (field ? `${field}: ${problem}` : problem)).join("\n");
}
