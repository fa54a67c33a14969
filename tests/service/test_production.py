"""Several server processes on PostgreSQL and Redis, and conductors that compete."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import yaml
from sqlalchemy.ext.asyncio import create_async_engine
from tiled.client import from_uri
from tiled.structures.core import Spec

from tests.service.backends import WORKERS_PAGE, documented, documented_settings
from tests.service.conftest import connected, pace, wait_for
from tests.service.dask_processes import dask_workers
from tests.service.plain_demo import READABLE_S, in_a_process_of_its_own
from tests.service.scans import SmallScan, documents, publish, reconstructed
from tomoservice.catalog.names import attempt_of
from tomoservice.catalog.nodes import ensure_container, find_in_state
from tomoservice.catalog.states import FINAL_STATES, State
from tomoservice.catalog.submission import find_unsubmitted
from tomoservice.catalog.transport import disconnect
from tomoservice.cli import run
from tomoservice.client import Tomo
from tomoservice.compute.cluster import DaskComputer
from tomoservice.conductor.job import store_folder
from tomoservice.conductor.loop import Conductor
from tomoservice.errors import SettingsError, WorkersLostError
from tomoservice.service.running import RunningService, running_service
from tomoservice.settings import load_settings
from tomoservice.store import SlabStore

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}
LONG_AT_15_5 = {**AT_15_5, "reconstruction": {"method": "sirt", "iterations": 300}}
"""Takes long enough for somebody to read it before it is done."""
SMALL = SmallScan(columns=24, rows=16, angles=30, rotation_axis=15.5)
CONDUCTORS = 8
NODES = 4

pytestmark = pytest.mark.timeout(180)


def workers(service: RunningService) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(service.pid).children()
        if "tomoservice.service.worker" in child.cmdline()
    ]


def scheduler(service: RunningService) -> str:
    """Return the address of the Dask scheduler that the servers know."""
    content = yaml.safe_load((service.data.parent / "tomoservice.yml").read_text())
    # Both files are to say the same.
    expected = documented_settings("scheduler setting", WORKERS_PAGE)
    assert content["compute"].keys() == expected["compute"].keys()
    return str(content["compute"]["scheduler"])


@contextmanager
def conductor_process(service: RunningService, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a conductor as the documentation says, and stop it as Ctrl-C does."""
    key, settings = log.with_name("key"), log.with_name("conductor.yml")
    key.write_text(service.api_key + "\n")
    content = documented_settings(
        "conductor settings",
        service={"raw_folders": [str(service.data.parent / "raw")]},
        conductor={"uri": service.uri, "api_key_file": str(key), "poll_s": 0.2},
        compute={"memory_bytes": 2**30, "scheduler": scheduler(service)},
    )
    content |= {"data": str(log.parent / "conductor"), "volumes": str(service.data / "volumes")}
    settings.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "tomoservice", "conductor", "--settings", str(settings)]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def has_four_slots(service: RunningService) -> bool:
    with closing(DaskComputer(lambda: (scheduler(service), None))) as computer:
        try:
            return computer.slots == 4
        except WorkersLostError:
            return False


def test_two_servers_a_conductor_and_two_workers_in_processes_of_their_own(
    production: RunningService, tmp_path: Path
) -> None:
    assert len(workers(production)) == 2
    port = int(scheduler(production).rpartition(":")[2])
    with (
        connected(production) as tomo,
        conductor_process(production, tmp_path / "log") as process,
        dask_workers(port, tmp_path, 2),
    ):
        uid = publish(tomo.raw, documents(SmallScan(), production.data.parent / "raw"))
        wait_for(lambda: has_four_slots(production), 120)
        early = read_before_it_is_done(production, uid)
        job = tomo.reconstruct(uid, AT_15_5)
        wait_for(lambda: job.state in FINAL_STATES or process.poll() is not None, 120)
        assert process.poll() is None, (tmp_path / "log").read_text()
        job.wait(1)
        # Whichever process answers, it is the same.
        for _ in range(6):
            plain = from_uri(production.uri)
            node = plain["processed", uid, job.record.reconstruction_id]
            assert node.metadata["status"]["state"] == "done"
            assert len(plain["raw"][uid]["primary"]["rotation"].read()) == SmallScan().angles
            disconnect(plain)
        assert np.array_equal(job.volume[:], reconstructed(SmallScan(), AT_15_5))
        assert np.array_equal(early, job.volume[1])
        found = in_a_process_of_its_own(production.uri, production.api_key, uid, LONG_AT_15_5)
        print(f"the volume was there after {found['volume_s']:.2f} s")  # noqa: T201
        assert found["volume_s"] < READABLE_S
        assert found["state_at_read"] in ("queued", "running")
        assert found["shape"] == [SmallScan().rows, SmallScan().columns, SmallScan().columns]
        assert found["is_a_picture"]
        assert found["agree"]
        # Read where it lies, not through the service.
        assert len(job.node.refresh().metadata["provenance"]["raw_files"]) == 3
        tomo.root["processed", uid].delete(recursive=True, external_only=False)
    assert process.returncode == 0


def read_before_it_is_done(service: RunningService, uid: str) -> np.ndarray:
    """Describe a volume and read a slice of it, with nothing but Tiled; servers have it computed."""
    plain = from_uri(service.uri, api_key=service.api_key)
    try:
        run = ensure_container(plain["processed"], uid)
        spec = Spec("TomoReconstruction", version="1")
        node = run.create_container(
            "mine", metadata={"recipe": AT_15_5, "status": {"state": "virtual"}}, specs=[spec]
        )
        wait_for(lambda: "volume" in list(node), 20)
        pixels: np.ndarray = node["volume"][1]
        return pixels
    finally:
        disconnect(plain)


@pytest.mark.parametrize("block", ["production doctor", "production gc", "production rebuild"])
def test_the_commands_of_the_page(
    production: RunningService, block: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = production.data.parent / "tomoservice.yml"
    for line in documented(block).splitlines():
        arguments = shlex.split(line.replace("tomoservice.yml", str(file)))
        assert arguments[0] == "tomoservice"
        status = run(arguments[1:])
        assert status == 0, capsys.readouterr()
    told = capsys.readouterr().out
    assert {"production doctor": "ok       database: PostgreSQL"}.get(block, "") in told


def test_a_server_process_that_dies_is_replaced_and_nobody_waits_for_it(production: RunningService) -> None:
    before = workers(production)
    os.kill(before[0].pid, signal.SIGKILL)
    for _ in range(10):
        assert httpx.get(f"{production.uri}/api/v1/", timeout=10).status_code == 200
    wait_for(lambda: len(set(workers(production)) - {before[0]}) == 2, 60)


# Of the package, so that a service which starts here is there before anybody counts processes.
@pytest.fixture(scope="package", params=["quiet_service", "production"], ids=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> RunningService:
    service: RunningService = request.getfixturevalue(request.param)
    return service


def compete(service: RunningService, tomo: Tomo) -> list[BaseException]:
    """Let eight conductors work until nothing is left; return what went wrong in them."""
    given = pace(lease_s=60)
    given["conductor"]["poll_s"] = 0.5
    given["service"] = {"raw_folders": [service.data.parent / "raw"]}
    settings = load_settings(flags={"data": service.data, **given})
    raised: list[BaseException] = []

    def work(conductor: Conductor) -> None:
        try:
            conductor.run()
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    conductors = [
        Conductor(service.uri, service.api_key, settings, readable=settings.raw_folders)
        for _ in range(CONDUCTORS)
    ]
    threads = [threading.Thread(target=work, args=(conductor,)) for conductor in conductors]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 150
    while find_in_state(tomo.root, State.QUEUED, State.RUNNING) and time.monotonic() < deadline:
        time.sleep(0.5)
    for conductor in conductors:
        conductor.stop()
    for thread in threads:
        thread.join()
    return raised


def test_eight_conductors_do_each_reconstruction_once(either: RunningService) -> None:
    with connected(either) as tomo:
        uid = publish(tomo.raw, documents(SMALL, either.data.parent / "raw"))
        jobs = [tomo.reconstruct(uid, AT_15_5) for _ in range(NODES)]
        assert compete(either, tomo) == []
        expected = reconstructed(SMALL, AT_15_5)
        settings = load_settings(flags={"data": either.data})
        for job in jobs:
            assert (job.state, job.status.attempt) == (State.DONE, 1)
            # Who claims what has just been done sees that, and gives it back.
            claims = {key: node.metadata["released"] for key, node in job.node.items() if attempt_of(key)}
            assert claims["claim-1"]
            assert all(claims.values())
            store = SlabStore.open(store_folder(settings, job.record))
            assert {marker.attempt for marker in store.markers().values()} == {1}
            assert np.array_equal(job.volume[:], expected)
        tomo.root["processed", uid].delete(recursive=True, external_only=False)


def test_of_many_who_add_to_a_batch_on_two_servers_nobody_is_lost(production: RunningService) -> None:
    people = [connected(production) for _ in range(4)]
    first = people[0]
    uids = [publish(first.raw, documents(SMALL, production.data.parent / "raw")) for _ in range(5)]
    batch = first.batch(uids[:1], AT_15_5)
    barrier = threading.Barrier(len(people))

    def add(tomo: Tomo, uid: str) -> list[int]:
        mine = tomo.find_batch(batch.id)
        barrier.wait()
        return mine.add(uid)

    with ThreadPoolExecutor(len(people)) as pool:
        numbers = list(pool.map(add, people, uids[1:]))
    assert sorted(numbers) == [[2], [3], [4], [5]]
    # Each server has somebody who makes what is missing.
    wait_for(lambda: batch.summary.counts == {"queued": 5}, 60)
    wait_for(lambda: find_unsubmitted(first.root) == [])
    batch.cancel()
    for job in batch.jobs:
        job.cancel()
    batch.node.delete(recursive=True)
    for tomo in people:
        tomo.close()


def test_several_processes_want_a_database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["serve", "--workers", "2", "--data", str(tmp_path)]) == 1
    assert "several workers need service.database and service.streaming" in capsys.readouterr().err


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    from tomoservice.service.app import make_app

    for uri, message in (
        ("postgresql://me:geheim@127.0.0.1:1/none", r"me:\*\*\*@127.0.0.1:1/none does not answer"),
        ("mysql://me:geheim@127.0.0.1/none", "has to begin with postgresql://"),
    ):
        settings = load_settings(flags={"data": tmp_path, "service": {"database": uri}})
        with pytest.raises(SettingsError, match=message) as caught:
            make_app(settings, "key", lambda: "http://127.0.0.1:1")
        assert "geheim" not in str(caught.value)


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    from tomoservice.service.database import prepare_database

    file = tmp_path / "catalog.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('ours')")
        connection.commit()
    before = file.read_bytes()
    with pytest.raises(SettingsError, match="ours"):
        prepare_database(f"sqlite:///{file}", tmp_path)
    assert file.read_bytes() == before
    with pytest.raises(SettingsError, match=r"nowhere/catalog.db does not answer"):
        prepare_database(f"sqlite:///{tmp_path}/nowhere/catalog.db", tmp_path)


def test_a_database_is_made_once_and_is_one_that_tiled_knows(tmp_path: Path) -> None:
    from tiled.catalog.core import check_catalog_database

    from tomoservice.service.database import prepare_database

    uri = f"sqlite:///{tmp_path}/catalog.db"
    prepare_database(uri, tmp_path)

    async def check() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/catalog.db")
        await check_catalog_database(engine)
        await engine.dispose()

    asyncio.run(check())
    before = (tmp_path / "catalog.db").read_bytes()
    prepare_database(uri, tmp_path)
    assert (tmp_path / "catalog.db").read_bytes() == before


def test_a_configuration_of_ones_own_must_be_readable(tmp_path: Path) -> None:
    from tomoservice.service.overlays import layered_configuration, overlaid

    broken = tmp_path / "broken.yml"
    broken.write_text("- a list")
    with pytest.raises(SettingsError, match=r"broken.yml holds list, expected a mapping"):
        layered_configuration(load_settings(flags={"service": {"configuration": broken}}))
    assert overlaid({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": None}, "d": [2]}) == {
        "a": {"b": 1},
        "d": [2],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("\n", "holds no API key")],
)
def test_a_conductor_without_a_key_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    arguments = ["conductor", "--uri", "http://127.0.0.1:1", "--volumes", str(tmp_path)]
    assert run([*arguments, "--api-key-file", str(file)]) == 1
    assert message in capsys.readouterr().err
    assert run(arguments) == 2
    assert "TILED_API_KEY" in capsys.readouterr().err


def test_servers_that_cannot_start_end_the_service(tmp_path: Path) -> None:
    from tomoservice.errors import ServiceUnavailableError

    nowhere = {"workers": 2, "database": "postgresql://127.0.0.1:1/none", "streaming": "redis://127.0.0.1:1"}
    with (
        pytest.raises(
            ServiceUnavailableError, match=r"(?s)database .* does not answer.*ended while it started"
        ),
        running_service(tmp_path, {**pace(), "service": nowhere}),
    ):
        pass
