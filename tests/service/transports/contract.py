"""What every transport has to do: of each run that the rules want there is one reconstruction, once.

All runs are sent in one go, and what has become of them is looked at when the last one has arrived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import event_model
import pytest

from callbacks.rule_file import parse_rules
from tests.service.conftest import connected
from tests.sources.documents import Document
from tests.sources.facility_runs import fly_run, fxi_fly_run, hex_runs, htss_run
from tomoservice.client import Job, Tomo
from tomoservice.errors import CatalogError
from tomoservice.recipe import parse_recipe, shipped_recipe
from tomoservice.service.running import RunningService

AT_4 = {"rotation_axis": {"method": "value", "value": 4.0, "tilt_deg": 0.0}}
RULES = parse_rules(
    """
rules:
- {name: references, metadata: {tomo_scanning_mode: tomo_dark_flat}, reconstruct: false}
- {name: long ones, metadata: {keep_aborted: true}, include_aborted: true, volume: virtual}
- name: facilities
  plans: [fly_scan, tomo_flyscan, tomography_scan]
  recipe: {rotation_axis: {method: value, value: 4.0, tilt_deg: 0.0}}
  volume: virtual
- {name: all scans, volume: virtual}
"""
)
DEFAULT, OWN = shipped_recipe("default").hash, parse_recipe(AT_4).hash
ARRIVE_S = 100.0


@dataclass(frozen=True)
class Scenario:
    """What is sent, and what has to become of it."""

    docs: Sequence[Document]
    expected: Mapping[str, list[str]]
    """Hashes of the recipes of the reconstructions of each run."""
    shape: tuple[int, int, int] | None = None
    """Of the volume of the last run, if it is to be readable."""


@dataclass
class Outcome:
    """What has become of it."""

    recipes: dict[str, list[str | None]] = field(default_factory=dict)
    events: dict[str, list[float]] = field(default_factory=dict)
    volume: str = ""
    """Shape of the volume, or why there is none."""


def numbers(plan: str = "tomo_scan", *, status: str = "success", **start: Any) -> list[Document]:
    """Return a run without files."""
    run = event_model.compose_run(metadata={"plan_name": plan, "tomo": {"pixel_size_um": 1.0}, **start})
    keys = {"x": {"source": "test", "dtype": "number", "shape": []}}
    bundle = run.compose_descriptor(name="primary", data_keys=keys)
    events = [("event", dict(bundle.compose_event(data={"x": n}, timestamps={"x": 0.0}))) for n in range(3)]
    return [
        ("start", dict(run.start_doc)),
        ("descriptor", dict(bundle.descriptor_doc)),
        *events,
        ("stop", dict(run.compose_stop(exit_status=status))),
    ]


def uid_of(docs: Sequence[Document]) -> str:
    return str(next(doc["uid"] for name, doc in docs if name == "start"))


def one_run(docs: Sequence[Document], *recipes: str) -> Scenario:
    return Scenario(docs, {uid_of(docs): list(recipes)})


def twice() -> Scenario:
    docs = numbers()
    # Each document at once again, and all of them once more when the run has ended.
    return Scenario([*(doc for doc in docs for _ in range(2)), *docs], {uid_of(docs): [DEFAULT]})


def another_order() -> Scenario:
    start, descriptor, *events, stop = numbers()
    return one_run([start, descriptor, *reversed(events), stop], DEFAULT)


def interleaved() -> Scenario:
    one, other = numbers(), numbers(tomo={"recipe": AT_4})
    mixed = [doc for pair in zip(one, other, strict=True) for doc in pair]
    return Scenario(mixed, {uid_of(one): [DEFAULT], uid_of(other): [OWN]})


def no_scan() -> Scenario:
    run = event_model.compose_run(metadata={"plan_name": "count"})
    return one_run([("start", dict(run.start_doc)), ("stop", dict(run.compose_stop()))])


SHAPE = (6, 9, 9)
"""Of what becomes of facilities' runs: six rows, nine columns."""


def facility(
    scan: Sequence[Document],
    recipe: str,
    *references: Sequence[Document],
) -> Scenario:
    expected = {**{uid_of(run): [] for run in references}, uid_of(scan): [recipe]}
    docs = [doc for run in references for doc in run]
    return Scenario([*docs, *scan], expected, SHAPE)


def hex_scan(folder: Path) -> Scenario:
    references, scan, _ = hex_runs(folder)
    return facility(list(scan.close()), OWN, list(references.close()))


Scenarios = Mapping[str, Callable[[Path], Scenario]]
NUMBERS: Scenarios = {
    "normal": lambda _: one_run(numbers(), DEFAULT),
    "own recipe": lambda _: one_run(numbers(tomo={"recipe": AT_4}), OWN),
    "plan says no": lambda _: one_run(numbers(tomo={"reconstruct": False})),
    "no scan": lambda _: no_scan(),
    "aborted": lambda _: one_run(numbers(status="abort")),
    "aborted but wanted": lambda _: one_run(numbers(status="abort", keep_aborted=True), DEFAULT),
    "killed": lambda _: one_run(numbers()[:-1]),
    "twice": lambda _: twice(),
    "another order": lambda _: another_order(),
    "interleaved": lambda _: interleaved(),
}
FILES: Scenarios = {
    "own fly scan": lambda folder: facility(list(fly_run(folder)[0].close()), DEFAULT),
    "flats last": lambda folder: facility(list(fly_run(folder, flats_last=True)[0].close()), DEFAULT),
    "FXI": lambda folder: facility(list(fxi_fly_run(folder)[0].close()), OWN),
    "HEX, flats in another run": hex_scan,
    "HTSS": lambda folder: facility(list(htss_run(folder)[0].close()), OWN),
}
Send = Callable[[Sequence[Document]], None]
Outcomes = Mapping[str, tuple[Scenario, Outcome]]


def send_all(send: Send, service: RunningService, scenarios: Scenarios) -> Outcomes:
    """Send every scenario, wait until the last has had its effect, and return what has become of them."""
    folder = service.data.parent / "raw"
    made = {name: make(folder) for name, make in scenarios.items()}
    last = numbers()
    for scenario in made.values():
        send(scenario.docs)
    send(last)
    with connected(service) as tomo:
        expected = {uid for one in made.values() for uid, found in one.expected.items() if found}
        # What must not come has had its time when the last one is there.
        for uid in (*expected, uid_of(last)):
            wait_for_reconstruction(tomo, uid)
        return {name: (scenario, look(tomo, scenario)) for name, scenario in made.items()}


def wait_for_reconstruction(tomo: Tomo, uid: str) -> None:
    deadline = time.monotonic() + ARRIVE_S
    while not tomo.reconstructions(uid):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.25)


def look(tomo: Tomo, scenario: Scenario) -> Outcome:
    outcome = Outcome()
    for uid in scenario.expected:
        jobs = tomo.reconstructions(uid)
        outcome.recipes[uid] = [job.record.metadata.recipe_hash for job in jobs]
        if scenario.shape is not None and jobs:
            outcome.volume = shape_of(jobs[0])
        elif jobs:
            outcome.events[uid] = sorted(tomo.raw[uid]["primary"]["x"].read())
    return outcome


def shape_of(job: Job) -> str:
    try:
        return str(job.volume.shape)
    except CatalogError as error:
        return str(error)


class TransportContract:
    """To be inherited, in a module with a fixture `send` of the scope of a class."""

    scenarios: Scenarios = NUMBERS

    @pytest.fixture(scope="class")
    @classmethod
    def outcomes(cls, send: Send, quiet_service: RunningService) -> Outcomes:
        return send_all(send, quiet_service, cls.scenarios)

    @pytest.fixture(params=list(NUMBERS))
    def outcome(self, request: pytest.FixtureRequest, outcomes: Outcomes) -> tuple[Scenario, Outcome]:
        return outcomes[request.param]

    def test_each_run_is_reconstructed_once_and_by_its_recipe(
        self, outcome: tuple[Scenario, Outcome]
    ) -> None:
        scenario, found = outcome
        assert found.recipes == scenario.expected
        for values in found.events.values():
            assert values == [0, 1, 2]
        if scenario.shape is not None:
            assert found.volume == str(scenario.shape)


class FacilityContract(TransportContract):
    """The same with runs of facilities, which have files."""

    scenarios = FILES

    @pytest.fixture(params=list(FILES))
    def outcome(self, request: pytest.FixtureRequest, outcomes: Outcomes) -> tuple[Scenario, Outcome]:
        return outcomes[request.param]
