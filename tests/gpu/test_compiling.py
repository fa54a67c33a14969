"""Every kernel compiles for the devices that it is meant for, whether or not there is one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from tests.gpu import nvrtc
from tests.gpu.host_machine import KERNEL
from tomoservice.cuda.cupy_machine import compiler_options
from tomoservice.prep.on_device.flat_field import PIXELS

PACKAGE = Path(str(resources.files("tomoservice")))
ARCHITECTURES = ("sm_80", "sm_90")
# What each source is compiled with.
DEFINES: dict[str, list[dict[str, str | int]]] = {
    "recon/fourier_cuda/kernels.cu": [{"PAIRS": pairs} for pairs in (1, 2, 4, 8)],
    "prep/on_device/stripes/stripes.cu": [{}],
    "prep/on_device/flat.cu": [{"PIXEL": pixel} for pixel in PIXELS.values()],
}

needs_compiler = pytest.mark.skipif(
    nvrtc.load() is None, reason="NVRTC is not installed (pip install 'tomoservice[gpu-check]')"
)


def cases() -> Iterator[tuple[str, dict[str, str | int], str]]:
    for (name, defines), architecture in itertools.product(DEFINES.items(), ARCHITECTURES):
        for one in defines:
            yield name, one, architecture


def test_every_source_is_known_here():
    assert {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.cu")} == set(DEFINES)


@needs_compiler
@pytest.mark.parametrize(("name", "defines", "architecture"), list(cases()))
def test_source_compiles_without_a_word(name, defines, architecture):
    source = (PACKAGE / name).read_text("utf-8")
    options = [*compiler_options(defines), f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    cubin, log = nvrtc.compiled(source, options)
    assert cubin.startswith(b"\x7fELF")
    for kernel in KERNEL.findall(source):
        assert kernel.encode() in cubin
    assert "warning" not in log
    # Numbers that do not fit into registers would go through memory.
    assert all(count == "0" for count in re.findall(r"(\d+) bytes (?:spill|stack)", log))


@needs_compiler
def test_what_does_not_compile_is_said():
    with pytest.raises(nvrtc.CompilationError, match="undefined"):
        nvrtc.compiled("__global__ void f() { g(); }", [])
