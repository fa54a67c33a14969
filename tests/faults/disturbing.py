"""One reconstruction after the other, each disturbed once, and all that has to hold afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tomoservice
from tests.faults.saboteur import begun
from tests.faults.site import IN_HAND, KEY, THREADS, Site, wait_until
from tests.service.scans import SLOW_RECIPE, SmallScan, documents, publish, reconstructed
from tomoservice.client import Job, Tomo
from tomoservice.errors import OutputError
from tomoservice.store import SlabStore

SCAN = SmallScan(
    columns=96, rows=1024, angles=160, rotation_axis=47.5, half_axes=(30.0, 20.0), attenuation=0.01
)
SLABS = 16
"""Of `SCAN`, some tenths of a second each."""
IN_FLIGHT = THREADS * IN_HAND
"""Slabs of a worker that are begun and not yet marked, at most."""
LONGEST_S = 300.0
"""After a disturbance, until everything is done."""
GOOD = ("queued", "running", "done")
"""What the state may say of a reconstruction that somebody is going to finish."""


@dataclass
class Patient:
    """An installation, a scan in it, and the truth about its volume."""

    site: Site
    tomo: Tomo
    uid: str
    truth: NDArray[np.float32]
    checksum: str = ""
    """Of the undisturbed volume."""
    seconds: float = 0.0
    """How long it took, to the end of what follows."""
    notes: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def examined(cls, site: Site) -> Iterator[Patient]:
        """Publish the scan and reconstruct it once undisturbed, which has to give the truth."""
        with tomoservice.connect(site.uri, KEY) as tomo:
            uid = publish(tomo.raw, documents(SCAN, site.raw))
            patient = cls(site, tomo, uid, reconstructed(SCAN, SLOW_RECIPE))
            # The first time, workers import and compile.
            patient.undisturbed()
            patient.undisturbed()
            yield patient

    def undisturbed(self) -> None:
        """Reconstruct, and take the time."""
        began = time.monotonic()
        treatment = self.ask()
        treatment.follow()
        self.seconds = time.monotonic() - began
        assert treatment.again == 0
        self.checksum = treatment.store().checksum()

    def ask(self) -> Treatment:
        """Queue a reconstruction."""
        before = begun(self.site.folder)
        node = self.tomo.reconstruct(self.uid, SLOW_RECIPE)
        return Treatment(self, node.path, before)

    def job(self, treatment: Treatment) -> Job:
        """Return what a user has in hand of a reconstruction."""
        return Job(self.tomo.root[treatment.path])


@dataclass
class Treatment:
    """One reconstruction that is disturbed."""

    patient: Patient
    path: str
    before: int
    """How often workers had begun to compute a slab before."""
    kept: dict[str, bytes] = field(default_factory=dict)
    """Markers that existed when it was disturbed."""
    seen: list[str] = field(default_factory=list)
    """States, in order."""

    @property
    def folder(self) -> Path:
        """Folder of the store."""
        return self.patient.site.data / "volumes" / Path(*self.path.split("/")[1:])

    def store(self) -> SlabStore:
        """Return the store, for reading."""
        return SlabStore.open(self.folder)

    def markers(self) -> dict[str, bytes]:
        """Return the markers that exist."""
        return {file.name: file.read_bytes() for file in (self.folder / "slabs").glob("*.json")}

    @property
    def again(self) -> int:
        """Slabs that have been begun more than once."""
        return begun(self.patient.site.folder) - self.before - SLABS

    def state(self) -> str | None:
        """Return the state as anybody sees it; None if the service does not answer."""
        metadata = self.patient.site.metadata(self.path)
        return None if metadata is None else str(metadata["status"]["state"])

    def message(self) -> str:
        """Return what the state says."""
        metadata = self.patient.site.metadata(self.path)
        return "" if metadata is None else str(metadata["status"]["message"])

    def stage(self) -> str:
        """Return what is said to be done at present."""
        return str((self.patient.site.metadata(f"{self.path}/progress") or {}).get("stage", ""))

    def raw_files(self) -> list[Any]:
        """Return the raw files, with their checksums."""
        found: list[Any] = self.provenance()["raw_files"]
        return found

    def provenance(self) -> dict[str, Any]:
        """Return how the volume was made."""
        metadata = self.patient.site.metadata(self.path)
        assert metadata is not None
        found: dict[str, Any] = metadata["provenance"]
        return found

    def wait_for_slabs(self, count: int = 1) -> None:
        """Return when so many slabs exist."""
        assert wait_until(LONGEST_S, lambda: len(self.markers()) >= count), self.patient.site.log("conductor")

    def examine(self) -> None:
        """Look at what is on disk right after a disturbance: what exists is right, and nothing is half."""
        self.kept = self.markers()
        try:
            store = self.store()
        except OutputError:
            # Nothing had been created.
            assert not self.kept
            return
        assert store.broken() == set()
        pixels = store.array[:]
        there = ~np.isnan(pixels)
        assert np.array_equal(pixels[there], self.patient.truth[there])

    def follow(self, disturb: Callable[[], Any] | None = None, *, seconds: float = LONGEST_S) -> None:
        """Return when the volume and what follows are complete; meanwhile, whatever is said has to be true.

        Parameters
        ----------
        disturb
            Called all the time, to start again what has died.
        """
        assert wait_until(seconds, lambda: self._step(disturb)), (
            f"not complete after {seconds:g} s: {self.seen}\n{self.patient.site.log('conductor')[-3000:]}"
        )
        self.check_result()

    def _step(self, disturb: Callable[[], Any] | None) -> bool:
        if disturb is not None:
            disturb()
        time.sleep(0.3)
        progress = self.patient.site.metadata(f"{self.path}/progress")
        if progress is not None:
            assert progress["slabs_done"] <= len(self.markers()), f"{progress} is more than there is"
        metadata = self.patient.site.metadata(self.path)
        if metadata is None:
            return False
        state = metadata["status"]["state"]
        if self.seen[-1:] != [state]:
            self.seen.append(state)
        assert state in GOOD, metadata["status"]
        if state != "done":
            return False
        assert len(self.markers()) == SLABS
        following = [metadata[key] for key in ("quality", "pyramid")]
        assert all(said["state"] in ("pending", "complete") for said in following), following
        return all(said["state"] == "complete" for said in following)

    def check_result(self) -> None:
        """Compare with what nothing disturbed: the volume by disk and by Tiled, the markers, the record."""
        patient, store = self.patient, self.store()
        assert np.array_equal(store.array[:], patient.truth)
        checksum = store.checksum()
        if patient.checksum:
            assert checksum == patient.checksum
        after = self.markers()
        assert {name: after[name] for name in self.kept} == self.kept, "what existed was written again"
        volume = patient.site.metadata(f"{self.path}/volume")
        assert volume is not None
        assert volume["checksum"] == checksum
        node = patient.tomo.root[self.path]
        assert np.array_equal(node["volume"][SCAN.rows // 2], patient.truth[SCAN.rows // 2])
        assert node.metadata["provenance"]["volume_checksum"] == checksum
        assert "references" in node["quality"]
        assert len(node["pyramid"]) > 1
        assert 0 <= self.again <= IN_FLIGHT, f"{self.again} slabs were computed again"
