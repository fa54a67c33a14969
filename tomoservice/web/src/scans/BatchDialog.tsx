import { useState, type FormEvent } from "react";

import { RecipeChoice } from "./RecipeChoice";
import { addToBatch, createBatch, listBatches } from "../api/batches";
import { messageOf } from "../api/http";
import { listRecipes } from "../api/recipes";
import type { BatchAnswer } from "../api/types";
import type { JsonObject } from "../recipe/schema";
import { Dialog, Note } from "../ui/controls";
import { addressOf, go } from "../ui/router";
import { say } from "../ui/toasts";
import { useResource } from "../ui/useResource";

/** Batches of which those are offered that take more. */
const NEWEST = 50;

interface Props {
  runs: string[];
  /** A recipe from the workbench, which needs no name. */
  given: JsonObject | undefined;
  /** Whether to offer the newest batch before a new one. */
  adding?: boolean;
  onClose: () => void;
}

/** Reconstructs scans by one recipe, or by each of several: as a new batch, or added to one that is there. */
export function BatchDialog({ runs, given, adding, onClose }: Props) {
  const recipes = useResource("recipes", (signal) => listRecipes("", signal));
  const batches = useResource("batches to add to", (signal) => listBatches(NEWEST, signal));
  const open = (batches.value?.batches ?? []).filter((batch) => batch.takes_more);
  const [picked, setPicked] = useState<string>();
  const target = picked ?? (adding ? (sorted(open)[0]?.id ?? "") : "");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set(given ? [] : ["default"]));
  const [own, setOwn] = useState(!given);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const byItsOwn = target !== "" && own;
  // What is offered first is not known yet.
  const waiting = adding === true && batches.loading && !batches.value;
  const count = byItsOwn ? undefined : runs.length * (chosen.size + (given ? 1 : 0));
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const named = (recipes.value ?? []).filter((one) => chosen.has(one.name));
    const wanted = [...(given ? [given] : []), ...named.map((one) => ({ ...one.recipe, name: one.name }))];
    setBusy(true);
    setError("");
    try {
      const batch = target
        ? await addToBatch(target, runs, byItsOwn ? undefined : wanted)
        : await createBatch({
            runs,
            recipes: wanted,
            name: String(form.get("name") ?? "").trim(),
            priority: form.get("urgent") ? "normal" : "background",
          });
      say(target ? `Added to ${batch.name || batch.id}.` : `${batch.items.length || count} reconstructions are queued.`);
      go(addressOf({ screen: "queue", batch: batch.id }));
    } catch (problem) {
      setError(messageOf(problem));
      setBusy(false);
    }
  };
  return (
    <Dialog
      title={`Reconstruct ${runs.length} ${runs.length === 1 ? "scan" : "scans"}`}
      onClose={onClose}
      actions={
        <>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" form="make-batch" className="primary" disabled={busy || waiting || count === 0}>
            {target ? "Add" : "Queue"} {count === undefined ? "" : `${count} `}
            {count === 1 ? "reconstruction" : "reconstructions"}
          </button>
        </>
      }
    >
      <form id="make-batch" className="column" style={{ gap: 12 }} onSubmit={submit}>
        <label className="field">
          Batch
          <select value={target} onChange={(event) => setPicked(event.target.value)}>
            <option value="">A new batch</option>
            {sorted(open).map((batch) => (
              <option key={batch.id} value={batch.id}>
                {described(batch)}
              </option>
            ))}
          </select>
        </label>
        {target === "" && (
          <label className="field">
            Name of the batch
            <input name="name" maxLength={200} placeholder="night of the 29th" />
          </label>
        )}
        {target !== "" && !given && (
          <label className="check">
            <input type="checkbox" checked={own} onChange={(event) => setOwn(event.target.checked)} />
            By the recipes that the batch began with
          </label>
        )}
        {!byItsOwn && (
          <RecipeChoice recipes={recipes.value} given={given !== undefined} chosen={chosen} onChange={setChosen} />
        )}
        {target === "" && (
          <label className="check">
            <input type="checkbox" name="urgent" />
            Urgent: before everything that is computed in the background
          </label>
        )}
        {error && <Note tone="bad">{error}</Note>}
      </form>
    </Dialog>
  );
}

/** Those that are not finished come first, each the newest first. */
function sorted(batches: BatchAnswer[]): BatchAnswer[] {
  const finished = (batch: BatchAnswer) => Number(batch.state === "finished");
  return [...batches].sort((one, other) => finished(one) - finished(other));
}

function described({ name, id, state, summary }: BatchAnswer): string {
  return `${name || id}: ${state}, ${summary.counts.done ?? 0} of ${summary.items} done`;
}
