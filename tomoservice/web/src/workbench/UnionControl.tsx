import { FieldRow, Help, type FieldProps } from "./FieldRow";
import { isObject, switched, variantOf } from "../recipe/recipe";
import { words, type UnionField } from "../recipe/schema";

/** A choice of method, and the parameters of the one that is chosen. */
export function UnionControl({ field, path, value, change, problems, seeds }: FieldProps & { field: UnionField }) {
  const variant = variantOf(field, value);
  const id = path.join("-");
  return (
    <>
      <div className="form-row">
        <label htmlFor={id}>Method</label>
        <div className="control">
          <select
            id={id}
            value={variant?.method ?? ""}
            onChange={(event) => change(path, switched(field, event.target.value, value, seeds))}
          >
            {!variant && <option value="">?</option>}
            {field.variants.map((one) => (
              <option key={one.method} value={one.method} title={one.help}>
                {words(one.method)}
              </option>
            ))}
          </select>
        </div>
        {problems[path.join(".")] && <div className="problem">{problems[path.join(".")]}</div>}
      </div>
      {variant && <Help text={variant.help} />}
      {variant?.fields.map((one) => (
        <FieldRow
          key={`${variant.method}.${one.key}`}
          field={one}
          path={[...path, one.key]}
          value={isObject(value) ? value[one.key] : undefined}
          change={change}
          problems={problems}
          seeds={seeds}
        />
      ))}
    </>
  );
}
