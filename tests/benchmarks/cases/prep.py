"""Speed of what comes before the reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.harness import Options, Row, Target, interleave
from tests.benchmarks.peers import MirroredPaganin, copy, optional, plain_flat_field, sparing_flat_field
from tests.benchmarks.scenes import striped
from tomoservice.propagation import FreeSpace
from tomoservice.threads import available_threads

Floats = NDArray[np.float32]
ANGLES, ROWS, COLUMNS = 721, 64, 1024
SAME = 1e-5
"""Greatest difference, relative to the greatest value, of results that are called the same."""


def flat_field(options: Options) -> Iterator[Row]:
    """Time flat field and minus log in one pass beside plain NumPy, and beside a copy of as many bytes."""
    from tomoservice.prep.flat_field import line_integrals, open_beam

    angles = 181 if options.quick else ANGLES
    random = np.random.default_rng(0)
    frames = random.integers(5000, 50000, (angles, ROWS, COLUMNS), dtype=np.uint16)
    dark = random.uniform(90, 110, (ROWS, COLUMNS)).astype(np.float32)
    flat = random.uniform(50000, 60000, (ROWS, COLUMNS)).astype(np.float32)
    beam = open_beam(flat, dark)
    out = np.zeros(frames.shape, np.float32)
    spare = np.zeros(frames.shape, np.float32)
    across = np.zeros((ROWS, angles, COLUMNS), np.float32).transpose(1, 0, 2)
    # Two bytes of every pixel are read and four written. Plain bytes, three of which move as much, need no
    # conversion, and the C library writes them past the cache.
    source, target = (np.zeros(3 * frames.size, np.uint8) for _ in range(2))
    times = interleave(
        {
            "ours": lambda: line_integrals(frames, beam, minimum_transmission=1e-4, out=out),
            "ours into sinograms": lambda: line_integrals(
                frames, beam, minimum_transmission=1e-4, out=across
            ),
            "NumPy": lambda: plain_flat_field(frames, flat, dark),
            "NumPy in place": lambda: sparing_flat_field(frames, flat, dark, spare),
            "copy": lambda: copy(frames, spare, available_threads()),
            "plain copy": lambda: copy(source, target, available_threads()),
        },
        options.rounds,
    )
    plain = plain_flat_field(frames, flat, dark)
    off = max(float(np.abs(result - plain).max()) for result in (out, across))
    size = f"uint16 {angles} x {ROWS} x {COLUMNS}"
    told = f"{times.told()}; greatest difference {off:.1g}"
    work = f"Flat field + minus log, {size}, against plain NumPy"
    yield Row(work, Target(4), times.ratio("NumPy", "ours"), told)
    work = "Flat field + minus log, against NumPy in place"
    yield Row(work, None, times.ratio("NumPy in place", "ours"))
    work = "Flat field + minus log: speed as part of a plain copy's of as many bytes"
    yield Row(work, None, times.ratio("plain copy", "ours"))
    for name in ("ours", "ours into sinograms"):
        where = ", written as sinograms" if name != "ours" else ""
        work = f"Flat field + minus log{where}: speed as part of a copy's of the same pixels"
        yield Row(work, Target(0.5), times.ratio("copy", name))


def stripes(options: Options) -> Iterator[Row]:
    """Time the combined stripe removal beside algotom's, one sinogram at a time in one process."""
    from tomoservice.prep.stripes import METHODS

    removal = optional("algotom.prep.removal")
    method = METHODS["vo_all"](snr=3.0, large_size=51, small_size=21, drop_ratio=0.1)
    yield from _against_algotom(
        "remove_all_stripe", Target(10), options, method, lambda s: removal.remove_all_stripe(s, 3.0, 51, 21)
    )


def wavelet(options: Options) -> Iterator[Row]:
    """Time Fourier-wavelet stripe removal beside algotom's."""
    from tomoservice.prep.stripes import METHODS

    removal = optional("algotom.prep.removal")
    method = METHODS["fourier_wavelet"](wavelet="db9", level=5, sigma=1.0, variant="algotom")
    yield from _against_algotom(
        "Fourier-wavelet stripe removal",
        Target(4),
        options,
        method,
        lambda s: removal.remove_stripe_based_wavelet_fft(s, level=5, size=1, wavelet_name="db9"),
    )


def _against_algotom(
    name: str, target: Target, options: Options, method: object, peer: Callable[[Floats], Floats]
) -> Iterator[Row]:
    from tomoservice.prep.stripes import remove_stripes

    angles, columns = (181, 256) if options.quick else (ANGLES, COLUMNS)
    rows = 4 * available_threads()
    data = striped(rows, angles, columns)
    out = np.empty_like(data)
    times = interleave(
        {
            f"ours ({rows} sinograms)": lambda: remove_stripes(data, method, out=out),
            "algotom (1 sinogram)": lambda: peer(data[0]),
        },
        options.rounds,
    )
    ours, algotom = times.seconds
    work = f"{name}, {angles} x {columns} sinograms, against algotom in one process"
    yield Row(work, target, rows * times.ratio(algotom, ours), times.told())
    calm = striped(1, angles, columns, dead=False)
    reference = peer(calm[0])
    off = float(np.abs(remove_stripes(calm, method)[0] - reference).max() / np.abs(reference).max())
    yield Row(f"{name}: greatest difference from algotom", Target(SAME, at_least=False, unit=""), off)


def paganin(options: Options) -> Iterator[Row]:
    """Time phase retrieval on mirrored frames beside the same formula and padding, written plainly."""
    from tomoservice.prep.phase import Method, PhasePlan, Retrieval, row_margin

    frames = 32 if options.quick else 256
    space = FreeSpace(energy_kev=20.0, distance_mm=50.0, pixel_size_um=1.0)
    retrieval = Retrieval(method=Method.PAGANIN, delta_beta=100.0, space=space)
    random = np.random.default_rng(0)
    data = random.uniform(0.2, 1, (frames, ROWS, COLUMNS)).astype(np.float32)
    plan = PhasePlan(retrieval, ROWS, COLUMNS)
    margin = row_margin(retrieval)
    peer = MirroredPaganin((ROWS, COLUMNS), margin, 100.0, space)
    out = np.empty_like(data)
    times = interleave(
        {"ours": lambda: plan.execute(data, out=out), "plain SciPy": lambda: peer(data)}, options.rounds
    )
    off = float(np.abs(out - peer(data)).max())
    work = f"Paganin, {frames} frames {ROWS} x {COLUMNS}, mirrored by {margin} pixels, against plain SciPy"
    told = f"{times.told()}; greatest difference {off:.1g}"
    yield Row(work, Target(4), times.ratio("plain SciPy", "ours"), told)
