"""The recipe: what it accepts, how it says no, and what stays the same for ever."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tomoservice.errors import RecipeError, RecipeVersionError
from tomoservice.recipe import (
    SCHEMA_VERSION,
    Recipe,
    load_recipe,
    parse_recipe,
    parse_text,
    read_recipe,
    recipe_schema,
    shipped_recipe,
    shipped_recipes,
)
from tomoservice.recipe.migrations import migrate
from tomoservice.recipe.stages.minus_log import StandardMinusLog
from tomoservice.recipe.stages.rotation_axis import AxisValue

STAGES = [
    "frames",
    "flat_field",
    "outliers",
    "stripes",
    "phase",
    "minus_log",
    "beam_hardening",
    "rotation_axis",
    "reconstruction",
    "rings",
    "output",
]


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def test_the_stages_stand_in_physical_order() -> None:
    fields = [name for name in Recipe.model_fields if name not in {"schema_version", "name", "description"}]
    assert fields == STAGES


def compound(formula: str, energy_kev: float | None = None) -> dict[str, Any]:
    material = {"method": "compound", "formula": formula, "density_g_cm3": 1.0}
    return {"phase": {"method": "paganin", "material": material, "energy_kev": energy_kev}}


def hardening(*coefficients: float) -> dict[str, Any]:
    return {"beam_hardening": {"method": "polynomial", "coefficients": coefficients}}


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_valid_and_survive_yaml_and_json(name: str) -> None:
    recipe = shipped_recipe(name)
    assert recipe.name == name
    assert parse_text(recipe.to_yaml()) == recipe
    assert parse_text(recipe.to_json()) == recipe
    assert parse_recipe(recipe.dump()).hash == recipe.hash


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"reconstruct": {}}, "reconstruct: unknown key; did you mean 'reconstruction'?"),
        (
            {"reconstruction": {"method": "fourier", "filter": "ram"}},
            "reconstruction.filter: got 'ram', wants",
        ),
        ({"reconstruction": {"method": "gridrec"}}, "reconstruction.method: got 'gridrec', wants one of"),
        ({"rotation_axis": 296}, "rotation_axis: got 296, wants a mapping"),
        ({"rotation_axis": {"value": 3}}, "rotation_axis: got {'value': 3}, wants a mapping with the key"),
        ({"rotation_axis": {"method": "value"}}, "rotation_axis.value: is missing"),
        ({"rotation_axis": {"method": "value", "value": float("nan")}}, "rotation_axis.value: got nan"),
        ({"rotation_axis": {"method": "auto", "search": [5, 2]}}, "must go from low to high"),
        (compound("Xx2"), "phase.material.formula: the formula 'Xx2' cannot be looked up: 'Xx' is not an"),
        (compound("PuO2"), "phase.material.formula: the formula 'PuO2' cannot be looked up: the tables end"),
        (compound("H0"), "phase.material.formula: the formula 'H0' holds 0 atoms of H"),
        (compound(" "), "phase.material.formula: the formula of the material is empty"),
        (compound("H2O", 500.0), "phase: materials are tabulated from 0.1 to 400 keV, got an energy of 500"),
        (hardening(0.0, 0.0), "beam_hardening.coefficients: all are 0"),
        (hardening(0.0, -1.0), "beam_hardening.coefficients: the first, -1, is negative"),
        (hardening(1.0, 1e31), "beam_hardening.coefficients: got 1e+31, beyond"),
        (
            {"flat_field": {"method": "standard", "flat_positions": [0, 5, 5]}},
            "flat_field.flat_positions: the positions must ascend",
        ),
        (
            {"frames": {"rows": {"start": 5, "stop": 3}}},
            "frames.rows: stop (3) must be greater than start (5)",
        ),
        ({"frames": {"binning": 0}}, "frames.binning: got 0, wants greater than or equal to 1"),
        ({"frames": None}, "frames: got None, wants a mapping"),
        ({"stripes": {"method": "vo"}}, "stripes.method: got 'vo', wants one of 'none', 'sorting'"),
        ({7: {}}, "7: a stage's name must be text"),
        ([], "a recipe is a mapping of stages, got list"),
        ("fourier", "a recipe is a mapping of stages, got str"),
        ({"schema_version": "x"}, "schema_version: got 'x', wants a whole number"),
        ({"schema_version": True}, "schema_version: got True, wants a whole number"),
        (
            {"rotation_axis": {"method": "value", "value": True}},
            "rotation_axis.value: got True, wants a number",
        ),
        (
            {"rotation_axis": {"method": "value", "value": "3"}},
            "rotation_axis.value: got '3', wants a number",
        ),
        (
            {"rotation_axis": {"method": "auto", "search": [1, True]}},
            "rotation_axis.search.1: got True, wants",
        ),
        ({"frames": {"binning": True}}, "frames.binning: got True, wants a number"),
        ({"frames": {"binning": 2.5}}, "frames.binning: got 2.5, wants a valid integer"),
        ({"frames": {"rows": {"start": False}}}, "frames.rows.start: got False, wants a number"),
        ({"frames": {"angles": {"stop": "7"}}}, "frames.angles.stop: got '7', wants a number"),
        ({"frames": {"angles": {"step": True}}}, "frames.angles.step: got True, wants a number"),
        (
            {"frames": {"columns": {"stop": 0}}},
            "frames.columns.stop: got 0, wants greater than or equal to 1",
        ),
        (
            {"minus_log": {"method": "standard", "minimum_transmission": "0.1"}},
            "minus_log.minimum_transmission: got '0.1', wants a number",
        ),
        (
            {"reconstruction": {"method": "fourier", "filter_cutoff": True}},
            "reconstruction.filter_cutoff: got True, wants a number",
        ),
        (
            {"reconstruction": {"method": "astra_fbp", "filter_order": "3"}},
            "reconstruction.filter_order: got '3', wants a number",
        ),
        (
            {"reconstruction": {"method": "fourier", "circular_mask": "no"}},
            "reconstruction.circular_mask: got 'no', wants a valid boolean",
        ),
        (
            {"reconstruction": {"method": "fourier", "circular_mask": 1}},
            "reconstruction.circular_mask: got 1, wants a valid boolean",
        ),
        ({"frames": {"binning": 16**5000}}, "frames.binning: got a number of too many digits, wants"),
        ({"frames": nested(20_000)}, "frames: got [[[...]]], wants a mapping"),
    ],
)
def test_an_error_names_the_field_what_it_got_and_what_it_wants(content: Any, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(content, name="my.yml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("my.yml: ")
    assert "\n" not in str(caught.value)


def test_whole_numbers_serve_as_fractions_and_numpy_numbers_as_numbers() -> None:
    axis = {"method": "value", "value": 296}
    plain = parse_recipe({"rotation_axis": axis, "frames": {"binning": 2, "rows": {"stop": 8}}})
    assert isinstance(plain.rotation_axis, AxisValue)
    assert isinstance(plain.rotation_axis.value, float)
    for whole, fraction in ((np.int64, np.float32), (np.uint8, np.int32), (float, int)):
        frames = {"binning": whole(2), "rows": {"stop": whole(8)}}
        same = parse_recipe({"rotation_axis": {**axis, "value": fraction(296)}, "frames": frames})
        assert same.hash == plain.hash
        assert type(same.frames.binning) is int


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"frames": {"binning": 0, "row": {}}, "outputs": {}})
    assert len(caught.value.problems) == 3


def test_the_hash_depends_on_what_determines_the_result_and_on_nothing_else() -> None:
    first = parse_recipe({"rotation_axis": {"method": "value", "value": 296}, "name": "a"})
    same = parse_text("description: b\nrotation_axis: {value: 296.0, method: value}\n")
    other = parse_recipe({"rotation_axis": {"method": "value", "value": 296.5}})
    assert first.hash == same.hash
    assert first.hash != other.hash


def test_a_hash_never_changes_within_a_schema_version() -> None:
    # Stored recipes are found by it: a change needs a new schema version and a migration.
    assert SCHEMA_VERSION == 1
    assert Recipe().hash == "a9d5f6d002d956b8af5787a05e0ca000d45c03977ffa54ee8fbed719fed5fd23"
    other = {
        "frames": {"rows": {"start": 3}, "binning": 2},
        "flat_field": {"method": "none"},
        "rotation_axis": {"method": "value", "value": 12.5},
        "reconstruction": {"method": "astra_fbp", "filter": "hann"},
    }
    assert parse_recipe(other).hash == "f970177ec84f2e8274c042c9f20fe3f0774182388212fc6ffdbb76f675a9bd4f"


def test_what_is_written_out_and_what_is_a_default_have_one_hash() -> None:
    assert parse_recipe(Recipe().dump()).hash == Recipe().hash
    written = {"reconstruction": {"method": "fourier", "filter": "ramp", "filter_cutoff": 1.0}}
    assert parse_recipe(written).hash == Recipe().hash


@pytest.mark.parametrize("stage", STAGES)
def test_methods_that_differ_in_nothing_else_have_different_hashes(stage: str) -> None:
    form = recipe_schema()["properties"][stage]
    material = {"material": {"method": "delta_beta", "delta_beta": 100.0}}
    phases = dict.fromkeys(("paganin", "generalised_paganin", "ctf"), material)
    several = {"ctf_several": {**material, "scans": [{"scan": "other"}]}}
    required = {"value": {"value": 1.0}, **phases, **several}
    methods = form.get("discriminator", {}).get("mapping", {})
    hashes = [
        parse_recipe({stage: {"method": method, **required.get(method, {})}}).hash for method in methods
    ]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("word", ["on", "off"])
def test_on_and_off_are_words(word: str) -> None:
    recipe = parse_text(f"reconstruction: {{method: fourier, half_acquisition: {word}, circular_mask: true}}")
    assert recipe.reconstruction.half_acquisition == word
    assert parse_text(recipe.to_yaml()) == recipe


def test_a_recipe_cannot_be_changed_in_place() -> None:
    recipe = Recipe()
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]
    changed = recipe.changed(rotation_axis={"method": "value", "value": 12})
    assert recipe.rotation_axis.method == "auto"
    assert changed.rotation_axis.method == "value"
    with pytest.raises(RecipeError, match="unknown key"):
        recipe.changed(axis=12)


def test_a_newer_recipe_is_refused_with_the_way_out() -> None:
    with pytest.raises(RecipeVersionError, match=r"got 2, this version of tomoservice reads up to 1; update"):
        parse_recipe({"schema_version": 2})


def test_migrations_are_applied_in_turn_without_touching_the_original() -> None:
    def rename(content: dict[str, Any]) -> dict[str, Any]:
        return {("rotation_axis" if key == "center" else key): value for key, value in content.items()}

    def wrap(content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "rotation_axis": {"method": "value", "value": content["rotation_axis"]}}

    old = {"schema_version": 1, "center": 5.0}
    new = migrate(old, target=3, steps={1: rename, 2: wrap})
    assert new == {"schema_version": 3, "rotation_axis": {"method": "value", "value": 5.0}}
    assert old == {"schema_version": 1, "center": 5.0}
    with pytest.raises(RecipeError, match="no way leads from 2 to 3"):
        migrate({"schema_version": 2}, target=3, steps={1: rename})


def test_the_schema_has_a_title_and_a_help_text_for_every_field() -> None:
    schema = recipe_schema()
    json.dumps(schema)
    for name, model in {"Recipe": schema, **schema["$defs"]}.items():
        assert model.get("description"), name
        assert model["additionalProperties"] is False, name
        for field, form in model["properties"].items():
            referred = schema["$defs"].get(str(form.get("$ref")).removeprefix("#/$defs/"), {})
            assert form.get("title") or referred.get("title"), (name, field)
            if field not in {"method", *STAGES}:
                assert form.get("description"), (name, field)
    assert schema["$defs"]["AxisValue"]["properties"]["value"]["unit"] == "pixel"


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    with pytest.raises(RecipeError, match=r"r\.yml: no such file"):
        read_recipe(path)
    path.write_text("frames: [", "utf-8")
    with pytest.raises(RecipeError, match="no valid YAML or JSON"):
        read_recipe(path)
    path.write_text("", "utf-8")
    assert read_recipe(path) == Recipe()
    path.write_text(json.dumps({"frames": {"binning": 2}}), "utf-8")
    assert load_recipe(path).frames.binning == 2
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(path)
    with pytest.raises(RecipeError, match=r"neither a file nor a shipped recipe \(.*default"):
        load_recipe("defualt")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "frames: {binning: 2}\noutput: {}\nframes: {binning: 1}\n",
            "frames: the key is given twice, in lines 1 and 3",
        ),
        ("frames:\n  binning: 2\n  'binning': 1\n", "binning: the key is given twice, in lines 2 and 3"),
        ('{"frames": {"binning": 2, "binning": 2}}', "binning: the key is given twice"),
        ("[" * 5000, "nests more than 50 deep"),
        ('{"frames":' * 5000, "nests more than 50 deep"),
        ("- " * 5000, "nests more than 50 deep"),
        ("name: 2024-13-45", "holds a value that cannot be read: month must be in 1..12"),
        ("name: " + "1" * 5000, "holds a value that cannot be read: Exceeds the limit"),
        ("frames: !!bool maybe", "holds a value that cannot be read"),
        ("frames: !!int ''", "holds a value that cannot be read"),
        ("frames: !!timestamp today", "holds a value that cannot be read"),
        (
            "frames: !!python/object:os.system {}",
            "is no valid YAML or JSON: could not determine a constructor",
        ),
        ("frames: {}\n---\nframes: {}", "is no valid YAML or JSON: expected a single document"),
        ("frames: {binning: 1", "is no valid YAML or JSON"),
    ],
)
def test_a_text_that_cannot_be_taken_as_it_stands_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_text(text, name="my.yml")
    assert str(caught.value).startswith(f"my.yml: {said}")
    assert "\n" not in str(caught.value)


def aliases(levels: int) -> str:
    """Return keys of a recipe that stand for 10 to the power of `levels` + 1 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels + 1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (aliases(9), "holds more than 100000 values with its aliases written out"),
        # A merge repeats what it merges.
        ("a: &a {b: &b {c: 1}}\n" + "".join(f"m{n}: {{<<: *a}}\n" for n in range(40_000)), "holds more than"),
        ("frames: &a [*a]", r"\*a stands in what it stands for"),
        ("frames: *a", "is no valid YAML or JSON: found undefined alias"),
    ],
)
def test_aliases_that_stand_for_too_much_are_refused(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_text(text)


def test_many_large_values_are_refused_in_a_moment_and_in_few_words() -> None:
    value: list[Any] = ["x"] * 8
    for _ in range(8):
        value = [value] * 8
    started = time.monotonic()
    with pytest.raises(RecipeError) as caught:
        parse_recipe({f"k{n}": value for n in range(100)} | {"frames": value})
    with pytest.raises(RecipeError, match=r"schema_version: got \[\[\[\.\.\.\], "):
        parse_recipe({"schema_version": value})
    assert time.monotonic() - started < 2.0
    first, *_, last = caught.value.problems
    assert first.startswith("frames: got [[[...], [...], [...], ...], [[...]")
    assert len(caught.value.problems) == 21
    assert last == "and 81 more"


def test_keys_may_be_shared_and_overridden_by_a_merge() -> None:
    text = "frames:\n  rows: &part {start: 2, stop: 9}\n  columns:\n    <<: *part\n    stop: 12\n"
    frames = parse_text(text).frames
    assert (frames.columns.start, frames.columns.stop) == (2, 12)
    assert (frames.rows.start, frames.rows.stop) == (2, 9)


@pytest.mark.parametrize("written", ["1e-2", "1E-2", "0.01", "1.0e-02", "10e-3", ".1e-1", "+1e-2"])
def test_a_number_may_be_written_as_yaml_or_json_writes_it(written: str) -> None:
    recipe = parse_text(f"minus_log: {{method: standard, minimum_transmission: {written}}}")
    assert recipe.minus_log == StandardMinusLog(minimum_transmission=0.01)


@pytest.mark.parametrize("name", ["1e5", "12e5", ".5E3", "1.0", "7", "yes", "null", "2024-01-02", "", "a: b"])
def test_a_name_stays_a_text_whatever_it_looks_like(name: str) -> None:
    recipe = parse_recipe({"name": name})
    assert parse_text(recipe.to_yaml()) == recipe
    assert parse_text(recipe.to_json()) == recipe


@given(
    value=st.floats(-1e4, 1e4),
    start=st.integers(0, 100),
    length=st.integers(1, 100),
    cutoff=st.floats(0, 1, exclude_min=True),
)
def test_any_recipe_survives_yaml_to_the_bit(value: float, start: int, length: int, cutoff: float) -> None:
    recipe = parse_recipe(
        {
            "frames": {"rows": {"start": start, "stop": start + length}},
            "rotation_axis": {"method": "value", "value": value},
            "reconstruction": {"method": "fourier", "filter": "hann", "filter_cutoff": cutoff},
        }
    )
    assert parse_text(recipe.to_yaml()) == recipe
    assert parse_text(recipe.to_json()) == recipe
    # Others read it with what they have.
    assert parse_recipe(yaml.safe_load(recipe.to_yaml())) == recipe
    assert parse_recipe(json.loads(recipe.to_json())).hash == recipe.hash
