"""Recipes as YAML and JSON texts, of which nothing is lost or misread in silence."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tomoservice.errors import RecipeError

DEEPEST = 50
"""No recipe nests deeper than this; a text that does would exhaust the stack."""
MOST_VALUES = 100_000
"""Values in a recipe, aliases written out: a short text of aliases of aliases stands for billions."""
# YAML 1.1 takes 1e-4, as JSON writes it, for a text; YAML 1.2 for the number that it is.
EXPONENTIAL = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+\Z")
FLOAT, FLOAT_STARTS = "tag:yaml.org,2002:float", list("-+.0123456789")


def read_yaml(text: str, *, name: str) -> object:
    """Return what a YAML or JSON text holds, as plain Python types.

    Raises
    ------
    RecipeError
        If it is neither, gives a key twice, nests too deeply or holds too much.
    """
    try:
        return yaml.load(text, _Loader)
    except _RefusedError as error:
        raise RecipeError(str(error), name=name) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"is no valid YAML or JSON: {' '.join(str(error).split())}", name=name) from error
    # What PyYAML lets through of values like 2024-13-45, !!int x, !!bool x, !!timestamp x
    except (ValueError, LookupError, AttributeError) as error:
        raise RecipeError(f"holds a value that cannot be read: {error}", name=name) from error


def write_yaml(content: dict[str, Any]) -> str:
    """Return plain types as a YAML text that `read_yaml` reads back."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _RefusedError(yaml.YAMLError):
    """A text that PyYAML would take, but not as it is meant."""


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses what YAML forbids but PyYAML lets pass."""

    depth = 0

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        # Of each anchored value: how many values it stands for.
        self.sizes: dict[str | None, int] = {}
        self.values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self.sizes:
                raise _RefusedError(f"*{event.anchor} stands in what it stands for")
            self._count(self.sizes.get(event.anchor, 1))
            return super().compose_node(parent, index)
        before = self.values
        self._count(1)
        self.depth += 1
        if self.depth > DEEPEST:
            raise _RefusedError(f"nests more than {DEEPEST} deep; a recipe never does")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if event.anchor is not None:
            self.sizes[event.anchor] = self.values - before
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        return node

    def _count(self, values: int) -> None:
        self.values += values
        if self.values > MOST_VALUES:
            raise _RefusedError(
                f"holds more than {MOST_VALUES} values with its aliases written out; a recipe never does"
            )


class _Dumper(yaml.SafeDumper):
    """A safe dumper that quotes texts which the loader would take for numbers."""


_Loader.add_implicit_resolver(FLOAT, EXPONENTIAL, FLOAT_STARTS)
# Of YAML 1.1's many truth values those of YAML 1.2: `on` and `off` are words of recipes.
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"
    ]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Dumper.add_implicit_resolver(FLOAT, EXPONENTIAL, FLOAT_STARTS)


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line = key.start_mark.line + 1
        if key.value in lines:
            raise _RefusedError(
                f"{key.value}: the key is given twice, in lines {lines[key.value]} and {line}"
            )
        lines[key.value] = line
