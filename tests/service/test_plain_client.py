"""Clients that have nothing but Tiled: the whole way on a real scan, and what they find by a search."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiled.client import from_uri
from tiled.client.utils import ClientError
from tiled.queries import Key
from tiled.structures.core import Spec

from tests.service.conftest import wait_for
from tests.service.plain_demo import READABLE_S, in_a_process_of_its_own
from tomoservice.catalog.transport import disconnect
from tomoservice.service.running import RunningService

AT_295_5 = {"rotation_axis": {"method": "value", "value": 295.5}}
COMMAND = [sys.executable, "-m", "tomoservice"]
WHOLE: dict[str, dict[str, Any]] = {
    "TomoReconstruction": {"recipe": {}},
    "TomoSweep": {"sweep": {"parameter": "rotation_axis", "values": [1.0], "rows": {"start": 0}}},
}


@contextmanager
def serving(data: Path, raw: Path) -> Iterator[str]:
    """Type `tomoservice serve`, and Ctrl-C in the end; give the address that it prints."""
    command = [*COMMAND, "serve", "--data", str(data), "--port", "0", "--raw-folder", str(raw)]
    with (
        data.with_suffix(".log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as child,
    ):
        try:
            assert child.stdout is not None
            told = ""
            while "Ctrl-C stops the service\n" not in told:
                line = child.stdout.readline()
                assert line, Path(log.name).read_text()
                told += line
            found = re.search(r"^Tiled +(\S+)/api/v1$", told, re.MULTILINE)
            assert found, told
            yield found[1]
            child.send_signal(signal.SIGINT)
            assert child.wait(30) == 0
        finally:
            child.kill()


@pytest.mark.timeout(180)
def test_a_plain_client_reads_the_tooth_before_it_is_reconstructed(data_dir: Path, tmp_path: Path) -> None:
    tooth, data = data_dir / "tooth" / "tooth.h5", tmp_path / "data"
    with serving(data, tooth.parent) as uri:
        ingest = [*COMMAND, "ingest", str(tooth), "--data", str(data)]
        uid = subprocess.run(ingest, capture_output=True, text=True, check=True).stdout.strip()
        log = data / "logs" / "conductor.log"
        wait_for(lambda: log.exists() and " at work" in log.read_text(), 60)
        # Long enough to be read before it is done, on a quick machine, too.
        recipe = {**AT_295_5, "reconstruction": {"method": "sirt", "iterations": 5}}
        found = in_a_process_of_its_own(uri, (data / "api_key").read_text().strip(), uid, recipe)
    print(f"the volume was there after {found['volume_s']:.2f} s")  # noqa: T201
    assert found["volume_s"] < READABLE_S
    assert found["state_at_read"] in ("queued", "running")
    assert (found["path"], found["shape"]) == (f"processed/{uid}/plain", [2, 640, 640])
    assert found["is_a_picture"]
    assert found["agree"]


@pytest.fixture
def root(quiet_service: RunningService, tomo: object) -> Iterator[Any]:
    # `tomo` removes what a test leaves behind.
    client = from_uri(quiet_service.uri, api_key=quiet_service.api_key)
    yield client
    disconnect(client)


@pytest.fixture
def run(root: Any) -> Any:
    # Nothing is published under this uid, so nobody else writes there.
    return root["processed"].create_container(f"run-{uuid.uuid4().hex}")


def create(run: Any, key: str, spec: str = "TomoReconstruction", **metadata: Any) -> Any:
    content = {**WHOLE[spec], "status": {"state": "virtual"}, **metadata}
    return run.create_container(key, metadata=content, specs=[Spec(spec, version="1")])


def found_for(root: Any, run_uid: str) -> list[tuple[str, ...]]:
    return sorted(root["processed"].search_deep(Key("raw_uid") == run_uid, max_depth=2))


@pytest.mark.parametrize("spec", WHOLE)
def test_what_plain_clients_make_is_found_by_its_run(root: Any, run: Any, spec: str) -> None:
    uid = run.path_parts[-1]
    nodes = [
        create(run, "says-nothing", spec),
        create(run, "says-none", spec, raw_uid=None),
        create(run, "says-so", spec, raw_uid=uid),
    ]
    assert [node.metadata["raw_uid"] for node in nodes] == [uid] * 3
    assert found_for(root, uid) == [(uid, "says-none"), (uid, "says-nothing"), (uid, "says-so")]


def test_a_queued_one_is_found_while_nobody_works_on_it(root: Any, run: Any) -> None:
    uid = run.path_parts[-1]
    create(run, "waits", status={"state": "queued"})
    assert found_for(root, uid) == [(uid, "waits")]


@pytest.mark.parametrize("spec", WHOLE)
@pytest.mark.parametrize("wrong", ["another", 3, ["x"], {}])
def test_the_uid_of_another_run_is_refused(run: Any, spec: str, wrong: object) -> None:
    uid = run.path_parts[-1]
    message = re.escape(f"{spec}: raw_uid: got {wrong!r}, wants {uid!r}, the run below which it is")
    with pytest.raises(ClientError, match=message) as caught:
        create(run, "wrong", spec, raw_uid=wrong)
    assert caught.value.response.status_code == 422
    assert list(run) == []
    node = create(run, "right", spec)
    with pytest.raises(ClientError, match=message) as caught:
        node.update_metadata({"raw_uid": wrong})
    assert caught.value.response.status_code == 422
    assert run["right"].metadata["raw_uid"] == uid


def test_it_cannot_be_taken_away(root: Any, run: Any) -> None:
    uid = run.path_parts[-1]
    node = create(run, "kept")
    without = {key: value for key, value in node.metadata.items() if key != "raw_uid"}
    node.replace_metadata({**without, "comment": "good"})
    assert run["kept"].metadata["comment"] == "good"
    assert found_for(root, uid) == [(uid, "kept")]


def test_a_wrong_uid_from_before_keeps_nobody_from_working_on_it(root: Any, run: Any) -> None:
    # Without its spec nobody looks at what is written.
    uid, status = run.path_parts[-1], {"state": "virtual"}
    node = run.create_container("old", metadata={"recipe": {}, "status": status, "raw_uid": "another"})
    node.update_metadata(specs=[Spec("TomoReconstruction", version="1")])
    assert found_for(root, uid) == [(uid, "old")]
    assert run["old"].metadata["raw_uid"] == uid


def test_elsewhere_there_is_no_run(root: Any, run: Any) -> None:
    below = create(run, "above")
    for place in (root["processed"], below):
        key = f"stray-{uuid.uuid4().hex}"
        node = create(place, key, raw_uid="whatever")
        assert place[key].metadata["raw_uid"] == "whatever"
        node.delete(recursive=True)
