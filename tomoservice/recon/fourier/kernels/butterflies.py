"""One stage of a fast Fourier transform, for radices 2, 3, 4, 5 and 8, on cells.

The stages are those of Stockham's algorithm, which needs no reordering of its result (Cochran et al. 1967,
DOI 10.1109/PROC.1967.5957). A stage of radix R takes ``groups`` times ``run`` butterflies. It reads cells
``q + run (p + groups r)`` and writes cells ``q + run (R p + j)``, those turned by
``exp(-2 pi i p j / (R groups))``.
"""

from __future__ import annotations

import math
from typing import Any

from tomoservice.recon.fourier.kernels.emit import cgutils, intrinsic, ir, types
from tomoservice.recon.fourier.kernels.vectors import CELL_BYTES, INDEX, Cells, constant

ZERO = ir.Constant(INDEX, 0)


def butterfly(cells: Cells, a: list[Any]) -> list[Any]:
    """Return the discrete Fourier transform, ``exp(-2 pi i ...)``, of 2, 3, 4, 5 or 8 cells."""
    return {2: _dft2, 3: _dft3, 4: _dft4, 5: _dft5, 8: _dft8}[len(a)](cells, a)


def _pair(cells: Cells, a: Any, b: Any) -> tuple[Any, Any]:
    return cells.add(a, b), cells.sub(a, b)


def _dft2(cells: Cells, a: list[Any]) -> list[Any]:
    return list(_pair(cells, a[0], a[1]))


def _dft3(cells: Cells, a: list[Any]) -> list[Any]:
    total, difference = _pair(cells, a[1], a[2])
    middle = cells.add(a[0], cells.mul(total, constant(-0.5)))
    turned = cells.turned(cells.mul(difference, constant(math.sqrt(0.75))))
    return [cells.add(a[0], total), cells.sub(middle, turned), cells.add(middle, turned)]


def _dft4(cells: Cells, a: list[Any]) -> list[Any]:
    even, odd = _pair(cells, a[0], a[2])
    total, difference = _pair(cells, a[1], a[3])
    turned = cells.turned(difference)
    first, third = _pair(cells, even, total)
    return [first, cells.sub(odd, turned), third, cells.add(odd, turned)]


def _dft5(cells: Cells, a: list[Any]) -> list[Any]:
    cos = [constant(math.cos(0.4 * math.pi * k)) for k in (1, 2)]
    sin = [constant(math.sin(0.4 * math.pi * k)) for k in (1, 2)]
    plus1, minus1 = _pair(cells, a[1], a[4])
    plus2, minus2 = _pair(cells, a[2], a[3])
    real1 = cells.add(cells.add(a[0], cells.mul(plus1, cos[0])), cells.mul(plus2, cos[1]))
    real2 = cells.add(cells.add(a[0], cells.mul(plus1, cos[1])), cells.mul(plus2, cos[0]))
    turned1 = cells.turned(cells.add(cells.mul(minus1, sin[0]), cells.mul(minus2, sin[1])))
    turned2 = cells.turned(cells.sub(cells.mul(minus1, sin[1]), cells.mul(minus2, sin[0])))
    return [
        cells.add(a[0], cells.add(plus1, plus2)),
        cells.sub(real1, turned1),
        cells.sub(real2, turned2),
        cells.add(real2, turned2),
        cells.add(real1, turned1),
    ]


def _dft8(cells: Cells, a: list[Any]) -> list[Any]:
    even, odd = _dft4(cells, a[0::2]), _dft4(cells, a[1::2])
    half = constant(math.sqrt(0.5))
    first = cells.mul(cells.sub(odd[1], cells.turned(odd[1])), half)
    second = cells.turned(odd[2])
    third = cells.mul(cells.add(odd[3], cells.turned(odd[3])), half)
    low0, high0 = _pair(cells, even[0], odd[0])
    low1, high1 = _pair(cells, even[1], first)
    high2, low2 = _pair(cells, even[2], second)
    high3, low3 = _pair(cells, even[3], third)
    return [low0, low1, low2, low3, high0, high1, high2, high3]


def _make_stage(radix: int, *, twiddled: bool) -> Any:
    def stage(typingctx: Any, source: Any, step: Any, target: Any, loops: Any, twiddles: Any) -> Any:  # noqa: ARG001
        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            cells = Cells(builder)
            source, step, target, loops, table = args
            groups, run = cgutils.unpack_tuple(builder, loops, 2)
            reach = builder.mul(step, builder.mul(run, groups))
            spread = builder.mul(run, ir.Constant(INDEX, CELL_BYTES))
            with cgutils.for_range(builder, groups) as group:
                first_in = cells.offset(source, step, builder.mul(run, group.index))
                first_out = cells.offset(target, builder.mul(spread, group.index), radix)
                row = cells.offset(table, 8 * (radix - 1), group.index)
                factors = [
                    cells.factor(cells.number(row, 2 * j), cells.number(row, 2 * j + 1))
                    for j in range(radix - 1 if twiddled else 0)
                ]
                with cgutils.for_range(builder, run) as place:
                    read = cells.offset(first_in, step, place.index)
                    write = cells.offset(first_out, CELL_BYTES, place.index)
                    values = [cells.load(cells.offset(read, reach, r)) for r in range(radix)]
                    for j, value in enumerate(butterfly(cells, values)):
                        turned = cells.times(value, factors[j - 1]) if twiddled and j else value
                        cells.store(turned, cells.offset(write, spread, j))
            return context.get_dummy_value()

        pair = types.UniTuple(types.intp, 2)
        return types.void(types.intp, types.intp, types.intp, pair, types.intp), generate

    return intrinsic(stage)


twiddled_2, twiddled_3, twiddled_4, twiddled_5, twiddled_8 = (
    _make_stage(radix, twiddled=True) for radix in (2, 3, 4, 5, 8)
)
"""``twiddled_R(source, step, target, (groups, run), twiddles)``: a stage.

Cells of the source lie `step` bytes apart; the twiddle factors are R - 1 pairs (cosine, minus sine) for each
group.
"""
last_2, last_3, last_4, last_5, last_8 = (_make_stage(radix, twiddled=False) for radix in (2, 3, 4, 5, 8))
"""The same for the last stage, which has one group and turns nothing."""


def _make_filter(radix: int) -> Any:
    def stage(typingctx: Any, source: Any, target: Any, run: Any, real: Any, imaginary: Any) -> Any:  # noqa: ARG001
        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            cells = Cells(builder)
            source, target, run, real, imaginary = args
            with cgutils.for_range(builder, run) as place:
                index = [builder.add(place.index, cells.offset(ZERO, run, r)) for r in range(radix)]
                values = [cells.load(cells.offset(source, CELL_BYTES, i)) for i in index]
                for j, value in enumerate(butterfly(cells, values)):
                    to = index[(j + radix // 2) % radix]
                    factor = cells.factor(cells.number(real, to), cells.number(imaginary, to))
                    place_to = cells.offset(target, CELL_BYTES, to)
                    cells.store(cells.times(value, factor), place_to, streaming=True)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), generate

    return intrinsic(stage)


filter_4, filter_8 = _make_filter(4), _make_filter(8)
"""``filter_R(source, target, run, real, imaginary)``: the last stage, times one complex number for each
frequency, with frequency 0 in the middle; the result goes past the caches."""
