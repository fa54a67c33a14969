"""The sections of the gallery, from their declarations in the folder `sections`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

from tomoservice.gallery.model import AxisTable, Comparison, LevelSeries, Section
from tomoservice.recipe.text import read_yaml

MEASURED = "measured"
NAMES = (
    MEASURED,
    "overview",
    "flat-field",
    "outliers",
    "stripes",
    "phase",
    "axis",
    "half-acquisition",
    "filters",
    "iterative",
    "field-of-view",
    "output",
    "pyramid",
)
"""The sections in the order of the page."""
EVERY_SCAN = "*"


def load_sections(only: Sequence[str], scans: Sequence[str]) -> dict[str, Section]:
    """Return sections by name, in the order of the page.

    Parameters
    ----------
    only
        Names of the sections that are wanted; all if there is none.
    scans
        Names of the measured scans, each of which takes the place of the * in the section on them; without
        any, that section is left out.
    """
    wanted = [name for name in NAMES if not only or name in only]
    sections = {name: load_section(name) for name in wanted if name != MEASURED or scans}
    if MEASURED in sections:
        sections[MEASURED] = _with_scans(sections[MEASURED], scans)
    return sections


def load_section(name: str) -> Section:
    """Return one section as it is declared."""
    file = resources.files("tomoservice.gallery") / "sections" / f"{name}.yml"
    return Section.model_validate(read_yaml(file.read_text("utf-8"), name=name))


def _with_scans(section: Section, scans: Sequence[str]) -> Section:
    entries: list[Comparison | AxisTable | LevelSeries] = []
    for entry in section.entries:
        if isinstance(entry, Comparison):
            entries += [_named(entry, scan) for scan in scans]
        elif isinstance(entry, AxisTable):
            one = entry.searches[0]
            searches = tuple(one.model_copy(update={"label": scan, "scan": scan}) for scan in scans)
            entries.append(entry.model_copy(update={"searches": searches}))
    return section.model_copy(update={"entries": tuple(entries)})


def _named(entry: Comparison, scan: str) -> Comparison:
    update: Mapping[str, str] = {"title": entry.title.replace(EVERY_SCAN, scan), "scan": scan}
    return entry.model_copy(update=update)
