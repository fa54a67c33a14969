"""Kernels are compiled once for all processes, never from a mixture of sources, and by any thread."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tomoservice

SOURCES = {
    "__init__": "",
    "sizes": "FACTOR = 2\n",
    "_inner_kernels": """
from tomoservice.compiling import compiled
from tomoservice.prep.sizes import FACTOR

@compiled(inline="always")
def scale(number):
    return FACTOR * number
""",
    "_outer_kernels": """
from tomoservice.compiling import compiled
from tomoservice.prep._inner_kernels import scale

@compiled
def add(number):
    return scale(number) + 1
""",
}
CALL = """
from tomoservice.prep._outer_kernels import add
print(add(10), sum(add.stats.cache_hits.values()))
"""
EDIT_AND_CALL = """
from pathlib import Path
from tomoservice.prep import sizes
Path(sizes.__file__).write_text("FACTOR = 3\\n")
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a copy of the package with two small kernels and a constant, each in a file."""
    package = tmp_path / "sources" / "tomoservice"
    (package / "prep").mkdir(parents=True)
    for source in Path(tomoservice.__file__).parent.glob("*.py"):
        shutil.copy(source, package)
    for name, text in SOURCES.items():
        (package / "prep" / f"{name}.py").write_text(text)
    return package


def run(code: str, package: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # Python takes its own compiled files for new when an edit comes in the same second.
    space = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environment
    space.pop("NUMBA_CACHE_DIR", None)
    # A folder that Python is started in comes before the packages that are installed.
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=space,
        cwd=package.parent,
    )


def test_a_second_process_loads_what_the_first_compiled_until_a_file_changes(package):
    assert run(CALL, package).stdout == "21 0\n"
    assert run(CALL, package).stdout == "21 1\n"
    # A constant that a kernel of another file has built into the one that is called.
    (package / "prep" / "sizes.py").write_text("FACTOR = 3\n")
    assert run(CALL, package).stdout == "31 0\n"


def test_an_edit_while_a_process_runs_spoils_nothing_for_the_next(package):
    during = run(EDIT_AND_CALL + CALL, package)
    assert during.stdout == "21 0\n"
    assert during.stderr.count("source has changed") == 1
    assert run(CALL, package).stdout == "31 0\n"
    assert run(CALL, package).stdout == "31 1\n"


def test_kernels_that_cannot_be_kept_are_compiled_all_the_same(package, tmp_path):
    # Files where folders would be: those cannot be written even by root.
    (package / "prep" / "__pycache__").touch()
    (tmp_path / "file").touch()
    home = str(tmp_path / "file")
    for _ in range(2):
        done = run(CALL, package, HOME=home, XDG_CACHE_HOME=home)
        assert done.stdout == "21 0\n"
        assert done.stderr.count("does not keep them on disk") == 1


def test_importing_the_package_loads_no_compiler():
    code = "import sys, tomoservice.compiling; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


FIRST_CALLS = """
import sys, threading
import numpy as np
from tomoservice.prep.minus_log import minus_log
from tomoservice.threads import for_each
sys.setswitchinterval(1e-5)
together = threading.Barrier(4)
data = np.linspace(0.1, 2, 1 << 18, dtype=np.float32).reshape(4, 256, 256)
failed = []

def call(number):
    from tomoservice.prep._polynomial_kernel import evaluate
    from tomoservice.recon._conversion_kernel import convert
    together.wait()
    values, coefficients = np.full(64, 2, np.float32), np.eye(8, dtype=np.float32)[number]
    kernels = [
        lambda: np.allclose(minus_log(data, minimum_transmission=1e-4), -np.log(data), atol=1e-6),
        lambda: evaluate(values, coefficients) == 0 and (values == 2 ** (number + 1)).all(),
        lambda: converted(convert, (np.uint8, np.uint16)[number % 2]),
    ]
    for kernel in kernels[number % 3 :] + kernels[: number % 3]:
        if not kernel():
            failed.append(number)

def converted(convert, kind):
    numbers = np.empty((4, 4), kind)
    convert(np.full((4, 4), 3, np.float32), 1.0, 10.0, 255.0, numbers)
    return (numbers == 20).all()

for_each(call, range(4), 4)
print(failed)
"""


def test_threads_may_make_the_first_calls_at_once(tmp_path):
    for _ in ("compiled", "loaded"):
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", FIRST_CALLS],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "[]\n"
