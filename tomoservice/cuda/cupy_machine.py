"""A CUDA device by CuPy: its arrays, NVRTC for kernels, cuFFT for transforms."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.cuda.machine import DeviceArray, Event, Kernels, Stream

# What cudaPointerGetAttributes calls memory of the host that a device can read by itself.
PINNED = 1
KEPT_TRANSFORMS = 8


def compiler_options(defines: Mapping[str, str | int]) -> list[str]:
    """Return what NVRTC is told, besides the architecture."""
    return ["-std=c++14", *(f"-D{name}={value}" for name, value in defines.items())]


@cache
def cupy_machine(index: int = 0) -> CupyMachine:
    """Return the machine of a device, the same at each call: it keeps compiled kernels."""
    return CupyMachine(index)


class CupyMachine:
    """A CUDA device; see `Machine`.

    Parameters
    ----------
    index
        Which of the devices that the process sees.
    """

    def __init__(self, index: int = 0) -> None:
        import cupy
        import cupyx.scipy.fft
        import cupyx.scipy.ndimage

        self.xp = cupy
        self.fft = cupyx.scipy.fft
        self.ndimage = cupyx.scipy.ndimage
        self.out_of_memory: type[Exception] = cupy.cuda.memory.OutOfMemoryError
        self._index = index
        self._lock = threading.RLock()
        properties = cupy.cuda.runtime.getDeviceProperties(index)
        self.name = f"{properties['name'].decode()} (CUDA device {index})"
        self._kernels: dict[tuple[object, ...], _CupyKernels] = {}
        self._transforms: dict[tuple[object, ...], Any] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Machine.active`."""
        with self._lock, self.xp.cuda.Device(self._index):
            yield

    def owns(self, array: object) -> bool:
        """See `Machine.owns`."""
        return isinstance(array, self.xp.ndarray)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """See `Machine.empty`."""
        return self.xp.empty(shape, dtype)

    def to_device(self, host: NDArray[Any]) -> DeviceArray:
        """See `Machine.to_device`."""
        with self.xp.cuda.Device(self._index):
            return self.xp.asarray(np.ascontiguousarray(host))

    def wait(self) -> None:
        """See `Machine.wait`."""
        self.xp.cuda.get_current_stream().synchronize()

    def to_host(self, device: DeviceArray) -> NDArray[Any]:
        """See `Machine.to_host`."""
        host: NDArray[Any] = self.xp.asnumpy(device)
        return host

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """See `Machine.pinned`."""
        import cupyx

        host: NDArray[Any] = cupyx.empty_pinned(shape, dtype)
        return host

    def is_pinned(self, host: NDArray[Any]) -> bool:
        """See `Machine.is_pinned`."""
        attributes = self.xp.cuda.runtime.pointerGetAttributes(host.ctypes.data)
        return bool(attributes.type == PINNED)

    def stream(self) -> Stream:
        """See `Machine.stream`."""
        return _CupyStream(self.xp)

    def kernels(self, source: str, defines: Mapping[str, str | int]) -> Kernels:
        """See `Machine.kernels`."""
        options = tuple(compiler_options(defines))
        key = (source, options)
        if key not in self._kernels:
            module = self.xp.RawModule(code=source, options=options, backend="nvrtc")
            self._kernels[key] = _CupyKernels(module)
        return self._kernels[key]

    def transform(self, array: DeviceArray, axes: int) -> None:
        """See `Machine.transform`."""
        # Plans are kept here, not in CuPy's cache: their working space counts as ours, and goes by `release`.
        key = (array.shape, axes)
        plan = self._transforms.pop(key, None)
        if plan is None:
            places = tuple(range(array.ndim - axes, array.ndim))
            try:
                plan = self.fft.get_fft_plan(array, axes=places, value_type="C2C")
            except self.xp.cuda.cufft.CuFFTError as error:
                if "ALLOC_FAILED" in str(error):
                    raise self.out_of_memory(array.nbytes, 0) from error
                raise
        self._transforms[key] = plan
        if len(self._transforms) > KEPT_TRANSFORMS:
            del self._transforms[next(iter(self._transforms))]
        plan.fft(array, array, self.xp.cuda.cufft.CUFFT_FORWARD)

    def free_bytes(self) -> int:
        """See `Machine.free_bytes`."""
        free, _ = self.xp.cuda.runtime.memGetInfo()
        return int(free) + int(self.xp.get_default_memory_pool().free_bytes())

    def release(self) -> None:
        """See `Machine.release`."""
        self._transforms.clear()
        self.xp.get_default_memory_pool().free_all_blocks()


class _CupyStream:
    """See `Stream`."""

    def __init__(self, cupy: Any) -> None:
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._cupy = cupy

    def current(self) -> AbstractContextManager[object]:
        current: AbstractContextManager[object] = self._stream
        return current

    def upload(self, host: NDArray[Any], device: DeviceArray) -> None:
        _check_copy(host, device)
        device.data.copy_from_host_async(host.ctypes.data, host.nbytes, self._stream)

    def download(self, device: DeviceArray, host: NDArray[Any]) -> None:
        _check_copy(host, device)
        device.data.copy_to_host_async(host.ctypes.data, host.nbytes, self._stream)

    def mark(self) -> Event:
        return _CupyEvent(self._stream.record(self._cupy.cuda.Event(disable_timing=True)))

    def after(self, event: Event) -> None:
        if isinstance(event, _CupyEvent):
            self._stream.wait_event(event.event)


class _CupyEvent:
    """See `Event`."""

    def __init__(self, event: Any) -> None:
        self.event = event

    def wait(self) -> None:
        self.event.synchronize()


class _CupyKernels:
    """See `Kernels`."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def launch(
        self, name: str, blocks: tuple[int, int, int], threads: tuple[int, int, int], arguments: list[Any]
    ) -> None:
        # A missing array is a null pointer.
        given = tuple(np.uint64(0) if argument is None else argument for argument in arguments)
        self._module.get_function(name)(blocks, threads, given)


def _check_copy(host: NDArray[Any], device: DeviceArray) -> None:
    """Refuse what would be copied wrongly: bytes are copied as they lie."""
    alike = host.shape == device.shape and host.dtype == device.dtype
    if not (alike and host.flags.c_contiguous and device.flags.c_contiguous):
        msg = f"cannot copy between {host.dtype} {host.shape} and {device.dtype} {device.shape}"
        raise ValueError(msg)
