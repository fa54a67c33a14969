import { useState, type FormEvent } from "react";

import { createBatch } from "../api/batches";
import { messageOf } from "../api/http";
import { listRecipes } from "../api/recipes";
import type { JsonObject } from "../recipe/schema";
import { Busy, Dialog, Note } from "../ui/controls";
import { addressOf, go } from "../ui/router";
import { say } from "../ui/toasts";
import { useResource } from "../ui/useResource";

interface Props {
  runs: string[];
  /** A recipe from the workbench, which needs no name. */
  given: JsonObject | undefined;
  onClose: () => void;
}

/** Reconstructs many scans by one recipe, or by each of several. */
export function BatchDialog({ runs, given, onClose }: Props) {
  const recipes = useResource("recipes", (signal) => listRecipes("", signal));
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set(given ? [] : ["default"]));
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const toggle = (name: string) => {
    const after = new Set(chosen);
    if (!after.delete(name)) after.add(name);
    setChosen(after);
  };
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const named = (recipes.value ?? []).filter((one) => chosen.has(one.name));
    const wanted = [...(given ? [given] : []), ...named.map((one) => ({ ...one.recipe, name: one.name }))];
    setBusy(true);
    try {
      const batch = await createBatch({
        runs,
        recipes: wanted,
        name: String(form.get("name") ?? "").trim(),
        priority: form.get("urgent") ? "normal" : "background",
      });
      say(`${batch.items.length || runs.length * wanted.length} reconstructions are queued.`);
      go(addressOf({ screen: "queue", batch: batch.id }));
    } catch (problem) {
      setError(messageOf(problem));
      setBusy(false);
    }
  };
  const count = runs.length * (chosen.size + (given ? 1 : 0));
  return (
    <Dialog
      title={`Reconstruct ${runs.length} ${runs.length === 1 ? "scan" : "scans"}`}
      onClose={onClose}
      actions={
        <>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" form="make-batch" className="primary" disabled={busy || count === 0}>
            Queue {count} {count === 1 ? "reconstruction" : "reconstructions"}
          </button>
        </>
      }
    >
      <form id="make-batch" className="column" style={{ gap: 12 }} onSubmit={submit}>
        <label className="field">
          Name of the batch
          <input name="name" maxLength={200} placeholder="night of the 29th" />
        </label>
        <fieldset className="card" style={{ margin: 0, padding: "8px 12px", minWidth: 0 }}>
          <legend className="soft">Recipes; each scan is reconstructed by every one</legend>
          {given && <p>The recipe from the workbench</p>}
          {recipes.loading && !recipes.value && <Busy text="Reading recipes" />}
          <div className="column" style={{ maxHeight: 220, overflow: "auto", gap: 4 }}>
            {(recipes.value ?? []).map((recipe) => (
              <label key={recipe.name} className="check">
                <input type="checkbox" checked={chosen.has(recipe.name)} onChange={() => toggle(recipe.name)} />
                <span style={{ whiteSpace: "nowrap" }}>{recipe.name}</span>
                <span className="faint ellipsis">{recipe.note}</span>
              </label>
            ))}
          </div>
        </fieldset>
        <label className="check">
          <input type="checkbox" name="urgent" />
          Urgent: before everything that is computed in the background
        </label>
        {error && <Note tone="bad">{error}</Note>}
      </form>
    </Dialog>
  );
}
