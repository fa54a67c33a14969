"""Compiled loops of the flat field correction and of the logarithm.

`source` and `target` are `Lines`, `beam` is a `Beam`, `bridges` are `Bridges`: see `_flat_lines`. A line is
worked on while it is in the fastest cache, and loops over its columns become whole-register operations,
whatever the layout of the rest of the array.
"""

from __future__ import annotations

import numpy as np

from tomoservice.compiling import compiled

# Open beam below this fraction of the first flat is held there, whatever the components say.
LEAST_OPEN = 0.05


@compiled(fastmath={"contract"}, inline="always")
def negative_log(x):  # type: ignore[no-untyped-def]
    """Return -log(x) of a positive normal float32, to 2e-7 of its value.

    With x = 2^k (1 + f), 1 + f between sqrt(1/2) and sqrt(2): log(x) = k log(2) + f - f^2 / 2 + f^3 p(f). The
    polynomial p is fitted for the least largest error relative to log(1 + f), 3e-8.
    """
    # Numba widens sums of 32 bits to 64, which halves the lanes: each is brought back at once.
    bits = np.float32(x).view(np.int32)
    exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    f = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32) - np.float32(1)
    # Pairs of terms instead of one long chain, whose every step waits for the one before.
    square = f * f
    low = np.float32(0.33333909) + f * np.float32(-0.25001338)
    middle = np.float32(0.19963063) + f * np.float32(-0.16577585)
    high = np.float32(0.14914769) + f * np.float32(-0.14267486) + square * np.float32(0.08700430)
    p = low + square * (middle + square * high)
    return (square * (np.float32(0.5) - f * p) - f) - np.float32(exponent) * np.float32(0.69314718)


@compiled(inline="always")
def is_wild(x):  # type: ignore[no-untyped-def]
    """Return 1 for a float32 that is NaN or infinite, else 0: looks at the bits, whatever is optimised."""
    exponent = np.int32(np.float32(x).view(np.int32) & np.int32(0x7F800000))
    return np.int32(exponent == np.int32(0x7F800000))


@compiled(error_model="numpy")
def bridge(line, bad):  # type: ignore[no-untyped-def]
    """Replace the bad pixels of a line in place: linearly between good ones, at its ends by the nearest."""
    n = line.size
    before = -1
    c = 0
    while c < n:
        if not bad[c]:
            before = c
            c += 1
            continue
        after = c
        while after < n and bad[after]:
            after += 1
        for k in range(c, after):
            if before >= 0 and after < n:
                part = np.float32(k - before) / np.float32(after - before)
                line[k] = line[before] + (line[after] - line[before]) * part
            elif before >= 0:
                line[k] = line[before]
            else:
                line[k] = line[after] if after < n else np.float32(1)
        c = after


@compiled
def bridge_wild(line, bad):  # type: ignore[no-untyped-def]
    """Bridge what is not finite in a line, and its bad pixels with it, in place."""
    all_bad = bad.copy()
    for c in range(line.size):
        if is_wild(line[c]):
            all_bad[c] = True
    bridge(line, all_bad)


@compiled
def _mend(line, row, bridges, wild):  # type: ignore[no-untyped-def]
    if bridges.lost[row]:
        line[:] = 1
    elif wild:
        bridge_wild(line, bridges.bad[row])
    else:
        for k in range(bridges.starts[row], bridges.starts[row + 1]):
            low, high = line[bridges.left[k]], line[bridges.right[k]]
            line[bridges.columns[k]] = low + (high - low) * bridges.weight[k]


@compiled(fastmath={"contract"}, inline="always")
def _mix(beam, frame, row, gain):  # type: ignore[no-untyped-def]
    """Fill `gain` with 1 / open beam of one line of a frame, where the beam changes between frames."""
    first = beam.frames[0, row]
    weight = beam.weights[frame, 0]
    for c in range(gain.size):
        gain[c] = weight * first[c]
    for k in range(1, beam.frames.shape[0]):
        other, weight = beam.frames[k, row], beam.weights[frame, k]
        for c in range(gain.size):
            gain[c] += weight * other[c]
    for c in range(gain.size):
        least = np.float32(LEAST_OPEN) * first[c]
        gain[c] = np.float32(1) / (gain[c] if gain[c] > least else least)


@compiled(fastmath={"contract"}, inline="always")
def _divide(x, dark, gain, brightness, line):  # type: ignore[no-untyped-def]
    for c in range(line.size):
        line[c] = (np.float32(x[c]) - dark[c]) * (gain[c] * brightness)


@compiled(fastmath={"contract"}, inline="always")
def _log_line(transmission, least, line):  # type: ignore[no-untyped-def]
    for c in range(line.size):
        t = transmission[c]
        t = t if t > least else least
        line[c] = negative_log(t)


@compiled(inline="always")
def _has_wild(line):  # type: ignore[no-untyped-def]
    found = np.int32(0)
    for c in range(line.size):
        found = np.int32(found | is_wild(line[c]))
    return found != 0


@compiled(fastmath={"contract"}, inline="always")
def _divide_and_log(x, dark, gain, least, line):  # type: ignore[no-untyped-def]
    for c in range(line.size):
        t = (np.float32(x[c]) - dark[c]) * gain[c]
        t = t if t > least else least
        line[c] = negative_log(t)


@compiled(fastmath={"contract"})
def _mend_log(x, beam, bridges, row, least, line):  # type: ignore[no-untyped-def]
    """Bridge transmissions of a line that holds logarithms already: they are computed anew where needed."""
    if bridges.lost[row]:
        line[:] = 0
        return
    dark, gain = beam.dark[row], beam.gain[row]
    for k in range(bridges.starts[row], bridges.starts[row + 1]):
        left, right = bridges.left[k], bridges.right[k]
        low = (np.float32(x[left]) - dark[left]) * gain[left]
        high = (np.float32(x[right]) - dark[right]) * gain[right]
        t = low + (high - low) * bridges.weight[k]
        t = t if t > least else least
        line[bridges.columns[k]] = negative_log(t)


@compiled(fastmath={"contract"}, error_model="numpy")
def log_of_counts(source, beam, bridges, target, part, least):  # type: ignore[no-untyped-def]
    """Do as `correct_lines`, in one loop, for the commonest case: whole numbers, steady beam, logarithm."""
    columns = beam.dark.shape[1]
    for frame in range(part[0], part[1]):
        for row in range(part[2], part[3]):
            # Cut twice: cut once, the loop below took half as long again.
            x = source.data[frame * source.frame_step + row * source.row_step :][:columns]
            line = target.data[frame * target.frame_step + row * target.row_step :][:columns]
            _divide_and_log(x, beam.dark[row], beam.gain[row], least, line)
    # Not in the loop above: counting references to lines would cost as much as a tenth of the work.
    for row in range(part[2], part[3]):
        if bridges.touched[row]:
            for frame in range(part[0], part[1]):
                x = source.data[frame * source.frame_step + row * source.row_step :][:columns]
                line = target.data[frame * target.frame_step + row * target.row_step :][:columns]
                _mend_log(x, beam, bridges, row, least, line)


@compiled(fastmath={"contract"}, error_model="numpy")
def correct_lines(source, beam, bridges, target, part, least):  # type: ignore[no-untyped-def]
    """Correct `part` of `source` into `target`; with `least` > 0 take the logarithm as well.

    Each line depends on nothing but itself.
    """
    columns = beam.dark.shape[1]
    moving = beam.frames.shape[0] > 0
    mixed, between = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for frame in range(part[0], part[1]):
        brightness = beam.brightness[frame]
        for row in range(part[2], part[3]):
            x = source.data[frame * source.frame_step + row * source.row_step :][:columns]
            line = target.data[frame * target.frame_step + row * target.row_step :][:columns]
            gain = beam.gain[row]
            if moving:
                gain = mixed
                _mix(beam, frame, row, gain)
            transmission = between if least > 0 else line
            _divide(x, beam.dark[row], gain, brightness, transmission)
            wild = beam.may_be_wild and _has_wild(transmission)
            if wild or bridges.touched[row]:
                _mend(transmission, row, bridges, wild)
            if least > 0:
                _log_line(transmission, least, line)


@compiled(fastmath={"contract"})
def log_values(values, start, stop, least):  # type: ignore[no-untyped-def]
    """Take -log of a flat array in place, from `start` to `stop`; what is not finite counts as 1."""
    y = values[start:stop]
    for c in range(y.size):
        t = y[c]
        t = np.float32(1) if is_wild(t) else t
        t = t if t > least else least
        y[c] = negative_log(t)


@compiled(error_model="numpy")
def level_borders(target, shape, part, border):  # type: ignore[no-untyped-def]
    """Divide each line by the straight line through the means of its outermost `border` pixels, in place."""
    columns = shape[2]
    for frame in range(part[0], part[1]):
        for row in range(part[2], part[3]):
            start = frame * target.frame_step + row * target.row_step
            line = target.data[start : start + columns]
            left = right = 0.0
            for c in range(border):
                left += line[c]
                right += line[columns - 1 - c]
            left, right = left / border, right / border
            left = left if left > 0 else 1.0
            right = right if right > 0 else 1.0
            slope = (right - left) / max(columns - 1, 1)
            for c in range(columns):
                line[c] = line[c] / (left + slope * c)
