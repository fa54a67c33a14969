"""After a worker has got ready, the first reconstruction by the default recipe waits for no compiler."""

from __future__ import annotations

import json
import subprocess
import sys

PROBE = """
import json, logging
from numba.core.dispatcher import Dispatcher

made = []
compile_one = Dispatcher.compile

def noting(self, signature):
    made.append(self.py_func.__qualname__)
    return compile_one(self, signature)

Dispatcher.compile = noting
from tomoservice.compute.warming import warm_up

warm_up()
warmed = len(made)
from tests.phantom_scans import phantom_scan
from tomoservice.pipeline import compute, prepare
from tomoservice.recipe import shipped_recipe

scan = phantom_scan(96, 8, 120, rotation_axis=45.3).scan()
plan = prepare(scan, shipped_recipe("default"))
compute(plan, scan, on_slab=lambda slab, slices: None)
print(json.dumps([warmed, made[warmed:], plan.resolved.rotation_axis.value]))
"""


def test_the_first_reconstruction_compiles_and_loads_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot be made ready" not in done.stderr
    warmed, later, axis = json.loads(done.stdout)
    assert warmed > 10
    assert later == []
    assert abs(axis - 45.3) < 0.3
