"""What the service tells of what happens, and to whom."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.service.conftest import wait_for
from tests.service.http_api import about, heard, listening
from tomoservice.client import Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.service.events import LOOK_S
from tomoservice.service.http import WithoutKeys
from tomoservice.service.running import RunningService

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


def test_everything_that_happens_is_told(
    quiet_service: RunningService, tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    # Whoever may look may listen; nobody needs a key for that here.
    with listening(quiet_service) as connection:
        uid = publish_run()
        ended = heard(connection, about(uid, "complete"))[-1]
        assert (ended.type, ended.run_uid) == ("scan", uid)
        job = tomo.reconstruct(uid, AT_15_5)
        key = job.path.rpartition("/")[2]
        asked = heard(connection, about(key, "queued"))[-1]
        assert (asked.type, asked.run_uid) == ("reconstruction", uid)
        assert conductor.step()
        done = heard(connection, about(key, "done"))[-1]
        assert done.percent == 100.0
        tomo.recipes.save("whelk", {})
        assert heard(connection, about("whelk", None))[-1].type == "recipe"
        tomo.recipes.delete("whelk")
        waiting = tomo.reconstruct(uid, AT_15_5)
        other = waiting.path.rpartition("/")[2]
        heard(connection, about(other, "queued"))
        waiting.delete()
        heard(connection, about(other, "deleted"))


def test_whoever_comes_back_hears_what_happens_from_then_on(
    quiet_service: RunningService, tomo: Tomo, publish_run: Callable[..., str]
) -> None:
    uid = publish_run()
    with listening(quiet_service) as connection:
        job = tomo.reconstruct(uid, AT_15_5)
        first = job.path.rpartition("/")[2]
        heard(connection, about(first, "queued"))
        # That it can be read is told as well, on a busy machine some time later.
        wait_for(lambda: "volume" in list(job.node))
        time.sleep(2.5 * LOOK_S)
    missed = tomo.reconstruct(uid, AT_15_5).path.rpartition("/")[2]
    with listening(quiet_service) as connection:
        # What was missed is read, not told.
        address = f"{quiet_service.uri}/api/v1/tomo/reconstructions"
        assert missed in httpx.get(address, params={"run_uid": uid}).text
        last = tomo.reconstruct(uid, AT_15_5).path.rpartition("/")[2]
        told = heard(connection, about(last, "queued"))
        assert first not in {event.id for event in told}


@pytest.mark.parametrize("way", ["address", "message"])
def test_a_wrong_key_is_sent_away(quiet_service: RunningService, way: str) -> None:
    with listening(quiet_service, query="?api_key=wrong" if way == "address" else "") as connection:
        if way == "message":
            connection.send(json.dumps({"type": "auth", "api_key": "wrong"}))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4003


def test_keys_stay_out_of_the_log() -> None:

    record: Any = logging.LogRecord(
        "uvicorn.error",
        logging.INFO,
        "",
        0,
        '%s "WebSocket %s"',
        (("::1", 1), "/events?a=1&api_key=s3&b=2"),
        None,
    )
    assert WithoutKeys().filter(record)
    assert record.getMessage() == "('::1', 1) \"WebSocket /events?a=1&api_key=...&b=2\""
