"""The table of faults: what was tried, what it cost, and how it ended."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Row:
    """One fault."""

    fault: str
    again: list[int] = field(default_factory=list)
    """Slabs that were computed again, of each try."""
    verdict: str = "not tried"


class FaultTable:
    """Collects rows while tests run."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []

    @contextmanager
    def row(self, fault: str) -> Iterator[Row]:
        """Add a row, and its verdict when the context ends."""
        row = Row(fault)
        self.rows.append(row)
        try:
            yield row
        except BaseException as error:
            row.verdict = f"NOT SURVIVED: {type(error).__name__}: {str(error)[:60].splitlines()[:1]}"
            raise
        row.verdict = "survived"

    def lines(self) -> list[str]:
        """Return the table as text."""
        head = ("fault", "instants", "computed again (max / mean)", "verdict")
        cells = [head, *(self._cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
        return [*self.notes, lines[0], "-" * len(lines[0]), *lines[1:]]

    @staticmethod
    def _cells(row: Row) -> tuple[str, str, str, str]:
        again = f"{max(row.again)} / {statistics.mean(row.again):.2f}" if row.again else "-"
        return row.fault, str(len(row.again)), again, row.verdict
