"""What can be said about a phase retrieval before it is computed."""

from __future__ import annotations

from tomoservice.errors import RecipeError
from tomoservice.prep.phase.transfer import Method, Retrieval, blur_pixels
from tomoservice.propagation import FreeSpace

NEAR_FIELD = 1.0
"""Fresnel number of a pixel above which Paganin's approximation holds for the finest details."""
CONTACT = 0.05
"""Blur in pixels below which a retrieval changes next to nothing."""


def free_space(
    *, energy_kev: float | None, distance_mm: float | None, pixel_size_um: float | None, name: str = "recipe"
) -> FreeSpace:
    """Put the experiment together from what recipe and scan tell, or name all that is missing.

    Parameters
    ----------
    energy_kev, distance_mm, pixel_size_um
        The recipe's value, or else the scan's, or None if neither tells.
    name
        What to call the recipe in an error.

    Raises
    ------
    RecipeError
        If one is None: names the fields of the recipe to set.
    EngineError
        If one is not above 0.
    """
    if energy_kev is None or distance_mm is None or pixel_size_um is None:
        given = (("energy_kev", energy_kev), ("distance_mm", distance_mm), ("pixel_size_um", pixel_size_um))
        problems = [
            f"phase.{field}: is needed to retrieve a phase, and the scan does not tell it; set it"
            for field, value in given
            if value is None
        ]
        raise RecipeError(problems, name=name)
    return FreeSpace(energy_kev=energy_kev, distance_mm=distance_mm, pixel_size_um=pixel_size_um)


def check_blur(delta_beta: float, space: FreeSpace, rows: int, columns: int, *, name: str = "recipe") -> None:
    """Refuse a retrieval whose filter averages over more than the detector.

    It would leave each projection nearly uniform, and no tomogram of anything; the field knows it as
    millimetres given as metres, or as TomoPy's alpha given as delta/beta. (The other mistake, a filter that
    does nothing, harms nobody and is a note.)

    Parameters
    ----------
    delta_beta
        Ratio of refraction to absorption.
    space
        The experiment; of several the one at the least distance.
    rows, columns
        Size of a frame, pixels of `space`.
    name
        What to call the recipe in an error.

    Raises
    ------
    RecipeError
        Says what the blur is made of.
    """
    blur = blur_pixels(delta_beta, space)
    if blur > max(rows, columns):
        raise RecipeError(
            f"phase: with {space.energy_kev:g} keV, {space.distance_mm:g} mm, pixels of "
            f"{space.pixel_size_um:g} um and a delta/beta of {delta_beta:.4g} the filter averages over "
            f"{blur:.0f} pixels, but the detector has only {max(rows, columns)}: nothing would be left. Are "
            "distance (mm), pixel size (um) and delta/beta in their units?",
            name=name,
        )


def doubts(retrieval: Retrieval, rows: int, columns: int) -> list[str]:
    """Return why the method may not suit the experiment, in sentences for the user.

    Parameters
    ----------
    retrieval : Retrieval
        What is to be done.
    rows, columns : int
        Size of a frame, (binned) pixels.

    Returns
    -------
    list of str
        Empty if there is nothing to say.
    """
    space, blur = retrieval.space, retrieval.blur_pixels
    where = f"{space.energy_kev:g} keV, {space.distance_mm:g} mm and pixels of {space.pixel_size_um:g} um"
    notes = []
    if retrieval.method is not Method.CTF and space.fresnel_number < NEAR_FIELD:
        notes.append(
            f"phase: with {where} the Fresnel number is {space.fresnel_number:.2g}; details finer than "
            f"{space.fringe_pixels:.1f} pixels show fringes that Paganin's method, made for the near field, "
            "does not undo. Method ctf does for a weakly absorbing sample; otherwise bin, or come closer"
        )
    if blur < CONTACT:
        notes.append(
            f"phase: with {where} and a delta/beta of {retrieval.delta_beta:.4g} there is next to no phase "
            "contrast to retrieve; are the units right?"
        )
    # A detector has columns enough to tell; a slab or a line camera has few rows.
    if blur > max(rows, columns) / 8:
        notes.append(
            f"phase: with {where} and a delta/beta of {retrieval.delta_beta:.4g} the filter averages over "
            f"{blur:.0f} of {max(rows, columns)} pixels; are the units right?"
        )
    return notes
