"""The cases by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tests.benchmarks.cases import accuracy, fourier, gpu, pipeline, prep, process
from tests.benchmarks.harness import Options, Row

Cases = Mapping[str, Callable[[Options], Iterator[Row]]]

CASES: Cases = {
    "fourier": fourier.speed,
    "accuracy": accuracy.accuracy,
    "preview": fourier.preview,
    "sizes": fourier.sizes,
    "flat": prep.flat_field,
    "stripes": prep.stripes,
    "wavelet": prep.wavelet,
    "paganin": prep.paganin,
    "pipeline": pipeline.pipeline,
    "memory": pipeline.memory,
    "start": process.start,
    "gpu": gpu.gpu,
}
