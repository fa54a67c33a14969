"""What lies on disk: swept when nobody's, counted, checked for room, and enough to make the nodes again."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import Pace, wait_for
from tests.service.scans import FOURIER, SLOW, SmallScan, reconstructed
from tomoservice import store as stores
from tomoservice.catalog.claims import Worker, try_claim
from tomoservice.catalog.nodes import ensure_container, reconstruction_spec, request_reconstruction
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotFoundError
from tomoservice.cli import run
from tomoservice.client import Job, Tomo
from tomoservice.conductor.job import store_folder
from tomoservice.conductor.loop import Conductor
from tomoservice.errors import ClaimLostError, OutputError
from tomoservice.housekeeping import sweep as sweeping
from tomoservice.housekeeping.owner import OWNER, check_own
from tomoservice.housekeeping.records import RECORD, read_record_file
from tomoservice.housekeeping.space import check_space, readable_size
from tomoservice.housekeeping.sweep import sweep
from tomoservice.pipeline import Slab
from tomoservice.recipe import parse_recipe
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings
from tomoservice.store import SlabStore, highest_attempt

OnDemand = Callable[..., tuple[Any, SlabStore]]
AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}
DAY_S = 86400.0


@pytest.fixture
def volumes(quiet_service: RunningService) -> Iterator[Path]:
    """The folder of volumes, with nothing of other tests in it."""
    folder = quiet_service.data / "volumes"

    def clear() -> None:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    clear()
    yield folder
    clear()


def make_old(folder: Path, seconds: float = 2 * DAY_S) -> None:
    then = time.time() - seconds
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (then, then))
    os.utime(folder, (then, then))


@dataclass(frozen=True)
class House:
    """Volumes, and who makes them."""

    tomo: Tomo
    conductor: Conductor
    settings: Settings
    service: RunningService

    def done(self, uid: str) -> tuple[Job, Path]:
        """Return a reconstruction that is done, and its folder."""
        job = self.tomo.reconstruct(uid, AT_15_5)
        assert self.conductor.step()
        return job.wait(5), store_folder(self.settings, job.record)

    def another_conductor(self) -> Conductor:
        """Return one more: the first works no more once it was stopped."""
        service = self.service
        return Conductor(service.uri, service.api_key, self.settings)

    def command(self, *arguments: str) -> int:
        """Run a command on this service and these volumes."""
        return run([*arguments, "--data", str(self.settings.data_folder)])


@pytest.fixture
def house(tomo: Tomo, conductor: Conductor, settings: Settings, quiet_service: RunningService) -> House:
    return House(tomo, conductor, settings, quiet_service)


def test_what_was_deleted_is_swept_when_it_is_old_and_what_is_somebodys_stays(
    house: House, publish_run: Callable[..., str], volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tomo, settings, uid = house.tomo, house.settings, publish_run()
    kept, kept_folder = house.done(uid)
    deleted, folder = house.done(uid)
    deleted.delete()
    # What somebody else keeps there is none of ours.
    for foreign in (volumes / uid / "notes", volumes / "mine", volumes / uid / ".hidden"):
        foreign.mkdir()
        (foreign / "text").write_text("x")
    (volumes / uid / "link").symlink_to(kept_folder)
    make_old(volumes)
    # Somebody still writes into it, as far as one can tell.
    (folder / "slabs" / "000009.tmp").touch()
    assert sweep(tomo.root, settings) == []
    make_old(folder)
    [would] = sweep(tomo.root, settings, dry_run=True)
    assert (would.path, would.reason) == (folder, "no node belongs to it")
    assert would.size_bytes > 16 * 32 * 32
    assert folder.exists()

    assert house.command("gc", "--dry-run") == 0
    assert "would be removed" in capsys.readouterr().out
    # The first sweep at idle time does it.
    house.conductor._sweep_if_due()
    assert not folder.exists()
    assert np.array_equal(kept.volume[:], reconstructed(SmallScan(), AT_15_5))
    assert sorted(path.name for path in (volumes / uid).iterdir()) == sorted(
        [".hidden", "link", "notes", kept_folder.name]
    )
    kept.delete()
    assert house.command("gc", "--age", "0") == 0
    assert "no node belongs to it" in capsys.readouterr().out
    assert not kept_folder.exists()


def test_a_node_that_comes_back_while_its_folder_is_swept_keeps_it(
    tomo: Tomo, settings: Settings, volumes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SlabStore.create(volumes / "run-of-sweeps" / "again", (4, 8, 8), (4, 8, 8))
    store.commit(Slab(0, 0, 4), np.ones((4, 8, 8), np.float32))
    rename = Path.rename

    def late(path: Path, target: Path) -> Path:
        if path == store.folder:
            ensure_container(ensure_container(tomo.root["processed"], "run-of-sweeps"), "again")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    assert sweep(tomo.root, settings, age_s=0) == []
    assert SlabStore.open(store.folder).present() == {0}


def test_what_died_writers_left_goes(tomo: Tomo, settings: Settings, volumes: Path) -> None:
    run_node = ensure_container(tomo.root["processed"], "run-of-drafts")
    ensure_container(run_node, "mine")
    store = SlabStore.create(volumes / "run-of-drafts" / "mine", (4, 8, 8), (4, 8, 8))
    store.commit(Slab(0, 0, 4), np.ones((4, 8, 8), np.float32))
    (store.folder / ".volume.zarr.abc" / "c").mkdir(parents=True)
    (store.folder / "slabs" / "000001.abc.part").touch()
    (store.folder / "identity.abc.part").touch()
    (store.folder / ".discarded-abc").mkdir()
    interrupted = [volumes / "run-of-drafts" / name for name in (".removing-abc", ".mine.abc.stale")]
    for folder in interrupted:
        folder.mkdir()
    assert sweep(tomo.root, settings) == []
    make_old(volumes)
    assert len(sweep(tomo.root, settings)) == 6
    assert sorted(path.name for path in store.folder.iterdir()) == ["attempts", "slabs", "volume.zarr"]
    assert store.present() == {0}
    assert not any(folder.exists() for folder in interrupted)


def test_what_is_being_written_stays_whatever_the_age(
    tomo: Tomo, settings: Settings, volumes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_container(ensure_container(tomo.root["processed"], "run-of-writers"), "mine")
    store = SlabStore.create(volumes / "run-of-writers" / "mine", (4, 8, 8), (4, 8, 8))
    replace = Path.replace

    def late(draft: Path, target: Path) -> Path:
        assert sweep(tomo.root, settings, age_s=0) == []
        return replace(draft, target)

    monkeypatch.setattr(Path, "replace", late)
    store.commit(Slab(0, 0, 4), np.ones((4, 8, 8), np.float32))
    assert store.present() == {0}


def limited(settings: Settings, quota_bytes: int) -> Settings:
    """Return settings with a quota for what is computed on demand."""
    housekeeping = settings.housekeeping.model_copy(update={"virtual_quota_bytes": quota_bytes})
    return settings.model_copy(update={"housekeeping": housekeeping})


@pytest.fixture
def on_demand(tomo: Tomo, volumes: Path, publish_run: Callable[..., str]) -> OnDemand:
    """Make volumes of one slab, untouched for some time."""
    # Of a run that is there: otherwise the service fails what is virtual.
    uid = publish_run()
    rng = np.random.default_rng(1)

    def make(name: str, seconds: float, state: str = "virtual") -> tuple[Any, SlabStore]:
        metadata = {"recipe": AT_15_5, "status": {"state": state}}
        run_node = ensure_container(tomo.root["processed"], uid)
        node = run_node.create_container(name, metadata=metadata, specs=[reconstruction_spec()])
        store = SlabStore.create(volumes / uid / name, (4, 64, 64), (4, 64, 64), attempt=0)
        store.keep_only("mine")
        store.commit(Slab(0, 0, 4), rng.random((4, 64, 64), np.float32))
        make_old(store.folder, seconds)
        return node, store

    return make


def test_volumes_on_demand_beyond_their_quota_go_oldest_first(
    tomo: Tomo, settings: Settings, on_demand: OnDemand
) -> None:
    stores = {
        name: on_demand(name, 100.0 * (age + 1), "queued" if name == "queued" else "virtual")[1]
        for age, name in enumerate(("new", "used", "old", "queued"))
    }
    os.utime(stores["used"].folder)
    size = sweeping._size(stores["new"].folder)
    some = limited(settings, 2 * size + 500)
    [swept] = sweep(tomo.root, some, dry_run=True)
    assert swept.path == stores["old"].folder
    sweep(tomo.root, some)
    assert {name for name, store in stores.items() if store.present()} == {"new", "used", "queued"}
    # Whatever version of the engine fills it next.
    assert stores["old"].identity is None
    sweep(tomo.root, limited(settings, 0))
    # One is being looked at, the other is not virtual.
    assert {name for name, store in stores.items() if store.present()} == {"used", "queued"}


def test_what_changes_while_others_are_measured_is_not_discarded(
    tomo: Tomo,
    settings: Settings,
    on_demand: OnDemand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    idle, looked_at, wanted = (on_demand(name, 3600.0) for name in ("idle", "looked-at", "wanted"))
    size = sweeping._size
    measured: list[Path] = []

    def slow(folder: Path) -> int:
        measured.append(folder)
        if len(measured) == 3:
            (looked_at[1].folder / "slabs" / "more").touch()
            wanted[0].update_metadata({"status": {"state": "queued"}})
        return size(folder)

    monkeypatch.setattr(sweeping, "_size", slow)
    [swept] = sweep(tomo.root, limited(settings, 0))
    assert swept.path == idle[1].folder
    assert [one[1].present() for one in (idle, looked_at, wanted)] == [set(), {0}, {0}]


def test_a_slab_that_is_written_while_its_volume_is_emptied_is_whole_or_absent(
    tomo: Tomo,
    settings: Settings,
    on_demand: OnDemand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node, store = on_demand("mine", 3600.0)
    marker = store.folder / "slabs" / "000000.json"
    text = marker.read_text(encoding="ascii")
    write_layer, discard = stores.write_layer, SlabStore.discard

    def swept_meanwhile(*arguments: Any, **options: Any) -> None:
        write_layer(*arguments, **options)
        make_old(store.folder)
        sweep(tomo.root, limited(settings, 0))

    monkeypatch.setattr(stores, "write_layer", swept_meanwhile)
    with pytest.raises(ClaimLostError):
        store.commit(Slab(0, 0, 4), np.ones((4, 64, 64), np.float32))
    monkeypatch.setattr(stores, "write_layer", write_layer)
    assert store.present() == set()

    again = SlabStore.open(store.folder, attempt=highest_attempt(store.folder))
    again.belong_to("mine")
    again.commit(Slab(0, 0, 4), np.ones((4, 64, 64), np.float32))
    make_old(store.folder)
    late: list[threading.Timer] = []

    def marked_too_late(emptied: SlabStore, indices: Any) -> None:
        discard(emptied, indices)
        if not late:
            late.append(threading.Timer(0.1, marker.write_text, (text, "ascii")))
            late[0].start()

    monkeypatch.setattr(SlabStore, "discard", marked_too_late)
    sweep(tomo.root, limited(settings, 0))
    late[0].join()
    assert store.present() == set()
    # A conductor's claim comes after all that.
    claim = try_claim(node.refresh(), Worker(), 5.0)
    assert claim is not None
    assert claim.attempt > highest_attempt(store.folder)


def test_a_new_catalogue_does_not_sweep_the_volumes_of_another(
    tomo: Tomo, settings: Settings, volumes: Path, caplog: pytest.LogCaptureFixture, conductor: Conductor
) -> None:
    check_own(tomo.root, volumes)
    check_own(tomo.root, volumes)
    (volumes / OWNER).write_text("another\n")
    store = SlabStore.create(volumes / "run-of-old" / "mine", (4, 8, 8), (4, 8, 8))
    with pytest.raises(OutputError, match="belongs to another catalogue"):
        sweep(tomo.root, settings, age_s=0)
    conductor.step()
    conductor._sweep_if_due()
    assert "nothing is swept" in caplog.text
    assert store.folder.exists()


def test_no_reconstruction_begins_that_does_not_fit(
    tomo: Tomo, publish_run: Callable[..., str], settings: Settings, quiet_service: RunningService
) -> None:
    reserve = shutil.disk_usage(quiet_service.data).free * 2
    greedy = settings.model_copy(
        update={"housekeeping": settings.housekeeping.model_copy(update={"reserve_bytes": reserve})}
    )
    conductor = Conductor(quiet_service.uri, quiet_service.api_key, greedy)
    job = tomo.reconstruct(publish_run(), AT_15_5)
    assert conductor.step()
    conductor.close()
    assert job.state is State.FAILED
    for part in (
        "not enough room",
        "it takes up to 64 KiB",
        "are free",
        readable_size(reserve),
        "gc --age 0",
    ):
        assert part in job.status.message
    check_space(settings.volumes_folder / "not" / "yet", 1, 0)


def test_the_catalogue_is_made_again_from_what_lies_on_disk(
    house: House, publish_run: Callable[..., str], volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tomo, uid = house.tomo, publish_run()
    whole, _ = house.done(uid)
    part, part_folder = house.done(uid)
    stolen, stolen_folder = house.done(uid)
    before = {job.path: job.record.metadata.model_dump() for job in (whole, part)}
    of_volume = dict(whole.volume.metadata)
    volume = whole.volume[:]
    record = read_record_file(part_folder)
    assert record is not None
    assert record.state is State.DONE
    SlabStore.open(part_folder).discard([0])
    (stolen_folder / RECORD).write_bytes((part_folder / RECORD).read_bytes())
    tomo.root["processed", uid].delete(recursive=True, external_only=False)
    (volumes / OWNER).write_text("the catalogue that was lost\n")

    assert house.command("catalog", "rebuild", "--dry-run") == 0
    assert "2 would be made, 1 left alone" in capsys.readouterr().out
    with pytest.raises(NotFoundError):
        _ = whole.state
    assert house.command("catalog", "rebuild") == 0
    told = capsys.readouterr().out
    assert f"{whole.path}  done" in told
    assert f"{part.path}  cancelled" in told
    assert f"{stolen.path}  left alone: no record that belongs to this folder" in told

    again = {path: Job(tomo.root[path]) for path in before}
    assert again[whole.path].state is State.DONE
    assert np.array_equal(again[whole.path].volume[:], volume)
    assert without_tables(dict(again[whole.path].volume.metadata)) == without_tables(of_volume)
    for path, job in again.items():
        now = job.record.metadata.model_dump()
        for key in (*before[path], "provenance", "geometry"):
            # What it was before anything followed; a conductor looks after that.
            if key not in ("status", "quality", "pyramid"):
                assert now[key] == before[path][key], key
    assert house.command("catalog", "rebuild") == 0
    assert "0 were made, 1 left alone" in capsys.readouterr().out
    # What was incomplete goes on where it was.
    again[part.path].queue_again()
    assert house.conductor.step()
    assert np.array_equal(again[part.path].wait(5).volume[:], volume)
    # So do the tables of what was complete, which were gone with the catalogue.
    assert "quality" not in list(again[whole.path].node)
    assert house.conductor.step()
    assert "references" in list(again[whole.path].node["quality"])
    assert sweep(tomo.root, house.settings) == []


def test_a_rerun_is_still_compared_after_the_catalogue_was_lost(
    house: House, publish_run: Callable[..., str], volumes: Path
) -> None:
    tomo, uid = house.tomo, publish_run()
    first, _ = house.done(uid)
    again = tomo.rerun(first)
    assert house.conductor.step()
    before = again.wait(5).record.metadata.rerun_of
    assert before is not None
    tomo.root["processed", uid].delete(recursive=True, external_only=False)
    assert house.command("catalog", "rebuild") == 0
    made = Job(tomo.root[again.path])
    assert made.record.metadata.rerun_of == before
    comparison = made.comparison
    assert comparison is not None
    assert (comparison.path, comparison.identical) == (first.path, True)
    assert Job(tomo.root[first.path]).comparison is None


@pytest.fixture
def stopped(
    house: House, publish_run: Callable[..., str], volumes: Path, slowly: Pace
) -> tuple[Job, dict[str, Any]]:
    """A reconstruction that was stopped and kept, and what was said of its volume."""
    job = house.tomo.reconstruct(publish_run(SLOW), FOURIER)
    thread = threading.Thread(target=house.conductor.run)
    thread.start()
    folder = store_folder(house.settings, job.record)
    try:
        wait_for(lambda: (folder / "slabs").exists() and bool(SlabStore.open(folder).present()), 60)
        job.stop()
        wait_for(lambda: job.state is State.CANCELLED, 60)
    finally:
        house.conductor.stop()
        thread.join(30)
    slowly.seconds = 0.0
    return job, dict(job.node["volume"].metadata)


def lose(house: House, job: Job) -> None:
    """Lose a reconstruction's node, and make it anew from what lies on disk."""
    house.tomo.root["processed", job.record.run_uid].delete(recursive=True, external_only=False)
    assert house.command("catalog", "rebuild") == 0


def test_what_was_stopped_and_kept_is_readable_after_the_catalogue_was_lost(
    house: House, stopped: tuple[Job, dict[str, Any]], truth: np.ndarray
) -> None:
    job, of_volume = stopped
    before = job.record.metadata
    assert before.kept is not None
    assert 0 < before.kept.slabs < before.kept.slabs_total
    lose(house, job)
    again = Job(house.tomo.root[job.path])
    now = again.record.metadata
    assert again.state is State.CANCELLED
    assert now.status.message.endswith(" of 384 slices are kept, all others read as NaN")
    assert now.partial == before.partial
    assert now.model_extra == before.model_extra
    assert without_tables(dict(again.node["volume"].metadata)) == without_tables(of_volume)
    expected = np.full_like(truth, np.nan)
    for start, stop in before.kept.slices:
        expected[start:stop] = truth[start:stop]
    assert np.array_equal(again.node["volume"][:], expected, equal_nan=True)

    again.queue_again()
    conductor = house.another_conductor()
    assert conductor.step()
    conductor.close()
    assert np.array_equal(again.wait(5).volume[:], truth)
    assert again.record.metadata.partial is None


def test_what_is_kept_is_not_said_of_other_slabs(house: House, stopped: tuple[Job, dict[str, Any]]) -> None:
    job, _ = stopped
    store = SlabStore.open(store_folder(house.settings, job.record))
    store.discard(sorted(store.present())[:1])
    lose(house, job)
    again = Job(house.tomo.root[job.path])
    assert (again.state, again.kept) == (State.CANCELLED, None)
    assert "partial" not in again.node.metadata


def test_a_node_under_the_key_of_a_deleted_one_gets_its_own_pixels_and_keeps_the_folder(
    house: House, publish_run: Callable[..., str], volumes: Path
) -> None:
    tomo, uid = house.tomo, publish_run()
    first, folder = house.done(uid)
    key = first.record.reconstruction_id
    first.delete()
    other = {"rotation_axis": {"method": "value", "value": 14.0}}
    request_reconstruction(tomo.root, uid, parse_recipe(other), reconstruction_id=key)
    make_old(volumes)
    assert sweep(tomo.root, house.settings, age_s=0) == []
    assert folder.exists()
    assert house.conductor.step()
    second = Job(tomo.root["processed", uid, key]).wait(5)
    assert np.array_equal(second.volume[:], reconstructed(SmallScan(), other))
    record = read_record_file(folder)
    assert record is not None
    assert record.metadata["recipe"]["rotation_axis"]["value"] == 14.0
    second.delete()
    assert [swept.path for swept in sweep(tomo.root, house.settings, age_s=0)] == [folder]


def without_tables(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if value is not None}


def test_gc_must_know_where_the_service_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gc", "--data", str(tmp_path)]) == 2
    assert "no service runs in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1536, "1.5 KiB"), (2.5 * 2**40, "2.5 TiB"), (2**50, "1024 TiB")]
)
def test_sizes_are_readable(size: float, text: str) -> None:
    assert readable_size(size) == text
