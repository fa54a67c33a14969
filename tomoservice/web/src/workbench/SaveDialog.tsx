import { useState, type FormEvent } from "react";

import type { Scene } from "./useScene";
import { messageOf } from "../api/http";
import { acceptRecipe, saveRecipe } from "../api/recipes";
import { sparse } from "../recipe/recipe";
import { Dialog, Note } from "../ui/controls";
import { say } from "../ui/toasts";

interface Props {
  scene: Scene;
  name: string | undefined;
  onClose: () => void;
  onSaved: (name: string) => void;
}

/** Saves the recipe under a name; the same name again is a new revision. */
export function SaveDialog({ scene, name, onClose, onSaved }: Props) {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (key: string) => String(form.get(key) ?? "").trim();
    setBusy(true);
    setError("");
    try {
      const { bench, scan } = scene;
      const tags = text("tags").split(",").map((tag) => tag.trim()).filter(Boolean);
      const recipe = sparse(bench.stages, bench.recipe, bench.defaults);
      const saved = await saveRecipe(text("name"), { recipe, tags, note: text("note") });
      if (form.get("accept")) await acceptRecipe(saved.name, scan.run_uid);
      say(`Saved as ${saved.name}, revision ${saved.revision}.`);
      onSaved(saved.name);
      onClose();
    } catch (problem) {
      setError(messageOf(problem));
      setBusy(false);
    }
  };
  return (
    <Dialog
      title="Save the recipe"
      onClose={onClose}
      actions={
        <>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" form="save-recipe" className="primary" disabled={busy}>
            Save
          </button>
        </>
      }
    >
      <form id="save-recipe" className="column" onSubmit={submit}>
        <label className="field">
          Name
          <input
            name="name"
            required
            autoFocus
            maxLength={128}
            pattern="[A-Za-z0-9][A-Za-z0-9._\-]*"
            title="Letters, digits, dots, hyphens and underscores; a letter or digit first"
            defaultValue={name && name !== "default" ? name : ""}
            placeholder="tooth-ramp"
            aria-describedby="save-recipe-name"
          />
        </label>
        <p className="help" id="save-recipe-name">
          Letters, digits, . _ and -. A name that exists gets a new revision.
        </p>
        <label className="field">
          Tags
          <input name="tags" placeholder="bone, pink beam" />
        </label>
        <label className="field">
          Notes
          <textarea name="note" rows={3} placeholder="What it is for, or what is new in this revision" />
        </label>
        <label className="check">
          <input type="checkbox" name="accept" defaultChecked />
          Propose it for scans like this one
        </label>
        {error && <Note tone="bad">{error}</Note>}
      </form>
    </Dialog>
  );
}
