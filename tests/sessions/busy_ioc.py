"""An IOC with its client, for what caproto keeps: ``python -m tests.sessions.busy_ioc UPDATES`` prints it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import numpy as np

from profiles.serving import keep_few_updates
from profiles.sim.options import SECOND_LOOPBACK
from profiles.status.pvs import StatusPVs


async def update_often(updates: int) -> tuple[list[int], dict[str, int]]:
    """Write often to a number and an image; return what is kept of each, and what a client got last."""
    from caproto.asyncio.server import Context

    async def refuse(_name: str, _value: Any) -> None:
        raise AssertionError

    pvs = StatusPVs("KEPT:", refuse)
    keep_few_updates(pvs.pvdb)
    server = Context(pvs.pvdb, [SECOND_LOOPBACK])
    serving = asyncio.create_task(server.run())
    image = np.zeros(1000, np.float32)
    followed = await asyncio.to_thread(_follow, "KEPT:Heartbeat", "KEPT:image1:ArrayData")
    try:
        for number in range(1, updates + 1):
            await pvs.heartbeat.write(number, verify_value=False)
            await pvs.image1.array_data.write(image + number, verify_value=False)
            await asyncio.sleep(0.002)
        for _ in range(500):
            received = {pv.pvname: int(np.ravel(pv.get(use_monitor=True))[0]) for pv in followed}
            if set(received.values()) == {updates}:
                break
            await asyncio.sleep(0.02)
        kept = [len(updates) for circuit in server.circuits for updates in circuit.unexpired_updates.values()]
    finally:
        await asyncio.to_thread(lambda: [pv.disconnect() for pv in followed])
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    return kept, received


def _follow(*names: str) -> list[Any]:
    import epics

    epics.ca.use_initial_context()
    followed = [epics.PV(name, auto_monitor=True) for name in names]
    for pv in followed:
        assert pv.wait_for_connection(timeout=10)
        pv.get(timeout=10)
    return followed


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(update_often(int(sys.argv[1])))))
    sys.stdout.flush()
    # EPICS's library takes half a minute to end without a repeater.
    os._exit(0)
