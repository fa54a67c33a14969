"""The package as a whole."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("tiled", "bluesky", "ophyd", "cupy", "astra", "finufft", "h5py", "fastapi", "numpy", "distributed")


def test_importing_tomoservice_loads_no_heavy_package() -> None:
    code = "import sys, tomoservice; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.split())


def test_listing_the_commands_loads_no_heavy_package() -> None:
    code = (
        "import sys; from tomoservice.cli import run; run(['--help']); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "reconstruct" in done.stdout
    assert not set(HEAVY) & set(done.stderr.split())
