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


HEAPS = """
import ctypes, re, threading
from tomoservice.freed_memory import share_heaps

{first}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
held, gate = [], threading.Barrier(13)

def hold():
    held.append(libc.malloc(1000))
    gate.wait()
    gate.wait()

threads = [threading.Thread(target=hold) for _ in range(12)]
for thread in threads:
    thread.start()
gate.wait()
# A heap of a thread begins where its address says: 64 MiB apart.
print(len({{block >> 26 for block in held}}))
gate.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_threads_share_heaps() -> None:
    many, few = (
        int(
            subprocess.run(
                [sys.executable, "-c", HEAPS.format(first=first)], capture_output=True, text=True, check=True
            ).stdout
        )
        for first in ("", "share_heaps()")
    )
    # The main heap may lie across such a border.
    assert few <= 3 < many
