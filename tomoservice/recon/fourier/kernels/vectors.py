"""Instructions on whole cells, and the intrinsics that move cells about.

LLVM turns an operation on 16 floats into whatever the processor has: one AVX-512 instruction, two of AVX,
four of NEON.
"""

from __future__ import annotations

from typing import Any

from tomoservice.recon.fourier.geometry import LARGEST
from tomoservice.recon.fourier.kernels.emit import cgutils, intrinsic, ir, types

FLOAT_MAX = 3.4e38
LANES = 16
CELL_BYTES = 64
FLOAT = ir.FloatType()
CELL = ir.VectorType(FLOAT, LANES)
INDEX = ir.IntType(64)
INT32 = ir.IntType(32)
# A product and a sum may become one fused operation; nothing else is reordered.
FLAGS = ("contract",)
HALF = LANES // 2
SWAP = [*range(HALF, LANES), *range(HALF)]


def constant(value: float) -> Any:
    """Return the cell that holds `value` sixteen times."""
    return ir.Constant(CELL, [value] * LANES)


# Times a cell whose halves are swapped: the imaginary unit times the cell.
TURN = ir.Constant(CELL, [-1.0] * HALF + [1.0] * HALF)


class Cells:
    """Writes instructions on cells where a kernel is being compiled.

    Parameters
    ----------
    builder
        LLVM's builder, standing where the instructions go.
    """

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def add(self, a: Any, b: Any) -> Any:
        """Return a + b."""
        return self.builder.fadd(a, b, flags=FLAGS)

    def sub(self, a: Any, b: Any) -> Any:
        """Return a - b."""
        return self.builder.fsub(a, b, flags=FLAGS)

    def mul(self, a: Any, b: Any) -> Any:
        """Return a times b, number by number (not the complex product)."""
        return self.builder.fmul(a, b, flags=FLAGS)

    def shuffle(self, a: Any, b: Any, places: list[int]) -> Any:
        """Return a cell put together from places 0 to 15 of a and 16 to 31 of b."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, LANES), places))

    def swap(self, a: Any) -> Any:
        """Return a with real and imaginary parts exchanged."""
        return self.shuffle(a, a, SWAP)

    def turned(self, a: Any) -> Any:
        """Return the imaginary unit times a."""
        return self.mul(self.swap(a), TURN)

    def splat(self, number: Any) -> Any:
        """Return the cell that holds one number sixteen times."""
        undefined = ir.Constant(CELL, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(INT32, 0))
        return self.shuffle(first, undefined, [0] * LANES)

    def factor(self, real: Any, imaginary: Any) -> tuple[Any, Any]:
        """Return a complex number, the same for all slices, as `times` wants it."""
        return self.splat(real), self.mul(self.splat(imaginary), TURN)

    def times(self, a: Any, factor: tuple[Any, Any]) -> Any:
        """Return the complex product of a cell and a `factor`."""
        return self.add(self.mul(a, factor[0]), self.mul(self.swap(a), factor[1]))

    def offset(self, address: Any, step: Any, count: int | Any) -> Any:
        """Return the address `count` steps of `step` bytes behind `address`."""
        if isinstance(step, int):
            step = ir.Constant(INDEX, step)
        if isinstance(count, int):
            count = ir.Constant(INDEX, count)
        return self.builder.add(address, self.builder.mul(step, count))

    def load(self, address: Any, *, align: int = CELL_BYTES) -> Any:
        """Return the cell at an address."""
        value = self.builder.load(self.builder.inttoptr(address, CELL.as_pointer()))
        value.align = align
        return value

    def store(self, value: Any, address: Any, *, align: int = CELL_BYTES, streaming: bool = False) -> None:
        """Put a cell to an address; past the caches if `streaming`."""
        instruction = self.builder.store(value, self.builder.inttoptr(address, CELL.as_pointer()))
        instruction.align = align
        if streaming:
            one = ir.Constant(INT32, 1)
            instruction.set_metadata("nontemporal", self.builder.module.add_metadata([one]))

    def number(self, address: Any, index: int | Any = 0) -> Any:
        """Return the float32 number at place `index` of the numbers at an address."""
        place = self.offset(address, 4, index)
        return self.builder.load(self.builder.inttoptr(place, FLOAT.as_pointer()))

    def transposed(self, rows: list[Any]) -> list[Any]:
        """Return sixteen cells whose places and numbers are exchanged."""
        for distance in (8, 4, 2, 1):
            low = [p + (LANES - distance if p & distance else 0) for p in range(LANES)]
            high = [place + distance for place in low]
            merged: list[Any] = [None] * LANES
            for k in range(LANES):
                if not k & distance:
                    a, b = rows[k], rows[k + distance]
                    merged[k] = self.shuffle(a, b, low)
                    merged[k + distance] = self.shuffle(a, b, high)
            rows = merged
        return rows


@intrinsic
def address(typingctx: Any, array: Any) -> Any:  # noqa: ARG001
    """Return where an array's first number is, as a signed integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, INDEX)

    return types.intp(array), generate


@intrinsic
def claim(typingctx: Any, counter: Any) -> Any:  # noqa: ARG001
    """Return the next number of a shared counter, 0, 1, 2 ...: how threads share out work."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], INDEX.as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(INDEX, 1), "monotonic")

    return types.intp(types.intp), generate


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:  # noqa: ARG001
    """Ask for a cache line that will soon be read; any address is allowed."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        declared = builder.module.declare_intrinsic(
            "llvm.prefetch",
            (place.type,),
            ir.FunctionType(ir.VoidType(), [place.type, INT32, INT32, INT32]),
        )
        builder.call(declared, [place, *(ir.Constant(INT32, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(types.intp), generate


@intrinsic
def clear(typingctx: Any, target: Any, count: Any) -> Any:  # noqa: ARG001
    """Set `count` cells to zero."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        cells = Cells(builder)
        with cgutils.for_range(builder, args[1]) as loop:
            cells.store(constant(0), cells.offset(args[0], CELL_BYTES, loop.index))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def accumulate(typingctx: Any, target: Any, source: Any, count: Any) -> Any:  # noqa: ARG001
    """Add `count` cells at `source` to those at `target`."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        cells = Cells(builder)
        with cgutils.for_range(builder, args[2]) as loop:
            place = cells.offset(args[0], CELL_BYTES, loop.index)
            more = cells.load(cells.offset(args[1], CELL_BYTES, loop.index))
            cells.store(cells.add(cells.load(place), more), place)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


def _make_copy(*, streaming: bool) -> Any:
    def copy(typingctx: Any, target: Any, step: Any, source: Any, count: Any) -> Any:  # noqa: ARG001
        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            cells = Cells(builder)
            with cgutils.for_range(builder, args[3]) as loop:
                value = cells.load(cells.offset(args[2], CELL_BYTES, loop.index))
                cells.store(value, cells.offset(args[0], args[1], loop.index), streaming=streaming)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp, types.intp), generate

    return intrinsic(copy)


copy_cells = _make_copy(streaming=False)
"""``copy_cells(target, step, source, count)``: copy cells to places `step` bytes apart."""
stream_cells = _make_copy(streaming=True)
"""As `copy_cells`, past the caches: for what is read again only after much else."""


@intrinsic
def scale_cells(typingctx: Any, target: Any, source: Any, count: Any, factors: Any, factor: Any) -> Any:  # noqa: ARG001
    """Multiply each of `count` cells by its own of `factors` (float32 numbers) and by one `factor`."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        cells = Cells(builder)
        with cgutils.for_range(builder, args[2]) as loop:
            number = builder.fmul(cells.number(args[3], loop.index), args[4])
            value = cells.load(cells.offset(args[1], CELL_BYTES, loop.index))
            place = cells.offset(args[0], CELL_BYTES, loop.index)
            cells.store(cells.mul(value, cells.splat(number)), place)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp, types.float32), generate


def _address_at(cells: Cells, table: Any, index: int) -> Any:
    """Return an entry of a table of addresses."""
    place = cells.offset(table, 8, index)
    return cells.builder.load(cells.builder.inttoptr(place, INDEX.as_pointer()))


@intrinsic
def gather_tile(typingctx: Any, tile: Any, rows: Any, offset: Any) -> Any:  # noqa: ARG001
    """Fill sixteen cells from sixteen neighbouring numbers of sixteen slices.

    `rows` is the address of a table of sixteen addresses, one per slice; `offset` is in bytes.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        cells = Cells(builder)
        places = [builder.add(_address_at(cells, args[1], k), args[2]) for k in range(LANES)]
        for k, value in enumerate(cells.transposed([cells.load(place, align=4) for place in places])):
            cells.store(value, cells.offset(args[0], CELL_BYTES, k))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


def _make_scatter(*, streaming: bool) -> Any:
    def scatter(typingctx: Any, source: Any, step: Any, rows: Any, offset: Any) -> Any:  # noqa: ARG001
        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            cells = Cells(builder)
            tile = [cells.load(cells.offset(args[0], args[1], k)) for k in range(LANES)]
            for k, value in enumerate(cells.transposed(tile)):
                row = _address_at(cells, args[2], k)
                with builder.if_then(builder.icmp_unsigned("!=", row, ir.Constant(INDEX, 0)), likely=True):
                    place = builder.add(row, args[3])
                    cells.store(value, place, align=CELL_BYTES if streaming else 4, streaming=streaming)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp, types.intp), generate

    return intrinsic(scatter)


scatter_tile = _make_scatter(streaming=False)
"""``scatter_tile(source, step, rows, offset)``: the reverse of `gather_tile`.

The cells lie `step` bytes apart; slices whose address is 0 are left out.
"""
stream_tile = _make_scatter(streaming=True)
"""As `scatter_tile`, past the caches; every address must be a multiple of 64."""


@intrinsic
def gather_columns(typingctx: Any, tile: Any, rows: Any, offset: Any, count: Any) -> Any:  # noqa: ARG001
    """As `gather_tile` for fewer than sixteen numbers."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        cells = Cells(builder)
        places = [builder.add(_address_at(cells, args[1], k), args[2]) for k in range(LANES)]
        with cgutils.for_range(builder, args[3]) as loop:
            value = constant(0)
            for k, place in enumerate(places):
                value = builder.insert_element(value, cells.number(place, loop.index), ir.Constant(INT32, k))
            cells.store(value, cells.offset(args[0], CELL_BYTES, loop.index))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), generate


@intrinsic
def scatter_columns(typingctx: Any, source: Any, step: Any, rows: Any, where: Any) -> Any:  # noqa: ARG001
    """As `scatter_tile` for fewer than sixteen numbers; `where` is (offset, count)."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        cells = Cells(builder)
        start, count = cgutils.unpack_tuple(builder, args[3], 2)
        rows = [_address_at(cells, args[2], k) for k in range(LANES)]
        with cgutils.for_range(builder, count) as loop:
            value = cells.load(cells.offset(args[0], args[1], loop.index))
            for k, row in enumerate(rows):
                with builder.if_then(builder.icmp_unsigned("!=", row, ir.Constant(INDEX, 0)), likely=True):
                    place = cells.offset(builder.add(row, start), 4, loop.index)
                    number = builder.extract_element(value, ir.Constant(INT32, k))
                    builder.store(number, builder.inttoptr(place, FLOAT.as_pointer()))
        return context.get_dummy_value()

    pair = types.UniTuple(types.intp, 2)
    return types.void(types.intp, types.intp, types.intp, pair), generate


def _make_expand(*, weighted: bool) -> Any:
    def expand(typingctx: Any, tile: Any, target: Any, count: Any, twiddles: Any, group: Any) -> Any:  # noqa: ARG001
        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            cells = Cells(builder)
            present, bad, weights = cgutils.unpack_tuple(builder, args[4], 3)
            mask = builder.fcmp_ordered("!=", cells.load(present, align=4), constant(0))
            with cgutils.for_range(builder, args[2]) as loop:
                read = cells.load(cells.offset(args[0], CELL_BYTES, loop.index))
                value = builder.select(mask, read, constant(0))
                # 0 for a number, NaN for what is none or so large that sums might be none.
                large = builder.fmul(value, constant(1 / LARGEST * FLOAT_MAX))
                cells.store(builder.fadd(cells.load(bad), builder.fsub(large, large)), bad)
                if weighted:
                    value = cells.mul(
                        value, cells.load(cells.offset(weights, CELL_BYTES, loop.index), align=4)
                    )
                write = cells.offset(args[1], 2 * CELL_BYTES, loop.index)
                pair = cells.offset(args[3], 8, loop.index)
                cells.store(value, write)
                factor = cells.factor(cells.number(pair, 0), cells.number(pair, 1))
                cells.store(cells.times(value, factor), cells.offset(write, CELL_BYTES, 1))
            return context.get_dummy_value()

        triple = types.UniTuple(types.intp, 3)
        return types.void(types.intp, types.intp, types.intp, types.intp, triple), generate

    return intrinsic(expand)


expand_tile = _make_expand(weighted=False)
"""``expand_tile(tile, target, count, twiddles, (present, bad, weights))``: first stage of a transform whose
second half of cells is zero.

Slices that are absent (0 in the cell at `present`) are taken as zero; the cell at `bad` becomes NaN in the
place of a slice with a value that is not finite, or larger than `LARGEST`.
"""
expand_weighted_tile = _make_expand(weighted=True)
"""The same, each cell times its own of the cells at `weights`."""


@intrinsic
def spread(typingctx: Any, target: Any, pitch: Any, sample: Any, along: Any, across: Any) -> Any:  # noqa: ARG001
    """Add a sample to 4 x 4 cells of the fine grid.

    `target` is the address of the first of them, `pitch` the bytes from row to row; `along` and `across` are
    the addresses of four weights each, within a row and from row to row.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        cells = Cells(builder)
        value = cells.load(args[2])
        columns = [cells.splat(cells.number(args[3], k)) for k in range(4)]
        rows = [cells.splat(cells.number(args[4], k)) for k in range(4)]
        for j, row in enumerate(rows):
            weighted = cells.mul(value, row)
            start = cells.offset(args[0], args[1], j)
            for k, column in enumerate(columns):
                place = cells.offset(start, CELL_BYTES, k)
                cells.store(cells.add(cells.load(place), cells.mul(weighted, column)), place)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), generate


@intrinsic
def add_edges(typingctx: Any, target: Any, source: Any, edges: Any, numbers: Any) -> Any:  # noqa: ARG001
    """Multiply a cell, and the two cells at `edges`, by three complex numbers, and add them up."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        cells = Cells(builder)
        places = [args[1], args[2], cells.offset(args[2], CELL_BYTES, 1)]
        terms = [
            cells.times(
                cells.load(place),
                cells.factor(cells.number(args[3], 2 * k), cells.number(args[3], 2 * k + 1)),
            )
            for k, place in enumerate(places)
        ]
        cells.store(cells.add(terms[0], cells.add(terms[1], terms[2])), args[0])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@intrinsic
def shift_apart(typingctx: Any, target: Any, pair: Any, shifts: Any, phase: Any) -> Any:  # noqa: ARG001
    """Multiply the two slices that share a complex number by a factor each.

    `pair` are the addresses of a cell and of that at the opposite frequency; from both together the spectra
    of real and imaginary part are known apart. The two cells at `shifts` hold half the sum and half the
    difference of the factors; `phase` is one more, the same for all.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        cells = Cells(builder)
        value, partner = (cells.load(place) for place in cgutils.unpack_tuple(builder, args[1], 2))
        total, difference = (cells.load(cells.offset(args[2], CELL_BYTES, k), align=4) for k in (0, 1))
        # Minus `TURN` takes the complex conjugate, because it stands for (1, ..., -1, ...).
        conjugate = cells.sub(constant(0), cells.mul(partner, TURN))
        combined = cells.add(_product(cells, value, total), _product(cells, conjugate, difference))
        factor = cells.factor(*cgutils.unpack_tuple(builder, args[3], 2))
        cells.store(cells.times(combined, factor), args[0], streaming=True)
        return context.get_dummy_value()

    pair = types.UniTuple(types.intp, 2)
    numbers = types.UniTuple(types.float32, 2)
    return types.void(types.intp, pair, types.intp, numbers), generate


def _product(cells: Cells, a: Any, b: Any) -> Any:
    """Return the complex product of two cells."""
    real = cells.shuffle(b, b, [*range(HALF), *range(HALF)])
    imaginary = cells.shuffle(b, b, [*range(HALF, LANES), *range(HALF, LANES)])
    return cells.add(cells.mul(a, real), cells.mul(cells.turned(a), imaginary))
