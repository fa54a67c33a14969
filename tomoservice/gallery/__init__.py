"""A page that shows what each stage of a recipe does: slices without it and with it, side by side."""

from __future__ import annotations

from tomoservice.gallery.building import GalleryOptions, GallerySummary, Watcher, build_gallery
from tomoservice.gallery.catalogue import NAMES

__all__ = ["NAMES", "GalleryOptions", "GallerySummary", "Watcher", "build_gallery"]
