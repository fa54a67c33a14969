"""The table of figures, for a terminal and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tests.benchmarks.harness import Row

HEADER = ("work", "target", "measured", "verdict")
MEASURED_WIDTH = 60
WORK_WIDTH = 56


def cells(row: Row) -> tuple[str, str, str, str]:
    """Return the texts of a row's columns."""
    return row.work, "" if row.target is None else str(row.target), row.measured, str(row.verdict)


def text_table(rows: Sequence[Row], *, header: bool = True) -> str:
    """Return the table for a terminal, long cells wrapped."""
    widths = (WORK_WIDTH, 12, MEASURED_WIDTH, 13)
    lines = []
    if header:
        lines.append(
            "  ".join(name.ljust(width) for name, width in zip(HEADER, widths, strict=True)).rstrip()
        )
        lines.append("  ".join("-" * width for width in widths))
    for row in rows:
        wrapped = [textwrap.wrap(cell, w) or [""] for cell, w in zip(cells(row), widths, strict=True)]
        for number in range(max(map(len, wrapped))):
            parts = [cell[number] if number < len(cell) else "" for cell in wrapped]
            line = "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True))
            lines.append(line.rstrip())
    return "\n".join(lines)


def markdown(rows: Sequence[Row], machine: dict[str, str], command: str, rounds: int) -> str:
    """Return the table with machine, versions and command, for the documentation."""
    lines = [
        f"Measured by `{command}`: everything of a row in one process and in turn, medians of {rounds}",
        "rounds, a first call of each not counted. A ratio is the median of the rounds' ratios.",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---" * len(HEADER) + "|",
    ]
    lines += ["| " + " | ".join(_escaped(cell) for cell in cells(row)) + " |" for row in rows]
    lines += ["", "| machine | |", "|---|---|"]
    lines += [f"| {_escaped(name)} | {_escaped(value)} |" for name, value in machine.items()]
    return "\n".join(lines) + "\n"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<=", "≤").replace(">=", "≥")
