"""What an IOC keeps of what it has sent: bounded, while its clients still get what counts."""

from __future__ import annotations

import json
import subprocess
import sys

from profiles.serving import UPDATES_KEPT


def test_few_updates_are_kept_and_the_last_one_arrives() -> None:
    # caproto closes nothing of what it opens, so it has a process of its own
    command = [sys.executable, "-m", "tests.sessions.busy_ioc", "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    kept, received = json.loads(done.stdout.splitlines()[-1])
    assert received == {"KEPT:Heartbeat": 200, "KEPT:image1:ArrayData": 200}
    assert sorted(kept) == [1, UPDATES_KEPT]
