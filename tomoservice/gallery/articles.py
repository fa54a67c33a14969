"""From results to articles: pictures are written, captions composed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tomoservice.axis import AxisResult
from tomoservice.export.ome import halving, plan_levels
from tomoservice.gallery.computing import FoundAxis, Laboratory
from tomoservice.gallery.figures import (
    Window,
    planes,
    plot,
    save,
    shared_window,
    symmetric_window,
    window_around,
)
from tomoservice.gallery.measures import error, fitted, ring_score, stripe_score
from tomoservice.gallery.model import AxisTable, Comparison, Image, LevelSeries, Reconstructed, Skipped
from tomoservice.gallery.page import Article, Panel, Part, anchor, recipe_text, table
from tomoservice.plots import Line
from tomoservice.recon.binning import bin_volume

PER_PIXEL = "1/pixel"
AXIS_LIMIT = 0.25
"""Columns by which a search may miss the axis without having said that it is in doubt."""
DOUBTFUL = 0.5
PROFILE = 0.5
"""Profiles reach this part of the range of true values beyond it, at most."""
DIFFERENCE = 0.2
"""Pictures of differences reach this part of the range of grey values to either side."""


@dataclass
class Studio:
    """Makes articles, and remembers what was left out.

    Parameters
    ----------
    folder
        Where the pictures go.
    laboratory
        Where scans are reconstructed.
    """

    folder: Path
    laboratory: Laboratory
    skipped: list[str] = field(default_factory=list)
    """What could not be computed, and why."""
    told: list[str] = field(default_factory=list)
    """Figures of every comparison, a line each."""

    def comparison(self, comparison: Comparison) -> Article:
        """Reconstruct every variant and lay them out side by side."""
        outcomes = [self.laboratory.reconstruct(comparison, variant) for variant in comparison.variants]
        done = [outcome for outcome in outcomes if isinstance(outcome, Reconstructed)]
        for outcome in outcomes:
            if isinstance(outcome, Skipped):
                self.skipped.append(f"{comparison.title} / {outcome.label}: {outcome.reason}")
        article = Article(comparison.title, comparison.why, common=comparison.common)
        truth = self._truth(comparison) if done and comparison.compared else None
        article.parts.append(self._slices(comparison, outcomes, truth))
        if not done:
            return article
        if comparison.detail is not None:
            article.parts.append(self._details(comparison, done, truth))
        if comparison.compared and not comparison.planes:
            article.parts += self._differences(comparison, done, truth)
        if comparison.sinogram:
            article.parts += self._sinograms(comparison, done)
        if comparison.profile is not None:
            article.plots.append(_profile(comparison.profile, done, truth))
        searched = {(one.axis.method, one.rotation_axis): one for one in done[::-1] if one.axis is not None}
        article.plots += [
            axis_curve(one.label, one.axis) for one in searched.values() if one.axis is not None
        ]
        return article

    def axis_table(self, entry: AxisTable) -> Article:
        """Search the axis in every scan and lay out the answers and their curves."""
        article = Article(entry.title, entry.why)
        rows: list[tuple[str, ...]] = []
        for search in entry.searches:
            outcome = self.laboratory.find_axis(search)
            if isinstance(outcome, Skipped):
                self.skipped.append(f"{entry.title} / {search.label}: {outcome.reason}")
                rows.append((search.label, "", "", "", "", "not computed", outcome.reason))
                continue
            rows.append(_axis_row(outcome))
            self.told.append(f"{entry.title} / {search.label}: {', '.join(rows[-1][1:6])}")
            marks = () if outcome.true is None else (outcome.true,)
            article.plots.append(axis_curve(search.label, outcome.result, marks))
        header = ("scan and method", "found", "true", "confidence", "time", "verdict", "what the search says")
        article.table = table(header, rows, numbers=(1, 2, 3, 4))
        return article

    def level_series(self, entry: LevelSeries) -> Article:
        """Reconstruct a whole volume and lay out the middle slice of each level of its pyramid."""
        article = Article(entry.title, entry.why)
        outcome = self.laboratory.reconstruct(entry.whole, entry.whole.variants[0])
        if isinstance(outcome, Skipped):
            self.skipped.append(f"{entry.title}: {outcome.reason}")
            article.parts.append(Part((Panel(outcome.label, problem=f"Not computed: {outcome.reason}"),), ""))
            return article
        window = shared_window([outcome.image], entry.whole.contrast)
        panels = []
        for name, volume, facts in pyramid_levels(outcome.volume, entry.levels):
            self.told.append(f"{entry.title} / {name}: {', '.join(map(' '.join, facts))}")
            image = volume[len(volume) // 2]
            panels.append(self._save(entry.whole, name, image, window).with_facts(facts))
        text = _window_text("The middle slice of each level; grey scale", window, outcome.units)
        article.parts.append(Part(tuple(panels), text))
        return article

    def _truth(self, comparison: Comparison) -> Image | None:
        """Return the true slice (y, x) that is shown, where it is known."""
        held = self.laboratory.scan(comparison.scan)
        row = held.row(comparison.height)
        return None if held.truth is None else held.truth(slice(row, row + 1))[0]

    def _save(self, comparison: Comparison, name: str, image: Image, window: Window) -> Panel:
        file = f"{anchor(comparison.title)}-{anchor(name)}.png"
        size = save(self.folder / file, image, window)
        return Panel(name, file, size)

    def _slices(
        self, comparison: Comparison, outcomes: Sequence[Reconstructed | Skipped], truth: Image | None
    ) -> Part:
        done = [outcome for outcome in outcomes if isinstance(outcome, Reconstructed)]
        true = _comparable(done, truth)
        shown = {one.label: planes(one.volume) if comparison.planes else one.image for one in done}
        window = _window(list(shown.values()), true, comparison)
        panels = []
        if true is not None and not comparison.planes:
            panels.append(self._save(comparison, "truth", true, window))
        for outcome in outcomes:
            recipe = recipe_text(outcome.asked)
            if isinstance(outcome, Skipped):
                panels.append(Panel(outcome.label, recipe=recipe, problem=f"Not computed: {outcome.reason}"))
                continue
            facts = _facts(outcome, true, rings=comparison.rings)
            self.told.append(f"{comparison.title} / {outcome.label}: {', '.join(map(' '.join, facts))}")
            panel = self._save(comparison, outcome.label, shown[outcome.label], window).with_facts(facts)
            panels.append(panel.with_recipe(recipe, outcome.recipe_yaml, outcome.notes))
        units = done[0].units if done else PER_PIXEL
        kind = "wide" if comparison.planes else ""
        return Part(tuple(panels), _window_text("Grey scale", window, units), kind)

    def _details(self, comparison: Comparison, done: Sequence[Reconstructed], truth: Image | None) -> Part:
        true = _comparable(done, truth)
        place = comparison.detail or (0.5, 0.5, 1.0)
        window = _window([one.image for one in done], true, comparison)
        panels = []
        if true is not None:
            panels.append(self._save(comparison, "truth, enlarged", _cut(true, place), window))
        for one in done:
            image = _cut(one.image, place)
            panels.append(self._save(comparison, f"{one.label}, enlarged", image, window))
        return Part(tuple(panels), _window_text("A part enlarged; grey scale", window, done[0].units))

    def _differences(
        self, comparison: Comparison, done: Sequence[Reconstructed], truth: Image | None
    ) -> list[Part]:
        true = _comparable(done, truth)
        if true is not None:
            reference, name, others = true, "truth", list(done)
            window = symmetric_window(DIFFERENCE * float(np.ptp(true)))
        else:
            reference, name, others = done[0].image, done[0].label, list(done[1:])
            low, high = _window([one.image for one in done], None, comparison)
            window = symmetric_window(DIFFERENCE * (high - low))
        if not others:
            return []
        text = _window_text("Grey is no difference; black to white", window, done[0].units)
        panels = [Panel("", problem="", text=f"Differences from {name}. {text}")]
        for one in others:
            image = fitted(one.image, len(reference)) - reference
            panels.append(self._save(comparison, f"{one.label} − {name}", image, window))
        return [Part(tuple(panels), "", "difference")]

    def _sinograms(self, comparison: Comparison, done: Sequence[Reconstructed]) -> list[Part]:
        named = [(one, one.sinogram) for one in done if one.sinogram is not None]
        if not named:
            return []
        window = shared_window([sinogram for _, sinogram in named], comparison.contrast)
        panels = []
        for one, sinogram in named:
            panel = self._save(comparison, f"{one.label}: sinogram", sinogram, window)
            score = stripe_score(sinogram)
            panels.append(panel if score is None else panel.with_facts((("stripe score", f"{score:.3g}"),)))
        text = _window_text("Sinograms, angles downwards; grey scale", window, "line integral")
        return [Part(tuple(panels), text)]


def pyramid_levels(volume: Image, count: int) -> Iterator[tuple[str, Image, tuple[tuple[str, str], ...]]]:
    """Yield name, voxels (z, y, x) and facts of a volume's first levels, each made from the one before."""
    shape = volume.shape[0], volume.shape[1], volume.shape[2]
    levels = plan_levels(shape, "0", smallest=max(max(shape) >> (count - 1), 1))
    made = volume
    for number, level in enumerate(levels):
        begin = time.perf_counter()
        made = bin_volume(made, halving(levels[number - 1].shape)) if number else made
        seconds = time.perf_counter() - begin
        part = made.size / volume.size
        facts = [
            ("voxels", " x ".join(str(size) for size in made.shape)),
            ("edge of a voxel", f"{level.factors[2]} pixel" + "s" * (level.factors[2] > 1)),
            ("memory", f"{100 * part:.3g} %"),
            ("mean", f"{float(made.mean(dtype=np.float64)):.4g}"),
        ]
        if number:
            facts.append(("time", f"{1e3 * seconds:.1f} ms"))
        yield f"level {number}", made, tuple(facts)


def axis_curve(label: str, found: AxisResult, marks: tuple[float, ...] = ()) -> str:
    """Return the curve of a search for the axis as SVG; the answer and `marks` as vertical lines."""
    line = Line(f"{label}: column {found.rotation_axis:.2f}", found.candidates, found.metric)
    titles = ("column of the axis", "how badly it fits")
    return plot([line], titles, marks=(found.rotation_axis, *marks))


def _axis_row(found: FoundAxis) -> tuple[str, ...]:
    result = found.result
    tilt = getattr(result, "tilt_deg", None)
    answer = f"{result.rotation_axis:.2f}" + (f", tilt {tilt:.2f}°" if tilt else "")
    sure = result.confidence >= DOUBTFUL
    if found.true is None:
        verdict, true = ("", "") if sure else ("says that it is unsure", "")
    else:
        off, true = abs(result.rotation_axis - found.true), f"{found.true:.2f}"
        if off <= AXIS_LIMIT:
            verdict = f"right, {off:.2f} off" if sure else f"right, {off:.2f} off, but unsure"
        else:
            verdict = f"WRONG by {off:.2f} and sure" if sure else f"{off:.2f} off, says that it is unsure"
    confidence, seconds = f"{result.confidence:.2f}", f"{found.seconds:.2f} s"
    said = f"{result.method.replace('_', ' ')}: {result.note}"
    return found.label, answer, true, confidence, seconds, verdict, said


def _facts(one: Reconstructed, truth: Image | None, *, rings: bool) -> tuple[tuple[str, str], ...]:
    facts = [("time", f"{one.seconds:.2f} s")]
    if truth is not None:
        found = error(one.image, truth)
        facts.append(("PSNR", f"{found.psnr_db:.1f} dB"))
        facts.append(("RMS error", f"{found.rms:.2g} {one.units}"))
    score = ring_score(one.image) if rings else None
    if score is not None:
        facts.append(("ring score", f"{score:.3g}"))
    sure = f" (confidence {one.axis.confidence:.2f}, {one.axis.method})" if one.axis is not None else ""
    facts.append(("axis", f"{one.rotation_axis:.2f}{sure}"))
    if one.tilt_deg:
        facts.append(("tilt", f"{one.tilt_deg:.2f}°"))
    return tuple(facts)


def _profile(height: float, done: Sequence[Reconstructed], truth: Image | None) -> str:
    true = _comparable(done, truth)
    named = [] if true is None else [("truth", true)]
    named += [(one.label, one.image) for one in done]
    size = max(image.shape[1] for _, image in named)
    lines = []
    for name, image in named:
        row = min(int(height * len(image)), len(image) - 1)
        x = np.arange(image.shape[1]) + (size - image.shape[1]) / 2
        lines.append(Line(name, x, image[row].astype(np.float64)))
    limits = None
    if true is not None:
        low, high = float(true.min()), float(true.max())
        limits = (low - PROFILE * (high - low), high + PROFILE * (high - low))
    return plot(lines, ("pixel along a row of the slice", done[0].units), limits=limits)


def _comparable(done: Sequence[Reconstructed], truth: Image | None) -> Image | None:
    """Return the truth if the results have its unit."""
    return truth if all(one.units == PER_PIXEL for one in done) else None


def _window(images: Sequence[Image], truth: Image | None, comparison: Comparison) -> Window:
    """Return the grey scale that slices share: around the true values where they are known."""
    if truth is not None:
        return window_around(truth)
    return shared_window(images, comparison.contrast) if images else (0.0, 1.0)


def _cut(image: Image, place: tuple[float, float, float]) -> Image:
    size = len(image)
    half = max(round(place[2] * size / 2), 8)
    x, y = (round(centre * size) for centre in place[:2])
    return image[max(y - half, 0) : y + half, max(x - half, 0) : x + half]


def _window_text(what: str, window: Window, units: str) -> str:
    return f"{what} {window[0]:.3g} to {window[1]:.3g} {units}."
