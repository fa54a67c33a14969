"""What the service stands on, taken away for a while: database, disk, raw files, memory."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.disturbing import LONGEST_S, SLABS, Patient
from tests.faults.postgres import own_postgres
from tests.faults.saboteur import starve
from tests.faults.site import INSTANTS, running_site, wait_until
from tests.faults.table import FaultTable

RESTARTS = max(INSTANTS // 4, 1)
OUTAGE_S = 4.0
DISK = "160m"
"""Of the disk that is filled: room for two volumes and the catalogue."""

pytestmark = pytest.mark.long
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


def test_a_database_that_restarts(tmp_path: Path, table: FaultTable, chance: random.Random) -> None:
    with (
        own_postgres() as postgres,
        running_site(tmp_path / "site", service={"database": postgres.uri}) as site,
        Patient.examined(site) as patient,
    ):
        for fault, outage_s in (("restart of the database", 0.0), ("database away for 4 s", OUTAGE_S)):
            with table.row(fault) as row:
                for _ in range(RESTARTS):
                    treatment = patient.ask()
                    time.sleep(chance.uniform(0, patient.seconds))
                    postgres.stop()
                    treatment.examine()
                    time.sleep(outage_s)
                    postgres.start()
                    treatment.follow()
                    row.again.append(treatment.again)
        assert site.restart_dead() == []


@as_root
def test_a_full_disk(tmp_path: Path, table: FaultTable) -> None:
    with (
        table.row("disk of volumes and catalogue full") as row,
        small_disk(tmp_path / "disk") as disk,
        running_site(tmp_path / "site", data=disk / "data") as site,
        Patient.examined(site) as patient,
    ):
        treatment = patient.ask()
        treatment.wait_for_slabs(3)
        fill(disk / "ballast")
        # Neither slabs can be written nor that it has failed.
        assert wait_until(LONGEST_S, lambda: "No space left on device" in site.log("conductor"))
        treatment.examine()
        (disk / "ballast").unlink()
        assert wait_until(LONGEST_S, lambda: treatment.state() == "failed")
        assert "No space left on device" in treatment.message()
        patient.job(treatment).queue_again()
        treatment.follow()
        row.again.append(treatment.again)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of `DISK` bytes."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(ballast: Path) -> None:
    """Write until there is no room left."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**16))


def test_a_raw_file_that_is_away_for_a_while(patient: Patient, table: FaultTable) -> None:
    with table.row("raw file away for 4 s, while a worker starts") as row:
        raw = patient.site.raw / f"{patient.uid}_primary.h5"
        treatment = patient.ask()
        treatment.wait_for_slabs(3)
        raw.rename(raw.with_suffix(".away"))
        # Whoever has it open goes on reading.
        patient.site.kill("worker-0")
        treatment.examine()
        try:
            # It names the file; between two tries it says what is tried.
            assert wait_until(LONGEST_S, lambda: is_waited_for(raw, treatment.stage()))
            time.sleep(OUTAGE_S)
        finally:
            raw.with_suffix(".away").rename(raw)
        treatment.follow()
        row.again.append(treatment.again)


def is_waited_for(raw: Path, stage: str) -> bool:
    return stage.startswith("waiting: reading") and raw.name in stage


@as_root
def test_a_worker_that_sees_no_raw_files_reads_through_the_service(
    patient: Patient, table: FaultTable
) -> None:
    with table.row("raw files invisible to the worker") as row:
        patient.site.stop_one("worker-0")
        patient.site.start("blind-0")
        try:
            treatment = patient.ask()
            treatment.follow()
            row.again.append(treatment.again)
            # Whoever sees them has looked at them: the conductor.
            files = patient.site.raw.glob(f"{patient.uid}_*.h5")
            seen = {file["path"]: file["sha256"] for file in treatment.raw_files()}
            assert seen == {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
            # It was not the worker that read them.
            assert treatment.provenance()["scan"]["files"] == []
        finally:
            patient.site.stop_one("blind-0")
            patient.site.start("worker-0")


@as_root
def test_a_worker_that_sees_no_raw_files_goes_on_where_one_that_saw_them_stopped(
    patient: Patient, table: FaultTable
) -> None:
    with table.row("raw files invisible to who goes on") as row:
        treatment = patient.ask()
        treatment.wait_for_slabs(3)
        # At once, before it has finished everything.
        patient.site.kill("worker-0")
        patient.site.stop_one("worker-0")
        try:
            # Whatever exists now stays.
            treatment.examine()
            assert len(treatment.kept) < SLABS
            patient.site.start("blind-0")
            treatment.wait_for_slabs(len(treatment.kept) + 1)
        finally:
            # It alone can take the checksums of the raw files, should that still be to do.
            patient.site.start("worker-0")
        try:
            treatment.follow()
        finally:
            patient.site.stop_one("blind-0")
        row.again.append(treatment.again)


def test_a_worker_without_memory_for_a_slab(
    patient: Patient, table: FaultTable, chance: random.Random
) -> None:
    with table.row("no memory for a slab") as row:
        for _ in range(RESTARTS):
            told = patient.site.log("worker-0").count("out of memory; going on with")
            treatment = patient.ask()
            treatment.wait_for_slabs(chance.randrange(8))
            starve(patient.site.folder)
            treatment.follow()
            row.again.append(treatment.again)
            assert patient.site.log("worker-0").count("out of memory; going on with") == told + 1
