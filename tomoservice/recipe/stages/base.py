"""What every stage of a recipe is made of.

Help texts, units and limits stand in the models once; the JSON schema, the forms made from it and the
reference page are generated.
"""

from __future__ import annotations

from numbers import Real
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


class StageModel(BaseModel):
    """Base of all stages: frozen, and no unknown key passes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def plain_number(value: object) -> object:
    """Refuse what is not a number, before pydantic makes one of it."""
    # Pydantic would take True for 1 and "3" for 3. Whole floats and NumPy's numbers are numbers.
    if isinstance(value, bool) or not isinstance(value, Real):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


Integer = Annotated[int, BeforeValidator(plain_number)]
"""A whole number; neither a truth value nor a text."""
Number = Annotated[float, BeforeValidator(plain_number)]
"""A number; neither a truth value nor a text."""
# The limit stands inside, where the schema of an optional number has it.
End = Annotated[int, Field(ge=1), BeforeValidator(plain_number)]


def unit(name: str) -> dict[str, Any]:
    """Return what tells a schema's readers the unit of a field."""
    return {"unit": name}
