"""Lists that notebooks show as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TypeVar

Item = TypeVar("Item")


class Table(list[Item]):
    """A list that shows itself as a table.

    Parameters
    ----------
    items : iterable
        What is in it.
    head : sequence of str
        Titles of the columns.
    row : callable
        Returns the cells of an item, as text.
    """

    def __init__(
        self, items: Iterable[Item], head: Sequence[str], row: Callable[[Item], Sequence[str]]
    ) -> None:
        super().__init__(items)
        self._head = tuple(head)
        self._row = row

    def __repr__(self) -> str:
        rows = [self._head, *(tuple(self._row(item)) for item in self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self._head))]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join(lines) if self else "(none)"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(title)}</th>" for title in self._head)
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in self._row(item))}</tr>" for item in self
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
