"""A reconstruction that is asked for, read early and waited for by a client that has nothing but Tiled.

It runs in a process of its own, into which neither this package nor its tests can get.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

READABLE_S = 8.0
"""Until a new reconstruction has a volume: one second or two, on a machine that has little else to do."""
LIMIT_S = 120.0
"""From the request to the end of the reconstruction."""


def plain_demo(uri: str, api_key: str, run_uid: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Queue a reconstruction, read a slice as soon as there is a volume, and again when it is done.

    Returns
    -------
    dict
        Path of the node, seconds until its volume was there, its state when the first read was asked for, the
        volume's shape; whether there is something on the picture, and whether both reads agree in every bit.
    """
    import numpy as np
    from tiled.client import from_uri
    from tiled.client.utils import ClientError
    from tiled.structures.core import Spec

    root = from_uri(uri, api_key=api_key)
    try:
        root["processed"].create_container(run_uid)
    except ClientError as error:
        if error.response.status_code != 409:
            raise
    began = time.monotonic()
    node = root["processed"][run_uid].create_container(
        "plain",
        metadata={"recipe": recipe, "status": {"state": "queued"}},
        specs=[Spec("TomoReconstruction", version="1")],
    )

    def state() -> str:
        return str(node.refresh().metadata["status"]["state"])

    def wait_for(condition: Callable[[], bool]) -> None:
        while not condition():
            if time.monotonic() - began > LIMIT_S:
                raise TimeoutError(json.dumps(dict(node.refresh().metadata["status"])))
            time.sleep(0.02)

    wait_for(lambda: "volume" in list(node))
    volume_s = time.monotonic() - began
    volume = node["volume"]
    state_at_read = state()
    early = volume[1]
    wait_for(lambda: state() in ("done", "failed", "cancelled"))
    if state() != "done":
        raise RuntimeError(json.dumps(dict(node.metadata["status"])))
    final = node["volume"][1]
    return {
        "path": "/".join(node.path_parts),
        "volume_s": volume_s,
        "state_at_read": state_at_read,
        "shape": list(volume.shape),
        "is_a_picture": bool(np.isfinite(early).all() and early.std() > 0),
        "agree": early.dtype == final.dtype and early.tobytes() == final.tobytes(),
    }


def in_a_process_of_its_own(uri: str, api_key: str, run_uid: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return what `plain_demo` returns in a Python that has nothing of this one's modules and paths."""
    done = subprocess.run(
        [sys.executable, "-I", __file__],
        input=json.dumps([uri, api_key, run_uid, recipe]),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S + 60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    result = plain_demo(*json.load(sys.stdin))
    assert "tomoservice" not in sys.modules
    sys.stdout.write(f"{json.dumps(result)}\n")
