"""Which runs are reconstructed without being asked, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from callbacks import conditions
from callbacks.recipe_names import PROPOSAL
from tomoservice.catalog.priorities import ASKED_FOR, JobPriority
from tomoservice.errors import RecipeError
from tomoservice.recipe import parse_recipe
from tomoservice.recipe.problems import describe_problems


class VolumeKind(StrEnum):
    """How much of a volume is wanted."""

    FULL = "full"
    """All of it, computed at once."""
    VIRTUAL = "virtual"
    """Described and readable; computed slice by slice when somebody looks."""


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True)

    @field_validator("recipe", mode="before", check_fields=False)
    @classmethod
    def _check_recipe(cls, recipe: object) -> object:
        if isinstance(recipe, Mapping):
            try:
                # As it stands: its hash is that of what is written, whatever this version adds to it.
                parse_recipe(recipe)
            except RecipeError as error:
                raise ValueError("; ".join(error.problems)) from error
        elif recipe is not None and not (isinstance(recipe, str) and recipe):
            raise ValueError(
                f"got {recipe!r}, wants the name of a recipe, a file, a recipe's content, or '{PROPOSAL}'"
            )
        return recipe

    @field_validator("priority", check_fields=False)
    @classmethod
    def _check_priority(cls, priority: JobPriority | None) -> JobPriority | None:
        if priority is not None and priority not in ASKED_FOR:
            raise ValueError(f"got {priority.value!r}, wants {' or '.join(one.value for one in ASKED_FOR)}")
        return priority


class PlanWish(_Checked):
    """What a plan says itself, below `tomo` in its start document; it goes before every rule."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    reconstruct: bool | None = None
    """Whether the run is to be reconstructed, whatever the rules say."""
    recipe: dict[str, Any] | str | None = None
    """Name of a recipe, a file, a recipe's content, or ``proposal``."""
    volume: VolumeKind | None = None
    """All of the volume at once, or slice by slice when somebody looks."""
    priority: JobPriority | None = None
    """How urgent it is."""


class Rule(_Checked):
    """Which runs are reconstructed, and how. It applies to a run that fits everything it says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    """What people call it; it stands in messages."""
    plans: tuple[str, ...] = ()
    """Names of plans, with wildcards (``tomo_*``), of which one has to fit; empty: any plan. A rule with
    neither `plans` nor `metadata` applies to every run whose start document has a `tomo` or a `scan_layout`
    entry."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Entries of the start document by their paths (``tomo.energy_kev``), and what each has to be: a text
    with wildcards, a number, comparisons (``">= 20, < 30"``), true, false, null (not there), or a list of
    which one has to fit."""
    reconstruct: bool = True
    """Whether such a run is reconstructed; if not, rules below are not asked either."""
    recipe: dict[str, Any] | str | None = None
    """Name of a recipe that is saved in the service or comes with the package, a file (beside the file of the
    rules), a recipe's content, or ``proposal``: what was accepted last for a scan like the run."""
    volume: VolumeKind = VolumeKind.FULL
    """All of the volume at once, or ``virtual``: slice by slice when somebody looks."""
    priority: JobPriority = JobPriority.NORMAL
    """How urgent it is: ``normal``, or ``background`` to give way to all else."""
    include_aborted: bool = False
    """Whether runs that were aborted or failed are reconstructed from what they have."""

    @field_validator("metadata")
    @classmethod
    def _check_metadata(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        for path, wanted in metadata.items():
            try:
                conditions.check(wanted)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
        return metadata

    def misfit(self, start: Mapping[str, Any]) -> str | None:
        """Return why it does not apply to the run with a start document, None if it does."""
        if not self.plans and not self.metadata:
            is_scan = "tomo" in start or "scan_layout" in start
            return None if is_scan else "the start document has neither tomo nor scan_layout"
        plan = str(start.get("plan_name", ""))
        if self.plans and not any(fnmatchcase(plan, pattern) for pattern in self.plans):
            return f"plan {plan or '(none)'} is none of {', '.join(self.plans)}"
        for path, wanted in self.metadata.items():
            value = conditions.find(start, path)
            if not conditions.fits(value, wanted):
                there = "is not there" if value is None else f"is {value!r}"
                return f"{path} {there}, wanted {wanted!r}"
        return None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a run."""

    reconstruct: bool
    """Whether it is reconstructed."""
    reason: str
    """Why, in a sentence."""
    recipe: Mapping[str, Any] | str | None = None
    """By which recipe: content, name, file or ``proposal``; None if neither rule nor plan says it."""
    volume: VolumeKind = VolumeKind.FULL
    """How much of the volume."""
    priority: JobPriority = JobPriority.NORMAL
    """How urgent it is."""
    is_the_plans: bool = False
    """Whether it is the plan that says by which recipe."""
    is_wrong: bool = False
    """Whether it is not reconstructed because what its plan says makes no sense."""


class Decider(Protocol):
    """Says what becomes of runs."""

    def decide(self, start: Mapping[str, Any], stop: Mapping[str, Any] | None) -> Decision:
        """Return what becomes of a run."""


class Rules(BaseModel):
    """Rules in order: the first that applies to a run decides; if none does, it is not reconstructed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = Field(1, ge=1, le=1)
    """Version of this form."""
    rules: tuple[Rule, ...] = (Rule(),)
    """The rules."""

    def decide(self, start: Mapping[str, Any], stop: Mapping[str, Any] | None) -> Decision:
        """Return what becomes of a run.

        Parameters
        ----------
        start : mapping
            Start document; empty if it was not seen.
        stop : mapping, optional
            Stop document; without it, as if the run will end well.
        """
        tomo = start.get("tomo")
        try:
            wish = PlanWish.model_validate(tomo if isinstance(tomo, Mapping) else {})
        except ValidationError as error:
            # Another reconstruction than the one asked for would be worse than none.
            problems = "; ".join(f"tomo.{problem}" for problem in describe_problems(error, PlanWish))
            return Decision(False, f"its plan asks for what makes no sense: {problems}", is_wrong=True)
        if wish.reconstruct is False:
            return Decision(False, "its plan says tomo.reconstruct: false")
        place, rule = self._first(start)
        if rule is None and wish.reconstruct is None:
            return Decision(False, "no rule applies")
        rule = rule or Rule()
        reason = f"{self._called(place)} applies" if place is not None else "its plan asks for it"
        if not rule.reconstruct and wish.reconstruct is None:
            return Decision(False, f"{reason}, which says reconstruct: false")
        status = (stop or {}).get("exit_status", "success")
        if status != "success" and not rule.include_aborted:
            return Decision(False, f"it ended with {status!r}, and {reason} without include_aborted")
        return Decision(
            True,
            reason,
            wish.recipe if wish.recipe is not None else rule.recipe,
            wish.volume or rule.volume,
            wish.priority or rule.priority,
            is_the_plans=wish.recipe is not None,
        )

    def explain(self, start: Mapping[str, Any]) -> list[str]:
        """Return, of each rule down to the first that applies, why it does not, or that it does."""
        lines = []
        for place, rule in enumerate(self.rules):
            misfit = rule.misfit(start)
            lines.append(f"{self._called(place)}: {misfit or 'applies'}")
            if misfit is None:
                break
        return lines

    def _first(self, start: Mapping[str, Any]) -> tuple[int | None, Rule | None]:
        for place, rule in enumerate(self.rules):
            if rule.misfit(start) is None:
                return place, rule
        return None, None

    def _called(self, place: int) -> str:
        name = self.rules[place].name
        return f"rule {place + 1}" + (f" ({name})" if name else "")
