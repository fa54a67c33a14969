"""The doctor: what is wrong is named, with what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.service.backends import own_database, own_redis
from tomoservice.cli import run
from tomoservice.doctor import Finding, Verdict, backends, machine, service, storage
from tomoservice.service.running import RunningService
from tomoservice.settings import load_settings


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
    assert said in one(machine.check_channel_access()).said


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
