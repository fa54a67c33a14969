"""An installation of several processes, and the table of what it survived."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disturbing import Patient
from tests.faults.site import running_site
from tests.faults.table import FaultTable

SEED = "TOMOSERVICE_TEST_SEED"
TABLE = pytest.StashKey[FaultTable]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = FaultTable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash[TABLE]
    if table.rows:
        terminalreporter.section("faults")
        for line in table.lines():
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _nothing_left_running() -> None:
    """Leave it to `running_site`: processes that are killed here are started again by the tests."""


@pytest.fixture(scope="package")
def table(request: pytest.FixtureRequest) -> FaultTable:
    return request.config.stash[TABLE]


@pytest.fixture(scope="package")
def chance(table: FaultTable) -> random.Random:
    """Where instants come from."""
    seed = int(os.environ.get(SEED, random.SystemRandom().randrange(10**6)))
    table.notes.append(f"{SEED}={seed} repeats these instants")
    return random.Random(seed)


@pytest.fixture(scope="package")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """An installation that has reconstructed once, undisturbed."""
    folder: Path = tmp_path_factory.mktemp("faults")
    with running_site(folder) as site, Patient.examined(site) as patient:
        yield patient
