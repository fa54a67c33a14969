import type { SavedRecipe } from "../api/types";
import { Busy } from "../ui/controls";

interface Props {
  /** Undefined while they are being read. */
  recipes: SavedRecipe[] | undefined;
  /** Whether there is one from the workbench as well. */
  given: boolean;
  chosen: ReadonlySet<string>;
  onChange: (chosen: ReadonlySet<string>) => void;
}

/** The recipes by each of which scans are reconstructed. */
export function RecipeChoice({ recipes, given, chosen, onChange }: Props) {
  const toggle = (name: string) => {
    const after = new Set(chosen);
    if (!after.delete(name)) after.add(name);
    onChange(after);
  };
  return (
    <fieldset className="card" style={{ margin: 0, padding: "8px 12px", minWidth: 0 }}>
      <legend className="soft">Recipes; each scan is reconstructed by every one</legend>
      {given && <p style={{ marginBottom: 6 }}>The recipe from the workbench</p>}
      {!recipes && <Busy text="Reading recipes" />}
      <div className="column" style={{ maxHeight: 220, overflow: "auto", gap: 4 }}>
        {(recipes ?? []).map((recipe) => (
          <label key={recipe.name} className="check">
            <input type="checkbox" checked={chosen.has(recipe.name)} onChange={() => toggle(recipe.name)} />
            <span style={{ whiteSpace: "nowrap" }}>{recipe.name}</span>
            <span className="faint ellipsis">{recipe.note}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
