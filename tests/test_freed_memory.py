"""Memory that was freed goes back to the system when it is told to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import ctypes
from tomoservice.freed_memory import give_back_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]

def resident_mib():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

blocks = [libc.malloc(64000) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 64000)
# What stays keeps the heap from shrinking by itself.
for block in blocks[:-1]:
    libc.free(block)
before = resident_mib()
give_back_freed_memory()
print(before - resident_mib())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells how much is resident")
def test_what_is_free_between_blocks_is_given_back() -> None:
    said = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert float(said.stdout) > 50
