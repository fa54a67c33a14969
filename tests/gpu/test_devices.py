"""The choice of a device: what is asked for, what is there, and what is said about it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tomoservice.devices import AUTO, CPU, DeviceChoice, Obstacle, cupy_obstacle, uses_cuda
from tomoservice.errors import DeviceError
from tomoservice.recon import describe, get_reconstructor, place
from tomoservice.recon.fourier import FourierReconstructor
from tomoservice.recon.iterative.astra_projector import astra_obstacle


@pytest.mark.parametrize(
    ("text", "kind", "index", "told"),
    [
        ("auto", "auto", 0, "auto"),
        ("cpu", "cpu", 0, "cpu"),
        ("CUDA", "cuda", 0, "cuda"),
        (" cuda:0 ", "cuda", 0, "cuda"),
        ("cuda:3", "cuda", 3, "cuda:3"),
    ],
)
def test_a_choice_is_read_and_written(text, kind, index, told):
    choice = DeviceChoice.parse(text)
    assert (choice.kind, choice.index, str(choice)) == (kind, index, told)


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:-1", "cpu:1", "cuda:1.5", "auto cpu"])
def test_another_word_is_refused(text):
    with pytest.raises(DeviceError, match=r"no device .*; there are auto, cpu, cuda"):
        DeviceChoice.parse(text)


class TestDecision:
    """With libraries that say what a test has them say."""

    def test_the_cpu_asks_nobody(self):
        def nobody(_index: int) -> None:
            raise AssertionError

        assert not uses_cuda(CPU, "it", nobody)

    def test_a_device_that_answers_is_used(self):
        asked = []
        for choice in (AUTO, DeviceChoice("cuda", 2)):
            assert uses_cuda(choice, "it", asked.append)
        assert asked == [0, 2]

    def test_auto_takes_the_cpu_and_says_so_once(self, caplog):
        with caplog.at_level(logging.INFO, "tomoservice"):
            for _ in range(5):
                assert not uses_cuda(AUTO, "an unheard-of method", lambda _: Obstacle("no driver"))
        assert [record.getMessage() for record in caplog.records] == [
            "an unheard-of method: computed on the CPU, no driver"
        ]

    def test_what_is_not_installed_is_not_worth_a_word(self, caplog):
        with caplog.at_level(logging.INFO, "tomoservice"):
            assert not uses_cuda(AUTO, "another method", lambda _: Obstacle("not installed", expected=True))
        assert not caplog.records

    def test_cuda_that_is_asked_for_must_be_there(self):
        with pytest.raises(DeviceError, match=r"it cannot use device cuda:1: no driver.*'auto'"):
            uses_cuda(DeviceChoice("cuda", 1), "it", lambda _: Obstacle("no driver"))


def test_methods_that_know_no_device_compute_on_the_cpu():
    assert place("finufft", AUTO) == CPU
    with pytest.raises(DeviceError, match="finufft computes on the CPU only; got device cuda"):
        get_reconstructor("finufft", DeviceChoice("cuda"))


def test_a_device_beyond_the_last_one_is_refused():
    with pytest.raises(DeviceError, match="cannot use device cuda:77"):
        get_reconstructor("fourier", DeviceChoice("cuda", 77))
    with pytest.raises(DeviceError, match="cannot use device cuda:77"):
        get_reconstructor("sirt", DeviceChoice("cuda", 77))


def test_astra_without_a_device_is_known_once_and_said_once(caplog, capfd):
    astra_obstacle.cache_clear()
    with caplog.at_level(logging.INFO, "tomoservice"):
        devices = {place(method, AUTO) for method in ("sirt", "cgls", "astra_fbp", "sirt")}
    if devices == {DeviceChoice("cuda")}:
        pytest.skip("a CUDA device runs here: nothing to fall back from")
    assert devices == {CPU}
    assert astra_obstacle.cache_info().misses == 1
    assert len(caplog.records) <= 1  # none if an earlier test of this process had it said
    assert "ASTRA cannot project on the cuda" in astra_obstacle(0).reason
    printed = capfd.readouterr()
    assert not printed.out
    assert not printed.err


SCRIPT = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
from tomoservice.devices import AUTO
from tomoservice.recon import describe, get_reconstructor, place
for _ in range(3):
    placed = place("fourier", AUTO)
    print(type(get_reconstructor("fourier", AUTO)).__name__, placed, describe(placed))
print("cupy" in sys.modules)
"""


def fresh(**environment: str) -> tuple[list[str], list[str]]:
    """Run the script in a process of its own; return what it prints, and what it logs."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment or None
    )
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.mark.skipif(find_spec("cupy") is None, reason="CuPy is not installed")
def test_cupy_without_a_device_means_the_cpu_and_one_line_in_the_log():
    # Where there is a device, the process does not see it.
    printed, logged = fresh(CUDA_VISIBLE_DEVICES="")
    assert printed == ["FourierReconstructor cpu None"] * 3 + ["True"]
    assert len(logged) == 1
    assert logged[0].startswith(
        "tomoservice.devices: method fourier: computed on the CPU, CuPy finds no CUDA device"
    )


CUPY_WITHOUT_A_DEVICE = """
class runtime:
    class CUDARuntimeError(RuntimeError):
        pass

    @staticmethod
    def getDeviceCount():
        raise runtime.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")


class memory:
    class OutOfMemoryError(MemoryError):
        pass


class cuda:
    runtime, memory = runtime, memory
"""


def test_what_cupy_says_without_a_device_means_the_cpu_and_one_line_in_the_log(tmp_path):
    """In CuPy's place stands what it does on a machine without a device: it can be imported, and raises."""
    (tmp_path / "cupy.py").write_text(CUPY_WITHOUT_A_DEVICE)
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    printed, logged = fresh(PYTHONPATH=paths)
    assert printed == ["FourierReconstructor cpu None"] * 3 + ["True"]
    assert len(logged) == 1
    assert logged[0].startswith(
        "tomoservice.devices: method fourier: computed on the CPU, "
        "CuPy finds no CUDA device that it can use: cudaErrorNoDevice"
    )


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed")
def test_without_cupy_nothing_is_said():
    printed, logged = fresh()
    assert printed == ["FourierReconstructor cpu None"] * 3 + ["False"]
    assert logged == []


@pytest.mark.gpu
class TestOnADevice:
    """What there is to see of a device."""

    def test_auto_takes_it(self, cuda_machine):
        assert cupy_obstacle() is None
        assert place("fourier", AUTO) == DeviceChoice("cuda")
        assert not isinstance(get_reconstructor("fourier", AUTO), FourierReconstructor)
        assert describe(DeviceChoice("cuda")) == cuda_machine.name
