"""What is said about batches over HTTP: requests and answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, Field

from tomoservice.catalog.batch_records import MOST_ITEMS, MOST_RECIPES
from tomoservice.catalog.batch_standing import BatchState
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.states import State
from tomoservice.service.models import Answer, Asked, ProgressAnswer

EXAMPLE_RUNS = ("0b4d6b1e-6c1d-4f7e-9a53-0d2a3c1f7e11", "7c1f2a90-13be-4a5c-8a0b-52c8d9e0f3a2")


class BatchRequest(Asked):
    """A batch to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "runs": [*EXAMPLE_RUNS],
                "recipes": [{"rotation_axis": {"method": "auto"}}],
                "name": "night",
                "priority": "background",
            }
        }
    )

    id: str | None = None
    """Key of the batch; asking for the same twice makes one. Without it, the service chooses one."""
    runs: list[str] = Field(max_length=MOST_ITEMS)
    """Uids of the runs, each once."""
    recipes: list[dict[str, Any]] = Field([{}], min_length=1, max_length=MOST_RECIPES)
    """Recipes, by each of which every run is reconstructed; what they leave out is default."""
    name: str = ""
    """What people call it."""
    priority: JobPriority = JobPriority.BACKGROUND
    """How urgent it is: `background`, or `normal`."""


class AdditionRequest(Asked):
    """What is to be added to a batch."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"runs": [EXAMPLE_RUNS[0]], "recipes": [{"rotation_axis": {"method": "auto"}}]}
        }
    )

    runs: list[str] = Field(max_length=MOST_ITEMS)
    """Uids of the runs, each once."""
    recipes: list[dict[str, Any]] | None = Field(None, min_length=1, max_length=MOST_RECIPES)
    """Recipes, by each of which every run is reconstructed; without any, those that the batch began with."""


class OrderRequest(Asked):
    """The order of a batch's items."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [7, 3]}})

    items: list[int] = Field(max_length=MOST_ITEMS)
    """Numbers of items that come first, in this order; all others follow as they stood."""


class SummaryAnswer(Answer):
    """How a batch went, as far as it has. In a list of batches, only how many items are in which state."""

    items: int
    """How many items there are."""
    counts: dict[str, int]
    """How many in each state; `waiting`: the service has still to make them."""
    seconds: float | None = None
    """From the beginning of the first item that is done to the end of the last one.

    What was added when everything else was done counts from its own beginning."""
    computing_s: float = 0.0
    """What the items took that are done, together."""
    seconds_left: float | None = None
    """Estimate, by what those took that are done; null while there is nothing to base it on."""
    slices: int = 0
    """Slices of all volumes that are done."""
    slices_per_s: float | None = None
    """Slices for every one of these seconds."""
    messages: dict[int, str] = Field(default_factory=dict)
    """Of items that failed or were cancelled: why."""


class ItemAnswer(Answer):
    """An item of a batch."""

    number: int
    """From 1, by which it is moved."""
    run_uid: str
    """Run that is reconstructed."""
    id: str
    """Key of the reconstruction."""
    path: str
    """Path of its node in Tiled."""
    recipe: str
    """What its recipe is called."""
    state: State | None = None
    """Where it stands; null before the service has made it."""
    message: str = ""
    """What a user should know."""
    seconds: float | None = None
    """How long it took, if it is done."""
    progress: ProgressAnswer | None = None
    """How far it is, while it is being computed."""


class BatchAnswer(Answer):
    """A batch, as it stands in a list."""

    id: str
    """Key of the batch."""
    name: str = ""
    """What people call it."""
    state: BatchState
    """Where it stands as a whole."""
    message: str = ""
    """Why the service does not make its items."""
    priority: JobPriority
    """How urgent its items were when they were asked for."""
    requested_by: str = ""
    """Who asked for it."""
    requested_at: float = 0.0
    """When, in seconds since 1970."""
    takes_more: bool = True
    """Whether anything can be added: it was not cancelled, stopped or refused."""
    summary: SummaryAnswer
    """How it went, as far as it has."""


class BatchDetail(BatchAnswer):
    """A batch with its items."""

    recipes: list[dict[str, Any]]
    """The recipes of its items, each once."""
    items: list[ItemAnswer]
    """Its items in the order in which they are worked on."""


class BatchPage(Answer):
    """Batches, a page at a time."""

    batches: list[BatchAnswer]
    """The newest first."""
    total: int
    """How many there are."""


class BatchAction(StrEnum):
    """What is to be done with a batch."""

    CANCEL = "cancel"
    """End everything that is not finished."""
    STOP = "stop"
    """Likewise, and keep what there is of the volumes readable."""
    PAUSE = "pause"
    """Begin no item, and put aside what is being computed."""
    RESUME = "resume"
    """Go on."""
    RETRY = "retry"
    """Queue what failed again; if the batch was ended, also what this ended."""
