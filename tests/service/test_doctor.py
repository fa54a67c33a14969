"""The doctor: what is wrong is named, with what to do about it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path

import caproto
import psutil
import pytest
from distributed import Security

from profiles.sim.launch import channel_access_environment, simulated_beamline
from profiles.sim.options import SimulationOptions
from tests.service.backends import own_database, own_redis
from tests.service.conftest import wait_for
from tests.service.dask_processes import dask_workers, documented_process, free_port
from tomoservice.cli import run
from tomoservice.compute.launch import CLUSTER_FILE, FILES, local_cluster
from tomoservice.doctor import Finding, Verdict, backends, channel_access, cluster, machine, service, storage
from tomoservice.doctor.cluster import ABSENT
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings, load_settings


def one(findings: Iterator[Finding]) -> Finding:
    [found] = list(findings)
    return found


def test_a_sound_service_has_nothing_wrong(
    quiet_service: RunningService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--data", str(quiet_service.data), "--json"]) == 0
    found = {item["subject"]: item for item in json.loads(capsys.readouterr().out)}
    assert {"data folder", "volumes", "database", "service", "clocks", "kernels", "Dask", "GPU"} <= set(found)
    assert "SQLite" in found["database"]["said"]
    assert quiet_service.uri in found["service"]["said"]
    assert "agree within 2 s" in found["clocks"]["said"]
    assert not [item for item in found.values() if item["verdict"] == "wrong"]


def test_what_is_wrong_is_said_with_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    settings = tmp_path / "settings.yml"
    settings.write_text(
        f"data: {tmp_path / 'file'}\n"
        f"volumes: {tmp_path / 'volumes'}\n"
        "service:\n"
        f"  raw_folders: [{tmp_path / 'absent'}, {tmp_path}]\n"
        "  database: postgresql://127.0.0.1:1/none\n"
        "  streaming: redis://127.0.0.1:1\n"
        "conductor: {uri: 'http://127.0.0.1:1'}\n"
        f"housekeeping: {{reserve_bytes: {shutil.disk_usage(tmp_path).free * 2}}}\n"
    )
    assert run(["doctor", "--settings", str(settings)]) == 1
    told = capsys.readouterr().out
    for part in (
        "WRONG    data folder:",
        "WRONG    volumes:",
        "have to stay free",
        "gc --age 0",
        "WRONG    database: PostgreSQL does not answer",
        "pg_hba.conf",
        "WRONG    streaming: Redis does not answer",
        "WRONG    service: http://127.0.0.1:1 does not answer",
        f"warning  raw folder: {tmp_path / 'absent'} cannot be read",
        f"ok       raw folder: {tmp_path} can be read",
    ):
        assert part in told


def test_a_wrong_key_is_named(quiet_service: RunningService) -> None:
    found = next(service.check_service(quiet_service.uri, "wrong"))
    assert (found.verdict, "refuses the key" in found.said) == (Verdict.WRONG, True)


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "said"),
    [
        (0.0, Verdict.OK, "agree"),
        (10.0, Verdict.WRONG, "10 s ahead of"),
        (-10.0, Verdict.WRONG, "s behind"),
    ],
)
def test_clocks_that_differ_are_found(ahead_s: float, verdict: Verdict, said: str) -> None:
    now = float(int(time.time()))
    found = one(service._check_clock(formatdate(now + ahead_s, usegmt=True), now, now))
    assert found.verdict is verdict
    assert said in found.said


def test_a_damaged_catalogue_is_found(tmp_path: Path) -> None:
    settings = load_settings(flags={"data": tmp_path})
    assert "made at the first start" in one(backends.check_database(settings)).said
    (tmp_path / "catalog.db").write_bytes(b"SQLite format 3\0" + b"rubbish" * 1000)
    found = one(backends.check_database(settings))
    assert found.verdict is Verdict.WRONG
    assert "catalog rebuild" in found.advice


def test_postgresql_and_redis_are_asked() -> None:
    with own_database() as database, own_redis() as streaming:
        given = {"database": database, "streaming": streaming, "workers": 2}
        settings = load_settings(flags={"service": given})
        assert "PostgreSQL" in one(backends.check_database(settings)).said
        assert one(backends.check_streaming(settings)).verdict is Verdict.OK
        many = load_settings(flags={"service": {**given, "workers": 1000}})
        assert "max_connections" in one(backends.check_database(many)).advice


def test_an_address_that_is_none_does_not_show(tmp_path: Path) -> None:
    given = {"database": "postgresql://me:geheim@host:port/x"}
    found = one(backends.check_database(load_settings(flags={"service": given})))
    assert found.verdict is Verdict.WRONG
    assert "geheim" not in found.said


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "local networks"),
        ({"EPICS_CA_AUTO_ADDR_LIST": "NO"}, "names nobody"),
        ({"EPICS_CA_SERVER_PORT": "many"}, "is no port"),
        ({"EPICS_CA_MAX_ARRAY_BYTES": "100"}, "less than 16384"),
        ({"EPICS_CA_ADDR_LIST": "10.0.0.1"}, "EPICS_CA_ADDR_LIST=10.0.0.1"),
    ],
)
def test_the_channel_access_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name in [name for name in os.environ if name.startswith("EPICS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert said in next(channel_access.check_channel_access()).said


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> int:
    """Keep Channel Access on loopback, on ports of its own; return that of the repeater."""
    for name, value in channel_access_environment().items():
        monkeypatch.setenv(name, value)
    port = free_port()
    monkeypatch.setenv("EPICS_CA_REPEATER_PORT", str(port))
    return port


def repeater() -> Finding:
    return list(channel_access.check_channel_access())[-1]


def test_a_repeater_is_found_and_nothing_else_taken_for_one(loopback: int) -> None:
    assert (repeater().verdict, "is free for the one" in repeater().said) == (Verdict.OK, True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", loopback))
        assert (repeater().verdict, "is no repeater" in repeater().said) == (Verdict.WARNING, True)
        assert f"ss -ulpn sport = :{loopback}" in repeater().advice
    with subprocess.Popen([sys.executable, "-m", "caproto.commandline.repeater", "--quiet"]) as process:
        try:
            wait_for(lambda: "one answers" in repeater().said)
        finally:
            process.terminate()
            process.wait()


def test_addresses_without_a_way_to_them_are_named(loopback: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPICS_CA_ADDR_LIST", "127.0.0.1 no-such-host.invalid:6000")
    [address] = [item for item in channel_access.check_channel_access() if item.verdict is not Verdict.OK]
    assert "nothing can be sent to no-such-host.invalid:6000" in address.said
    assert "EPICS_CA_ADDR_LIST" in address.advice


def test_variables_that_a_client_refuses_are_named(loopback: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPICS_CA_SERVER_PORT", "many")
    findings = list(channel_access.check_channel_access(["X:y"]))
    assert [item.verdict for item in findings] == [Verdict.WARNING, Verdict.WRONG]
    assert "X:y was not searched for" in findings[1].said


def test_pvs_are_searched_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Those that the IOC is started with, so that nothing of the environment is changed for good.
    for name, value in channel_access_environment().items():
        monkeypatch.setenv(name, value)
    asked = ["doctor", "--data", str(tmp_path), "--json", "--pv", "DOCTOR:RingCurrent"]
    with simulated_beamline(SimulationOptions(prefix="DOCTOR:", rows=4, columns=32)):
        assert run(asked) == 0
        found = [item for item in json.loads(capsys.readouterr().out) if item["subject"] == "PV"]
        assert "DOCTOR:RingCurrent is found at 127.0.0.1:" in found[0]["said"]
        assert run([*asked, "--pv", "DOCTOR:Absent"]) == 1
        found = [item for item in json.loads(capsys.readouterr().out) if item["subject"] == "PV"]
        assert [item["verdict"] for item in found] == ["ok", "wrong"]
        assert "DOCTOR:Absent is not found within 2 s" in found[1]["said"]
        assert "EPICS_CA_ADDR_LIST" in found[1]["advice"]
    # Its IOC has gone.
    assert run(asked) == 1


def test_a_pv_behind_a_firewall_is_told_from_one_that_is_not_there(
    loopback: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever answers a search names the port to connect to; nobody listens on this one.
    closed = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, ThreadPoolExecutor(1) as pool:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setenv("EPICS_CA_ADDR_LIST", f"127.0.0.1:{server.getsockname()[1]}")
        answering = pool.submit(answer_one_search, server, closed)
        found = list(channel_access.check_channel_access(["HIDDEN:pv"]))[-1]
        answering.result(10)
    assert found.verdict is Verdict.WRONG
    assert f"127.0.0.1:{closed}, which takes no connection" in found.said
    assert "by TCP" in found.advice


def answer_one_search(server: socket.socket, port: int) -> None:
    server.settimeout(10)
    broadcaster = caproto.Broadcaster(our_role=caproto.SERVER)
    content, address = server.recvfrom(caproto.MAX_UDP_RECV)
    for command in broadcaster.recv(content, address):
        if isinstance(command, caproto.SearchRequest):
            known = caproto.VersionResponse(caproto.DEFAULT_PROTOCOL_VERSION)
            here = caproto.SearchResponse(port, "127.0.0.1", command.cid, caproto.DEFAULT_PROTOCOL_VERSION)
            server.sendto(broadcaster.send(known, here), address)


def test_without_a_cluster_a_local_one_is_promised(tmp_path: Path) -> None:
    found = one(cluster.check_dask(load_settings(flags={"data": tmp_path})))
    assert found.verdict is Verdict.OK
    assert "the conductor starts a local one, of 1 worker with 2 slots each" in found.said


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SCHEDULER_S", 1.0)
    where = f"tcp://127.0.0.1:{free_port()}"
    found = list(cluster.check_dask(load_settings(flags={"compute": {"scheduler": where}})))[-1]
    assert (found.subject, found.verdict) == ("Dask scheduler", Verdict.WRONG)
    assert f"{where} does not answer: ConnectionRefusedError" in found.said
    assert "correct compute.scheduler" in found.advice
    # One that hangs: connections are taken, and nothing is said.
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        where = f"tcp://127.0.0.1:{hanging.getsockname()[1]}"
        found = list(cluster.check_dask(load_settings(flags={"compute": {"scheduler": where}})))[-1]
    assert (found.verdict, f"{where} does not answer" in found.said) == (Verdict.WRONG, True)
    # What a conductor leaves behind that is killed.
    security = Security.temporary()
    content = {"address": f"tls://127.0.0.1:{free_port()}", "pid": os.getpid()}
    content |= {name: getattr(security, name) for name in FILES}
    (tmp_path / CLUSTER_FILE).write_text(json.dumps(content))
    found = list(cluster.check_dask(load_settings(flags={"data": tmp_path})))[-1]
    assert (found.subject, found.verdict) == ("Dask scheduler", Verdict.WARNING)
    assert "logs/conductor.log" in found.advice


def test_the_cluster_of_a_service_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SCHEDULER_S", 2.0)
    settings = load_settings(flags={"data": tmp_path})
    settings.volumes_folder.mkdir()
    with local_cluster(tmp_path, settings.compute) as (where, _):
        found = {item.subject: item for item in cluster.check_dask(settings)}
        assert {item.verdict for item in found.values()} == {Verdict.OK}
        assert f"{where} answers" in found["Dask scheduler"].said
        assert found["Dask workers"].said == "1 worker with 2 slots"
        assert found["Dask volumes"].said == f"{settings.volumes_folder} can be written by 1 worker"
        assert not list(settings.volumes_folder.iterdir())
        for address in (where, where.replace("tls", "tcp")):
            without = load_settings(flags={"compute": {"scheduler": address}})
            found = {item.subject: item for item in cluster.check_dask(without)}
            assert found["Dask scheduler"].verdict is Verdict.WRONG
            assert "compute.tls" in found["Dask scheduler"].advice


def test_what_is_wrong_with_workers_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "volumes").mkdir(parents=True)
    there.mkdir()
    monkeypatch.chdir(here)

    def look(volumes: Path = here / "volumes", **compute: str) -> dict[str, Finding]:
        given = {"scheduler": f"tcp://127.0.0.1:{port}", **compute}
        settings = load_settings(flags={"data": tmp_path, "volumes": volumes, "compute": given})
        return {item.subject: item for item in cluster.check_dask(settings)}

    with documented_process("dask scheduler", port, tmp_path):
        wait_for(lambda: "Dask workers" in look())
        none = look()["Dask workers"]
        assert (none.verdict, f"dask worker tcp://127.0.0.1:{port}" in none.advice) == (Verdict.WARNING, True)
        with dask_workers(port, there, 1) as [worker]:
            wait_for(lambda: "1 worker with 2 slots" in look()["Dask workers"].said, 60)
            assert {item.verdict for item in look().values()} == {Verdict.OK}
            lacking = look(resource="BEAM")["Dask workers"]
            assert lacking.verdict is Verdict.WRONG
            assert "BEAM, for which compute.resource asks, is offered by none" in lacking.said
            assert "--resources BEAM=" in lacking.advice
            # Nobody can write there, not even root.
            closed = look(Path("/proc"))["Dask volumes"]
            assert (closed.verdict, "/proc cannot be written" in closed.said) == (Verdict.WRONG, True)
            absent = look(tmp_path / "absent")["Dask volumes"]
            assert (absent.verdict, "neither here nor on tcp://" in absent.said) == (Verdict.WARNING, True)
            # Two processes, two folders under one path, as on two hosts.
            for path, said in (("/proc/self/cwd", "is another folder"), ("/proc/self/cwd/volumes", ABSENT)):
                with monkeypatch.context() as patched:
                    patched.setattr(Settings, "volumes_folder", Path(path))
                    other = look()["Dask volumes"]
                assert (other.verdict, f"{path} {said}" in other.said) == (Verdict.WRONG, True)
            hanging = psutil.Process(worker.pid).children(recursive=True)
            with monkeypatch.context() as patched:
                patched.setattr(cluster, "WORKER_S", 1.0)
                for process in hanging:
                    process.suspend()
                silent = look()["Dask workers"]
                for process in hanging:
                    process.resume()
            assert silent.verdict is Verdict.WARNING
            assert re.match(r"tcp://127\.0\.0\.1:\d+ could not be asked: does not answer", silent.said)
            packages = tmp_path / "packages"
            for name in ("dask", "numpy"):
                metadata = packages / f"{name}-0.0.1.dist-info" / "METADATA"
                metadata.parent.mkdir(parents=True)
                metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n")
            path = f"{packages}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
            options = f"--resources BEAM=2 --name odd --local-directory {there}"
            with documented_process("dask worker", port, there, options, {"PYTHONPATH": path}):
                wait_for(lambda: "Dask versions" in look(), 60)
                odd = look(resource="BEAM")
    assert odd["Dask workers"].verdict is Verdict.WRONG
    assert f"numpy 0.0.1 instead of {version('numpy')} on tcp://127.0.0.1:" in odd["Dask workers"].said
    assert "restart" in odd["Dask workers"].advice
    assert f"dask 0.0.1 instead of {version('dask')} on tcp://127.0.0.1:" in odd["Dask versions"].said
    assert odd["Dask volumes"].verdict is Verdict.OK
    assert "by 2 workers" in odd["Dask volumes"].said


def test_a_device_without_cupy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = one(machine.check_gpu())
    assert "NVIDIA H200" in found.said
    if found.verdict is not Verdict.OK:
        assert "pip install" in found.advice or "tomoservice[gpu" in found.advice


def test_slow_storage_and_little_memory_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SLOW_BYTES_PER_S", 1e15)
    settings = load_settings(flags={"data": tmp_path, "compute": {"memory_bytes": 2**60}})
    assert {item.verdict for item in storage.check_storage(settings)} == {Verdict.WARNING}
    assert "lower compute.memory_bytes" in one(machine.check_memory(settings)).advice


def test_a_check_that_breaks_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Iterator[Finding]]
) -> None:
    from tomoservice.doctor import Place, examination, examine

    monkeypatch.setitem(examination.CHECKS, "storage", broken)
    findings = {item.subject: item for item in examine(Place(load_settings(flags={"data": tmp_path})))}
    assert "the check broke: ZeroDivisionError" in findings["storage"].said
    assert "Dask" in findings


@pytest.fixture
def broken() -> Callable[..., Iterator[Finding]]:
    def check(_: object) -> Iterator[Finding]:
        raise ZeroDivisionError

    return check
