"""Sweeps as people use them: make one, look at its pictures, take the recipe of the best."""

from __future__ import annotations

import base64
import getpass
import time
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.catalog import names
from tomoservice.catalog.nodes import reread
from tomoservice.catalog.recipe_records import SavedRecipe
from tomoservice.catalog.record import plain
from tomoservice.catalog.states import State
from tomoservice.catalog.sweep_recipes import Label, accept_picture, sweep_of
from tomoservice.catalog.transport import NotFoundError, child, translated
from tomoservice.client.node_view import NodeView
from tomoservice.client.pictures import SweepScores
from tomoservice.errors import CatalogError, RecipeError, ServiceUnavailableError
from tomoservice.png import encode_png, grey_window
from tomoservice.recipe import Recipe, Sweep

LOOK_S = 0.1
DESCRIBED_S = 60.0
"""How long it may take until a sweep can be read."""
SHOWN = 12
"""Pictures that a notebook shows, at most, beside the best one."""
THUMBNAIL = 256
"""Pixels across each of them, at most."""

Span = tuple[int, int | None]
"""The first pixel that is shown and the first that is not any more, or None for all that follow."""


class SweepView(NodeView):
    """One slice by several recipes that differ in one thing; a notebook shows the pictures side by side.

    Parameters
    ----------
    node : tiled Container
        The sweep's node.
    """

    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self._measured: SweepScores | None = None

    def __repr__(self) -> str:
        sweep = self.sweep
        known = self._measured
        best = "" if known is None or known.best is None else f", best {self.values[known.best]}"
        return f"<Sweep {self.path}: {sweep.parameter}, {len(sweep.values)} values, z = {sweep.z}{best}>"

    def __len__(self) -> int:
        return len(self.sweep.values)

    def _repr_html_(self) -> str:
        sweep = self.sweep
        head = f"<p>{escape(self.path)}: <b>{escape(sweep.parameter)}</b>, z = {sweep.z}</p>"
        try:
            return head + self._gallery()
        except (CatalogError, ServiceUnavailableError) as error:
            return f"{head}<p>{escape(str(error))}</p>"

    def _gallery(self) -> str:
        """Return pictures and curve as HTML."""
        scores, images = self.scores, self.images
        best = None if scores is None else scores.best
        count = len(images)
        chosen = sorted({*(count * i // SHOWN for i in range(SHOWN)), *([] if best is None else [best])})
        step = -(-max(images.shape[1:]) // THUMBNAIL)
        with translated(f"reading {self.path}/{names.IMAGES}"):
            shown = [np.asarray(images[number, ::step, ::step]) for number in chosen]
        window = grey_window(np.stack(shown))
        figures = "".join(
            _figure(image, window, self._caption(number, scores), marked=number == best)
            for number, image in zip(chosen, shown, strict=True)
        )
        return f"<div>{figures}</div>{'' if scores is None else scores._repr_html_()}"

    def _caption(self, number: int, scores: SweepScores | None) -> str:
        label = f"{number}: {self.values[number]}"
        return label if scores is None else f"{label} ({scores.scores[number]:.4g})"

    @property
    def sweep(self) -> Sweep:
        """What was asked for."""
        return sweep_of(self._node)

    @property
    def values(self) -> list[float] | list[str]:
        """What stands beside the pictures: numbers, or what the alternatives are called."""
        return self.sweep.labels

    @property
    def images(self) -> Any:
        """Lazy array (value, y, x), float32: each picture is made when it is read.

        Raises
        ------
        CatalogError
            The sweep does not fit the scan, says why; or nobody makes it readable.
        """
        return self._wait_for_images()

    def _wait_for_images(self) -> Any:
        deadline = time.monotonic() + DESCRIBED_S
        while True:
            try:
                return child(self._node, names.IMAGES)
            except NotFoundError:
                reread(self._node)
                status = self._node.metadata["status"]
                if status["state"] == State.FAILED.value:
                    raise CatalogError(f"{self.path} is failed: {status['message']}") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_S)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        """Return the picture (y, x) of a value."""
        image: NDArray[np.float32] = self.images[self._checked(index)]
        return image

    @property
    def scores(self) -> SweepScores | None:
        """How good each picture is, where numbers can tell; a notebook plots it. None where none can.

        For the rotation axis it is the entropy, for stripes, rings and flat fields the strength of rings. All
        pictures are made for it that have not been made.

        Raises
        ------
        CatalogError
            The sweep does not fit the scan, says why; or nobody makes it readable.
        """
        if self._measured is None:
            self._wait_for_images()
            try:
                node = child(self._node, names.METRIC)
            except NotFoundError:
                return None
            with translated(f"reading {self.path}/{names.METRIC}"):
                scores = np.asarray(node[:], np.float64)
            said = plain(node.metadata)
            self._measured = SweepScores(
                said["metric"], said["about"], self.sweep.parameter, self.values, scores
            )
        return self._measured

    def recipe(self, index: int) -> Recipe:
        """Return the recipe of a picture.

        Raises
        ------
        RecipeError
            There is no such picture.
        """
        return self.sweep.recipe_of(index)

    def accept(
        self,
        index: int,
        name: str | None = None,
        *,
        tags: Sequence[str] | None = None,
        note: str | None = None,
    ) -> SavedRecipe:
        """Save the recipe of a picture, and say that it is good for this scan; return it as it was saved.

        It is then proposed for scans like this one. ``sweep.accept(sweep.scores.best)`` takes the one with
        the best score.

        Parameters
        ----------
        index : int
            Number of the picture, from 0.
        name : str, optional
            Name to save it under; by default it is made of the recipe, the parameter and the value.
        tags : sequence of str, optional
            Words to find it by.
        note : str, optional
            What it is for; by default, which picture it comes from.

        Raises
        ------
        RecipeError
            There is no such picture.
        CatalogError
            The service refuses the name, a tag or the note; says why.
        """
        return accept_picture(self._node, index, Label(name, tags, note), accepted_by=getpass.getuser())

    def _checked(self, index: int) -> int:
        self.recipe(index)
        return index % len(self)


def _figure(image: NDArray[np.float32], window: tuple[float, float], caption: str, *, marked: bool) -> str:
    data = base64.b64encode(encode_png(image, window)).decode("ascii")
    border = "#15803d" if marked else "transparent"
    return (
        f'<figure style="display: inline-block; margin: 2px; border: 3px solid {border}">'
        f'<img src="data:image/png;base64,{data}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}{' best' if marked else ''}</figcaption></figure>"
    )


def spread(start: float, stop: float, step: float) -> list[float]:
    """Return the values from `start` to `stop`, both included, `step` apart.

    Raises
    ------
    RecipeError
        The step leads nowhere.
    """
    if not np.isfinite([start, stop, step]).all() or step == 0 or (stop - start) * step < 0:
        raise RecipeError(f"no values from {start:g} to {stop:g} in steps of {step:g}", name="sweep")
    count = int(np.floor((stop - start) / step + 1e-9)) + 1
    return [float(value) for value in np.round(start + step * np.arange(count), 9)]


def as_range(name: str, span: Span | None) -> dict[str, int | None]:
    """Return what a sweep calls rows or columns.

    Raises
    ------
    RecipeError
        It is no pair.
    """
    if span is None:
        return {}
    try:
        start, stop = checked_values(span)
    except (TypeError, ValueError):
        raise RecipeError(
            f"{name}: got {span!r}, want the first and the first that is not shown any more ((20, 60))",
            name="sweep",
        ) from None
    return {"start": start, "stop": stop}


def checked_values(values: Sequence[Any]) -> list[Any]:
    """Return values of any kind of sequence as plain numbers and mappings."""
    return [value.item() if isinstance(value, np.generic) else value for value in values]
