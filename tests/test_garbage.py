"""What is there once a process is ready is not looked at again by the collector of garbage."""

from __future__ import annotations

import json
import subprocess
import sys

PROBE = """
import gc, json, time, weakref
from tomoservice.garbage import spare_what_is_there

class Node:
    pass

def circle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

def collect():
    began = time.perf_counter()
    gc.collect()
    return time.perf_counter() - began

there = [[number] for number in range(300_000)]
garbage = circle()
before = min(collect() for _ in range(3))
dead_before = garbage() is None
left = circle()
spare_what_is_there()
dead_then = left() is None
after = min(collect() for _ in range(3))
later = circle()
gc.collect()
print(json.dumps({"dead": [dead_before, dead_then, later() is None], "times": [before, after]}))
"""


def test_what_is_there_is_left_alone_and_what_comes_is_not() -> None:
    said = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    told = json.loads(said.stdout)
    assert told["dead"] == [True, True, True]
    before, after = told["times"]
    assert after < before / 4
