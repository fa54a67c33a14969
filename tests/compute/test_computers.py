"""What every place of work must do, for threads of this process and for a Dask cluster."""

from __future__ import annotations

import pickle
import platform
import re
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError as FuturesCancelledError
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import dask
import pytest

from tests.compute import chores
from tests.compute.test_errands import IdleWatch
from tests.service.backends import WORKERS_PAGE, documented, documented_settings
from tests.service.conftest import wait_for
from tests.service.dask_processes import DOCUMENTED, documented_process, free_port
from tomoservice import errors
from tomoservice.compute.base import Computer, Priority
from tomoservice.compute.cluster import PLUGIN, DaskComputer, WorkbenchPlugin
from tomoservice.compute.launch import CLUSTER_FILE, find_cluster, local_cluster
from tomoservice.compute.local import LocalComputer
from tomoservice.compute.tasks import checksums
from tomoservice.conductor.errands import WatchedErrand
from tomoservice.conductor.watch import JobWatch
from tomoservice.errors import (
    CancelledError,
    EngineError,
    InputError,
    ServiceUnavailableError,
    WorkersDiedError,
    WorkersLostError,
)
from tomoservice.pipeline import Outline
from tomoservice.settings import ComputeSettings, TlsSettings

ONE = ComputeSettings(workers=1, threads_per_worker=1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a service whose cluster runs."""
    folder = tmp_path_factory.mktemp("cluster")
    with local_cluster(folder, ONE):
        yield folder


@pytest.fixture(params=["threads", "dask"])
def computer(request: pytest.FixtureRequest, cluster: Path) -> Iterator[Computer]:
    made: Computer
    if request.param == "threads":
        made = LocalComputer()
    else:
        made = DaskComputer(partial(find_cluster, cluster, ONE))
    with closing(made):
        yield made


def test_a_task_is_done(computer: Computer) -> None:
    told: list[str] = []
    assert computer.slots == 1
    with closing(computer.errand(Priority.NORMAL, told.append)) as errand:
        futures = [errand.submit(chores.add, number, second=number) for number in range(5)]
        assert [future.result(60) for future in futures] == [0, 2, 4, 6, 8]
        wait_for(lambda: "adding 4 and 4" in told, 10)


def test_the_scheduler_keeps_nothing_of_what_is_done(cluster: Path) -> None:
    from distributed import Client

    def kept(dask_scheduler: Any) -> tuple[int, int, int]:
        # What it has for every request, for every call, and for every kind of task.
        spans = dask_scheduler.extensions["spans"].spans
        return len(spans), len(dask_scheduler.tasks), len(dask_scheduler.task_prefixes)

    address, security = find_cluster(cluster, ONE)
    computer = DaskComputer(partial(find_cluster, cluster, ONE))
    with closing(computer), Client(address, security=security, set_as_default=False) as client:

        def compute() -> tuple[int, int, int]:
            with closing(computer.errand(Priority.NORMAL)) as errand:
                assert errand.submit(chores.add, 1, second=1).result(60) == 2
            wait_for(lambda: client.run_on_scheduler(kept)[1] == 0, 10)
            return cast("tuple[int, int, int]", client.run_on_scheduler(kept))

        first = compute()
        assert first[0] == 0
        assert [compute() for _ in range(5)] == [first] * 5


def test_a_task_says_what_a_volume_is_going_to_look_like(computer: Computer) -> None:
    watched = WatchedErrand(computer, cast("JobWatch", IdleWatch()))
    with closing(watched) as errand:
        silent = errand.begin(chores.outline_a_volume, 0)
        assert errand.outline(silent) is None
        assert errand.wait(silent) == 0
    watched = WatchedErrand(computer, cast("JobWatch", IdleWatch()))
    with closing(watched) as errand:
        begun = errand.begin(chores.outline_a_volume, 6)
        errand.wait(begun)
        wait_for(lambda: errand.outline(begun) is not None, 10)
        # Said once more by a task that is begun again.
        errand.wait(errand.begin(chores.outline_a_volume, 6))
        assert errand.outline(begun) == Outline((6, 4, 4), (2, 4, 4), "float32")


def test_a_worker_that_hangs_says_where_and_is_replaced(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from distributed import Client

    computer = DaskComputer(partial(find_cluster, tmp_path, ONE))
    with local_cluster(tmp_path, ONE) as (address, security), closing(computer):
        with Client(address, security=security, set_as_default=False) as client:
            # Whoever comes later finds it there.
            client.register_plugin(WorkbenchPlugin(hung_s=5.0), name=PLUGIN)
        with closing(computer.errand(Priority.NORMAL)) as errand:
            assert errand.submit(chores.hang_once, str(tmp_path / "notes")).result(100) == "done"
    said = capfd.readouterr().err
    assert "Timeout (0:00:05)!" in said
    assert "in sleep_for_long" in said
    assert "in hang_once" in said


def test_errors_come_back_as_they_were_raised(computer: Computer) -> None:
    with closing(computer.errand(Priority.NORMAL)) as errand:
        with pytest.raises(InputError) as caught:
            errand.submit(chores.fail).result(60)
        assert (caught.value.where, caught.value.dataset) == ("scan.h5", "/theta")
        assert str(caught.value) == "scan.h5: /theta: has no angles. Look again"


@pytest.mark.parametrize("kind", ["OSError", "TimeoutError"])
def test_errors_that_look_like_a_lost_connection_come_back_as_well(computer: Computer, kind: str) -> None:
    with (
        closing(computer.errand(Priority.NORMAL)) as errand,
        pytest.raises(OSError, match="no space left on device") as caught,
    ):
        errand.submit(chores.fail_like_a_connection, kind).result(60)
    assert type(caught.value).__name__ == kind


def test_urgent_tasks_come_first(computer: Computer, tmp_path: Path) -> None:
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    batch, reader = computer.errand(Priority.NORMAL), computer.errand(Priority.INTERACTIVE)
    with closing(batch), closing(reader):
        held = batch.submit(chores.hold, str(gate))
        wait_for(gate.with_suffix(".held").exists, 60)
        futures = [batch.submit(chores.note, str(notes), f"batch {number}") for number in range(3)]
        futures.append(reader.submit(chores.note, str(notes), "reader"))
        # Until a scheduler has heard of it, and has told its worker.
        time.sleep(1)
        gate.touch()
        for future in (held, *futures):
            future.result(60)
    assert notes.read_text().split("\n")[0] == "reader"


def test_an_errand_that_is_given_up(computer: Computer, tmp_path: Path) -> None:
    mark, notes = tmp_path / "mark", tmp_path / "notes"
    errand = computer.errand(Priority.NORMAL)
    running = errand.submit(chores.wait_until_stopped, str(mark))
    wait_for(mark.exists, 60)
    waiting = errand.submit(chores.note, str(notes), "never")
    errand.close()
    wait_for(mark.with_suffix(".stopped").exists, 20)
    wait_for(lambda: running.done() and waiting.done(), 20)
    # Others are not concerned.
    with closing(computer.errand(Priority.NORMAL)) as other:
        assert other.submit(chores.add, 1, 1).result(60) == 2
    assert not notes.exists()


def test_what_has_begun_may_end_when_an_errand_is_given_up(computer: Computer, tmp_path: Path) -> None:
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    errand = computer.errand(Priority.NORMAL)
    running = errand.submit(chores.write_slowly, str(gate))
    wait_for(gate.with_suffix(".begun").exists, 60)
    waiting = errand.submit(chores.note, str(notes), "never")
    errand.close()
    assert running.result(20) == "written"
    assert gate.exists()
    assert isinstance(_error_of(waiting), CancelledError | FuturesCancelledError)
    assert not notes.exists()


def test_the_scheduler_keeps_nothing_of_errands(cluster: Path, tmp_path: Path) -> None:
    with closing(DaskComputer(partial(find_cluster, cluster, ONE))) as computer:
        errand = computer.errand(Priority.NORMAL)
        running = errand.submit(chores.wait_until_stopped, str(tmp_path / "mark"))
        wait_for((tmp_path / "mark").exists, 60)
        errand.close()
        assert running.result(20) == "stopped"
        # Others may have left theirs with the connection.
        wait_for(lambda: errand.name not in computer.client().run_on_scheduler(_events), 20)


def _events(dask_scheduler: Any) -> list[str]:
    return [name for name, event in dask_scheduler.extensions["events"]._events.items() if event.is_set()]


def _error_of(future: Future[Any]) -> BaseException | None:
    try:
        return future.exception(20)
    except FuturesCancelledError as error:
        return error


def test_the_way_to_the_cluster_is_private(cluster: Path) -> None:
    path = cluster / CLUSTER_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    address, security = find_cluster(cluster, ONE)
    assert address.startswith("tls://127.0.0.1:")
    assert security.require_encryption


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library allocates")
def test_arrays_are_made_in_memory_that_was_used_before(cluster: Path) -> None:
    with (
        closing(DaskComputer(partial(find_cluster, cluster, ONE))) as computer,
        closing(computer.errand(Priority.NORMAL)) as errand,
    ):
        faults = errand.submit(chores.count_page_faults, 100, 2**17).result(60)
    # Each of them has 256 pages.
    assert faults < 100 * 256 / 10


def test_a_task_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    with (
        # By default Dask tries it with four workers.
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        local_cluster(tmp_path, ONE),
        closing(DaskComputer(partial(find_cluster, tmp_path, ONE))) as computer,
    ):
        with (
            closing(computer.errand(Priority.NORMAL)) as errand,
            pytest.raises(
                WorkersDiedError, match="worker processes in a row died with the same task in hand"
            ),
        ):
            errand.submit(chores.die).result(120)
        # A conductor gives it to others a few times: whatever a worker has in hand counts as why it died.
        notes = str(tmp_path / "notes")
        with closing(WatchedErrand(computer, cast("JobWatch", IdleWatch()))) as errand:
            assert errand.result(chores.die_a_few_times, notes, 1) == "done"


def test_no_cluster(tmp_path: Path) -> None:
    with (
        closing(DaskComputer(partial(find_cluster, tmp_path, ONE))) as computer,
        pytest.raises(ServiceUnavailableError, match="nobody computes at present"),
    ):
        _ = computer.slots


def test_those_who_wait_for_a_scheduler_that_is_silent_do_not_wait_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = []

    def client(where: str, **_: object) -> None:
        tries.append(where)
        time.sleep(0.3)
        raise TimeoutError

    monkeypatch.setattr("tomoservice.compute.cluster.Connection", client)
    computer = DaskComputer(lambda: ("tcp://127.0.0.1:1", None))
    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(computer.client) for _ in range(8)]:
            with pytest.raises(WorkersLostError, match="no Dask scheduler answers at tcp://127"):
                future.result(20)
    assert len(tries) == 1


def test_a_scheduler_that_is_not_there_costs_nothing_at_every_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomoservice.compute.cluster.CONNECT_S", 0.2)
    with closing(DaskComputer(lambda: (f"tcp://127.0.0.1:{free_port()}", None))) as computer:
        for _ in range(2):
            with pytest.raises(WorkersLostError, match="no Dask scheduler answers at tcp://127"):
                computer.client()
    # What is left running fails the test.


def test_the_cluster_of_a_second_conductor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomoservice.compute.launch.TURN_S", 0.1)
    with ExitStack() as second:
        with local_cluster(tmp_path, ONE) as (first_address, _):
            second_address, security = second.enter_context(local_cluster(tmp_path, ONE))
            assert find_cluster(tmp_path, ONE)[0] == first_address != second_address
            with (
                closing(DaskComputer(lambda: (second_address, security))) as computer,
                closing(computer.errand(Priority.NORMAL)) as errand,
            ):
                assert errand.submit(chores.add, 1, 1).result(60) == 2
        # The first is gone: others are told of the second.
        wait_for((tmp_path / CLUSTER_FILE).exists, 10)
        assert find_cluster(tmp_path, ONE)[0] == second_address
    assert not (tmp_path / CLUSTER_FILE).exists()


def test_a_cluster_that_has_gone(tmp_path: Path) -> None:
    computer = DaskComputer(partial(find_cluster, tmp_path, ONE))
    with local_cluster(tmp_path, ONE):
        errand = computer.errand(Priority.NORMAL)
        future = errand.submit(chores.hold, str(tmp_path / "gate"))
        wait_for((tmp_path / "gate.held").exists, 60)
    with pytest.raises((ServiceUnavailableError, CancelledError)):
        future.result(60)
    errand.close()
    # A new one is found, wherever it is.
    with local_cluster(tmp_path, ONE), closing(computer.errand(Priority.NORMAL)) as later:
        wait_for(lambda: _adds(later.submit), 60)
        computer.close()


def _adds(submit: Callable[..., object]) -> bool:
    try:
        future = submit(chores.add, 1, 1)
    except ServiceUnavailableError:
        return False
    return bool(future.result(60) == 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error",
    [
        errors.InputError("a", "b", dataset="c", hint="d"),
        errors.MissingDataError("a", "b"),
        errors.NoSuchRunError("a", "b"),
        errors.RecipeError(["a", "b"], name="c"),
        errors.GeometryError("a"),
        errors.MemoryBudgetError("a"),
        errors.ClaimLostError("a"),
        errors.WorkersLostError("a"),
    ],
)
def test_errors_travel_between_processes(error: errors.TomoserviceError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@contextmanager
def dask_worker(port: int, folder: Path, options: str = "") -> Iterator[None]:
    """Run a worker as the documentation says, of a scheduler on this machine."""
    with documented_process("dask worker", port, folder, f"--local-directory {folder} {options}"):
        yield


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a scheduler that somebody else runs, with one worker that offers nothing."""
    port, folder = free_port(), tmp_path_factory.mktemp("elsewhere")
    with documented_process("dask scheduler", port, folder), dask_worker(port, folder):
        yield port


def test_tasks_that_compute_go_where_the_resource_is(
    elsewhere: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoservice.conductor.errands.MISSED_S", 0.2)
    watch = IdleWatch()
    with closing(DaskComputer(lambda: (f"tcp://127.0.0.1:{elsewhere}", None), "BEAM")) as computer:
        wait_for(lambda: _idle_because(computer, "no worker is connected") is False, 60)
        assert _idle_because(computer, "none of the 1 workers .* offers BEAM.*--resources BEAM=1")
        with closing(WatchedErrand(computer, cast("JobWatch", watch))) as errand:
            # What computes nothing goes anywhere.
            assert errand.result(checksums, []) == []
            begun = errand.begin(chores.add, 1, 1)
            with ThreadPoolExecutor(1) as thread:
                waiting = thread.submit(errand.wait, begun)
                wait_for(lambda: any("offers BEAM" in reason for reason in watch.waited_for), 20)
                assert not begun.future.done()
                with dask_worker(elsewhere, tmp_path, "--resources BEAM=1"):
                    assert waiting.result(60) == 2
                    # Two threads, but one task at a time.
                    assert computer.slots == 1


def _idle_because(computer: DaskComputer, reason: str) -> bool:
    with pytest.raises(WorkersLostError) as caught:
        _ = computer.slots
    return re.search(reason, str(caught.value)) is not None


def test_a_worker_with_other_versions_is_refused_by_name(elsewhere: int) -> None:
    with closing(DaskComputer(lambda: (f"tcp://127.0.0.1:{elsewhere}", None))) as computer:
        wait_for(lambda: _has_workers(computer), 60)
        computer.versions = {**computer.versions, "numpy": "1.0", "finufft": None}
        with (
            closing(computer.errand(Priority.NORMAL)) as errand,
            pytest.raises(EngineError, match=r"worker tcp://127.* has numpy 2\.\S+ instead of 1\.0, finufft"),
        ):
            errand.submit(chores.add, 1, 1).result(60)


def _has_workers(computer: DaskComputer) -> bool:
    try:
        return computer.slots > 0
    except WorkersLostError:
        return False


def test_a_cluster_that_asks_for_certificates(tmp_path: Path) -> None:
    subprocess.run(
        ["bash", "-ec", documented("certificates", WORKERS_PAGE)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    port = free_port()
    content = documented_settings("tls setting", WORKERS_PAGE)["compute"]
    tls = {name: str(tmp_path / file) for name, file in content["tls"].items()}
    there = content["scheduler"].replace(DOCUMENTED, f"127.0.0.1:{port}")
    settings = ComputeSettings(scheduler=there, tls=TlsSettings.model_validate(tls))
    with (
        documented_process("tls scheduler", port, tmp_path),
        documented_process("tls worker", port, tmp_path, f"--local-directory {tmp_path}"),
        closing(DaskComputer(partial(find_cluster, tmp_path, settings))) as computer,
    ):
        wait_for(lambda: _has_workers(computer), 60)
        with closing(computer.errand(Priority.NORMAL)) as errand:
            assert errand.submit(chores.add, 1, 1).result(60) == 2
        with (
            closing(DaskComputer(lambda: (f"tcp://127.0.0.1:{port}", None))) as stranger,
            pytest.raises(WorkersLostError),
        ):
            stranger.client()
