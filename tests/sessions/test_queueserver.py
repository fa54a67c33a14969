"""Plans from a queueserver: a real manager, queue and worker, by what the page says to type."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.service.backends import HOW_TO, documented, own_redis
from tests.service.conftest import wait_for
from tests.service.dask_processes import free_port
from tomoservice.client import Tomo
from tomoservice.service.running import RunningService

PAGE = HOW_TO / "queueserver.md"
ANSWER_MS = 5000
STOP_S = 20.0


@dataclass(frozen=True)
class Manager:
    """A queueserver's manager."""

    folder: Path
    environment: dict[str, str]
    address: str

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask it something over 0MQ, as programs do."""
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(self.address)
            socket.send_json({"method": method, "params": parameters})
            if not socket.poll(ANSWER_MS):
                raise TimeoutError(f"no answer to {method}\n{self.log}")
            answer: dict[str, Any] = socket.recv_json()
            return answer

    def answers(self) -> bool:
        with suppress(TimeoutError):
            return bool(self.ask("ping"))
        return False

    def add(self, plan: str, **arguments: Any) -> dict[str, Any]:
        item = {"item_type": "plan", "name": plan, "kwargs": arguments}
        return self.ask("queue_item_add", item=item, user="test", user_group="primary")

    def type(self, block: str) -> str:
        """Type a block of the page into a shell."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", documented(block, PAGE)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.log}"
        return done.stdout

    def run_queue(self) -> list[dict[str, Any]]:
        """Run what is queued, and return what became of it."""
        before = len(self.ask("history_get")["items"])
        assert self.ask("queue_start")["success"]
        wait_for(self.is_idle, 60)
        return self.ask("history_get")["items"][before:]

    def is_idle(self) -> bool:
        status = self.ask("status")
        return bool(status["manager_state"] == "idle" and not status["items_in_queue"])


@pytest.fixture(scope="module")
def manager(
    service: RunningService, table: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Manager]:
    folder = tmp_path_factory.mktemp("queue")
    address = f"tcp://127.0.0.1:{free_port()}"
    with own_redis() as redis:
        code = documented("queue manager", PAGE).replace("http://127.0.0.1:8000", service.uri)
        code = code.replace("~/beamline.yml", str(table)).replace("localhost:6379", redis.split("://")[1])
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "TILED_API_KEY": service.api_key,
            "TOMOSERVICE_SESSION_FOLDER": str(folder / "session"),
            "QSERVER_ZMQ_CONTROL_ADDRESS_FOR_SERVER": address,
            "QSERVER_ZMQ_INFO_ADDRESS_FOR_SERVER": f"tcp://127.0.0.1:{free_port()}",
            "QSERVER_ZMQ_CONTROL_ADDRESS": address,
        }
        made = Manager(folder, environment, address)
        with (folder / "log").open("wb") as log:
            made.type("queue folder")
            process = subprocess.Popen(
                ["bash", "-ec", code.replace("\nstart-re-manager", "\nexec start-re-manager")],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(made.answers)
            yield made
            made.ask("manager_stop", option="safe_off")
            assert process.wait(STOP_S) == 0
        finally:
            # With SIGTERM it takes its own processes with it.
            process.terminate()
            process.wait(STOP_S)


def test_the_environment_has_plans_and_devices(manager: Manager) -> None:
    assert "'tomo_until_converged'" in manager.type("queue open")
    plans = manager.ask("plans_allowed", user_group="primary")["plans_allowed"]
    assert set(plans) == {"tomo_scan", "tomo_fly", "tomo_until_converged"}
    fly = {one["name"]: one for one in plans["tomo_fly"]["parameters"]}
    assert fly["num_projections"]["annotation"] == {"type": "int"}
    assert fly["exposure_s"]["default"] == "0.02"
    assert "beamline" not in fly
    assert "degrees" in fly["stop_deg"]["description"]
    devices = manager.ask("devices_allowed", user_group="primary")["devices_allowed"]
    assert {"rotation", "sample", "shutter", "camera"} <= set(devices)
    written = manager.folder / "tomo-queue" / "existing_plans_and_devices.yaml"
    assert "tomo_fly" in written.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "num_projections"),
        ({"num_projections": "many"}, "num_projections"),
        ({"num_projections": 4, "flats": 1}, "flats"),
        ({"num_projections": 4, "md": 3}, "md"),
    ],
)
def test_what_makes_no_scan_is_not_queued(manager: Manager, arguments: dict[str, Any], problem: str) -> None:
    answer = manager.add("tomo_fly", **arguments)
    assert not answer["success"]
    assert problem in answer["msg"]


def test_scans_from_the_queue_are_published_and_reconstructed(manager: Manager, tomo: Tomo) -> None:
    manager.type("queue scans")
    wait_for(manager.is_idle, 60)
    step, fly = manager.ask("history_get")["items"]
    for item, streams, projections in ((step, {"dark", "flat", "primary"}, 30), (fly, {"primary"}, 60)):
        assert item["result"]["exit_status"] == "completed", item["result"]["traceback"]
        (uid,) = item["result"]["run_uids"]
        wait_for(lambda uid=uid: bool(tomo.reconstructions(uid)), 30)  # type: ignore[misc]
        run = tomo.raw[uid]
        assert run.metadata["start"]["plan_name"] == item["name"]
        assert run.metadata["start"]["tomo"]["num_projections"] == projections
        assert run.metadata["stop"]["exit_status"] == "success"
        assert streams <= set(run)
    (job,) = tomo.reconstructions(fly["result"]["run_uids"][0])
    job.wait(120)
    assert job.volume.shape == (6, 48, 48)


def test_a_plan_that_waits_for_reconstructions(manager: Manager, tomo: Tomo) -> None:
    program = documented("queue program", PAGE).replace(
        "    },\n)", f'    }},\n    zmq_server_address="{manager.address}",\n)'
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (item,) = manager.run_queue()
    assert item["item_uid"] == done.stdout.strip()
    assert item["result"]["exit_status"] == "completed", item["result"]["traceback"]
    uids = item["result"]["run_uids"]
    assert len(uids) >= 2
    assert [len(tomo.reconstructions(uid)) for uid in uids] == [1] * len(uids)


def test_the_environment_closes(manager: Manager) -> None:
    manager.type("queue close")
    wait_for(lambda: not manager.ask("status")["worker_environment_exists"], STOP_S)
    assert "Failed to properly join" not in manager.log
