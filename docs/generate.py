"""Reference pages made from the code: `python docs/generate.py` writes them, a test holds them up to date."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from profiles.status.pvs import DISCONNECTED, ImagePVs, StatusPVs, described_pvs
from tomoservice.cli import COMMANDS, tomoservice
from tomoservice.recipe import Recipe, recipe_schema, shipped_recipe, shipped_recipes
from tomoservice.settings_report import setting_names, variable_of

FOLDER = Path(__file__).parent / "reference"
NOTICE = "<!-- Made by docs/generate.py; change the code instead. -->"


def recipe_page() -> str:
    """Return the reference of the recipe, from its JSON schema."""
    schema = recipe_schema()
    lines = [
        NOTICE,
        "# The recipe",
        "",
        "A recipe describes a reconstruction, stage by stage in physical order. In a file it is YAML",
        "or JSON; what is left out has its default, and an unknown key is an error.",
        "`tomoservice recipe check FILE` says what is wrong with one, `tomoservice recipe schema` prints",
        "its JSON schema. A stage with more than one method is a mapping with the key `method`.",
        "",
    ]
    for name, field in Recipe.model_fields.items():
        form = schema["properties"][name]
        lines += [f"## `{name}`", ""]
        if field.description:
            default = _yaml(field.get_default(call_default_factory=True))
            lines += [f"{_sentence(field.description)} Default: `{default}`.", ""]
            continue
        for model in _models(form, schema):
            lines += list(_model_table(model, schema))
    lines += ["## Shipped recipes", ""]
    lines += [f"- `{name}`: {shipped_recipe(name).description}" for name in shipped_recipes()]
    return "\n".join(lines) + "\n"


def _models(form: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the models that a field may hold."""
    for choice in form.get("oneOf", [form]):
        yield schema["$defs"][choice["$ref"].removeprefix("#/$defs/")]


def _model_table(model: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    properties = model["properties"]
    method = properties.get("method", {}).get("const")
    title = f"**`method: {method}`**: " if method else ""
    yield title + _sentence(model["description"])
    yield ""
    rows = [(name, form) for name, form in properties.items() if name != "method"]
    if not rows:
        return
    yield "| field | wants | unit | default | |"
    yield "|---|---|---|---|---|"
    for name, form in rows:
        for path, leaf in _leaves(name, form, schema):
            default = "" if "default" not in leaf else f"`{_yaml(leaf['default'])}`"
            cells = (f"`{path}`", _wants(leaf), leaf.get("unit", ""), default, _sentence(leaf["description"]))
            yield f"| {' | '.join(cells)} |"
    yield ""


def _leaves(path: str, form: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "oneOf" in form:
        yield path, form
        for choice in form["oneOf"]:
            model = schema["$defs"][choice["$ref"].removeprefix("#/$defs/")]
            method = model["properties"]["method"]["const"]
            for name, inner in model["properties"].items():
                if name != "method":
                    for place, leaf in _leaves(f"{path}.{name}", inner, schema):
                        note = f"({method}) {leaf['description']}"
                        yield place, {**leaf, "description": note}
        return
    if "$ref" in form.get("items", {}):
        yield path, form
        path, form = f"{path}[]", form["items"]
    if "$ref" not in form:
        yield path, form
        return
    model = schema["$defs"][form["$ref"].removeprefix("#/$defs/")]
    for name, inner in model["properties"].items():
        yield from _leaves(f"{path}.{name}", inner, schema)


def _wants(form: dict[str, Any]) -> str:
    if "discriminator" in form:
        methods = ", ".join(f"`{method}`" for method in form["discriminator"]["mapping"])
        return f"a mapping with the key `method`: {methods}"
    if "enum" in form:
        return ", ".join(f"`{value}`" for value in form["enum"])
    kinds = [form, *form.get("anyOf", [])]
    words = []
    for kind in kinds:
        if "type" not in kind:
            continue
        limits = [
            f"{sign} {kind[key]}"
            for key, sign in (
                ("minimum", "≥"),
                ("exclusiveMinimum", ">"),
                ("maximum", "≤"),
                ("exclusiveMaximum", "<"),
            )
            if key in kind
        ]
        name = _list(kind) if kind["type"] == "array" else kind["type"]
        words.append(" ".join([name, ", ".join(limits)]).strip())
    return " or ".join(words)


def _list(form: dict[str, Any]) -> str:
    """Return what a list holds: mappings, or numbers, two of them or as many as one likes."""
    if "$ref" in form.get("items", {}):
        return "list of mappings"
    return "two numbers" if form.get("minItems") == form.get("maxItems") == 2 else "list of numbers"


def _yaml(value: object) -> str:
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value)) if _plain(value) else str(value)
    )


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _sentence(text: str) -> str:
    return " ".join(text.split())


def command_page() -> str:
    """Return the reference of the command line, from its help texts."""
    lines = [NOTICE, "# The command line", ""]
    lines += ["Exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted. Errors are one line.", ""]
    context = tomoservice.make_context("tomoservice", [], resilient_parsing=True)
    for name in sorted(COMMANDS):
        command = tomoservice.get_command(context, name)
        if command is None:
            continue
        lines += list(_help(command, name, context))
    return "\n".join(lines) + "\n"


def _help(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    settings = {**command.context_settings, "terminal_width": 100}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield from (f"## `{context.command_path}`", "", "```text", command.get_help(context), "```", "")
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            subcommand = command.get_command(context, inner)
            if subcommand is not None:
                yield from _help(subcommand, inner, context)


def settings_page() -> str:
    """Return the reference of the settings, from their model."""
    lines = [
        NOTICE,
        "# Settings",
        "",
        "One tree of settings for the whole service. A file (`tomoservice serve --settings FILE`, YAML) is",
        "overridden by environment variables, and these by flags of the command:",
        "",
        "```yaml",
        "service:",
        "  port: 8000",
        "conductor:",
        "  lease_s: 30",
        "```",
        "",
        "is the same as `TOMOSERVICE__SERVICE__PORT=8000 TOMOSERVICE__CONDUCTOR__LEASE_S=30`. An unknown",
        "setting is an error, in a file, in the environment and as a flag. `tomoservice settings --show`",
        "prints what is in effect and where each value came from, `tomoservice settings --schema` the JSON",
        "schema of a file.",
        "",
    ]
    sections: dict[str, list[str]] = {}
    for name, field in setting_names():
        default = field.get_default(call_default_factory=True)
        shown = "required" if field.is_required() else f"`{_setting(default)}`"
        row = f"| `{name}` | {shown} | `{variable_of(name)}` | {_sentence(field.description or '')} |"
        sections.setdefault(name.rpartition(".")[0], []).append(row)
    for section, rows in sections.items():
        lines += [f"## `{section}`", ""] if section else []
        lines += ["| setting | default | environment variable | |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def _setting(value: object) -> str:
    """Return a default as it would stand in a settings file."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, default=str)


def openapi_page() -> str:
    """Return the OpenAPI description of the service's own routes, from the routes."""
    from tomoservice.service.api import openapi

    return json.dumps(openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def schema_page() -> str:
    """Return the JSON schema of a recipe, with the default recipe as its example."""
    schema = {**recipe_schema(), "examples": [Recipe().dump()]}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


PVS_HEAD = f"""{NOTICE}
# Status and control PVs

`tomoservice ioc --prefix TOMO:` shows the service in EPICS. The PVs mirror nodes in Tiled and are kept
nowhere else: an IOC that starts again shows the same. Names are tomostream's where it has the same thing. The
prefix stands before every name.

Without a service `State` is `{DISCONNECTED}`, everything that was shown last has the severity INVALID,
`Heartbeat` goes on, and the PVs recover by themselves. A failed reconstruction has the severity MAJOR.

A write to a control PV completes when the service has answered. One that is refused leaves the PV as it was,
and `WriteMessage` says why. What is set counts for the next `StartRecon`, and is a wish of the live
reconstruction if there is one.

| PV | type | written | |
|---|---|---|---|
"""
PVS_IMAGES = """
## Images

The live slices have the PVs of areaDetector's NDPluginStdArrays: `image1:` is the slice (y, x), `image2:`
(z, x), `image3:` (z, y). `UniqueId_RBV` is written last.

| PV | type | |
|---|---|---|
"""
PVS_TAIL = """
## In plans

`profiles.status.device.TomoStatus` is the ophyd device of these PVs; a [session](../how-to/session.md) has it
as `tomo_status`. Setting one of its signals fails, with the reason, if the service refuses; triggering it
asks for a reconstruction of the newest scan and is done when that is. `LiveSlice` reads an image.

## Addresses

The IOC answers on 127.0.0.1 unless `--interface` or `EPICS_CAS_INTF_ADDR_LIST` says otherwise. Channel Access
knows no accounts: whoever reaches the control PVs can ask for reconstructions. Of two IOCs on one address of
one host only one is found by clients that search for it there; give each an address (`--interface`).
"""


def pvs_page() -> str:
    """Return the reference of the status PVs, from their definitions."""
    controls = [
        f"| `{name}` | {kind} | {written} | {_sentence(doc)} |\n"
        for name, kind, written, doc in described_pvs(StatusPVs)
    ]
    images = [
        f"| `{name}` | {kind} | {_sentence(doc)} |\n"
        for name, kind, _, doc in described_pvs(ImagePVs, "image1:")
    ]
    return f"{PVS_HEAD}{''.join(controls)}{PVS_IMAGES}{''.join(images)}{PVS_TAIL}"


def rules_page() -> str:
    """Return the JSON schema of a file of rules."""
    from callbacks.rule_file import rules_schema

    return json.dumps(rules_schema(), indent=1, ensure_ascii=False) + "\n"


PAGES = {
    "rules.schema.json": rules_page,
    "recipe.md": recipe_page,
    "recipe.schema.json": schema_page,
    "command-line.md": command_page,
    "settings.md": settings_page,
    "pvs.md": pvs_page,
    "openapi.json": openapi_page,
}


def main() -> int:
    """Write every page; with --check only say which are out of date."""
    stale = []
    for name, page in PAGES.items():
        path = FOLDER / name
        text = page()
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, "utf-8")
    for name in stale:
        sys.stderr.write(f"{name} was out of date\n")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
