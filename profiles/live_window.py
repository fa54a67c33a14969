"""The running slice in a window: a process of its own, so that no scan ever waits for a picture.

``python -m profiles.live_window URI`` shows the newest live reconstruction, and follows the scans that come,
until its standard input ends.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from profiles.child import KEY_VARIABLE, say_ready
from profiles.status.looking import Looker
from tomoservice.catalog.live_records import LiveMetadata
from tomoservice.errors import TomoserviceError
from tomoservice.png import encode_png, enlarged, grey_window

POLL_MS: Final = 500
LARGEST: Final = 900
"""Pixels; larger slices are shown with every second, third, ... pixel."""


def has_display(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a window can be shown here."""
    if sys.platform.startswith("linux") and not (
        environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        import tkinter as tk
    except ImportError:
        return False
    return bool(tk.TkVersion)


@dataclass(frozen=True)
class Shown:
    """What the window shows."""

    title: str
    caption: str
    png: bytes = b""
    """The slice; empty if it is the one that is shown already, or there is none."""


class LiveFeed:
    """Fetches what the window shows; never raises for a service that is away.

    Parameters
    ----------
    uri
        Address of the service.
    api_key
        Key that may read, if one is needed.
    """

    def __init__(self, uri: str, api_key: str | None) -> None:
        self._uri = uri
        self._api_key = api_key
        self._root: Any = None
        self._looker = Looker("window")

    def next(self) -> Shown:
        """Return what there is now."""
        from tomoservice.catalog.impatience import connect_impatiently

        try:
            if self._root is None:
                self._root = connect_impatiently(self._uri, self._api_key)
                self._looker.forget()
            live, pictures = self._looker.look_at_live(self._root)
        except TomoserviceError as error:
            self.close()
            return Shown("no service", str(error))
        if live is None:
            return Shown("no live reconstruction", f"{self._uri}: the next scan is shown when it runs")
        png = as_png(pictures["xy"]) if "xy" in pictures else b""
        return Shown(f"scan {live.raw_uid[:8]}", f"{caption_of(live)}  {live.message}".rstrip(), png)

    def close(self) -> None:
        """Close the connection."""
        if self._root is not None:
            self._root.context.http_client.close()
            self._root = None


def caption_of(live: LiveMetadata) -> str:
    """Return how far a live reconstruction is, and about which axis it turns."""
    caption = f"{live.state}: {live.frames_used} of {live.frames_expected or 'unknown'} projections"
    axis = live.rotation_axis
    if axis.value is None:
        return caption
    return f"{caption}, axis {axis.value:.2f}" + (" (provisional)" if axis.provisional else "")


def as_png(image: NDArray[np.float32]) -> bytes:
    """Return a slice (y, x) as a picture that fits a window, y up."""
    step = max(-(-max(image.shape) // LARGEST), 1)
    # row 0 of a volume's slices is at +y, which is where a picture has it
    part = enlarged(image[::step, ::step])
    return encode_png(part, grey_window(part))


def show(feed: LiveFeed) -> None:
    """Show a window until it is closed, or whoever started this process is gone."""
    import tkinter as tk

    window = tk.Tk()
    picture, caption = tk.Label(window, width=64, height=32), tk.Label(window, anchor="w")
    picture.pack()
    caption.pack(fill="x")

    gone = say_ready()

    def follow() -> None:
        if gone.is_set():
            window.destroy()
            return
        # Whatever goes wrong this time: Tk says it on standard error and goes on.
        window.after(POLL_MS, follow)
        shown = feed.next()
        window.title(f"tomoservice: {shown.title}")
        caption.configure(text=shown.caption)
        if shown.png:
            image = tk.PhotoImage(data=base64.b64encode(shown.png))
            picture.configure(image=image, width=image.width(), height=image.height())
            # Tk shows an image only as long as somebody holds it.
            picture.image = image  # type: ignore[attr-defined]

    follow()
    window.mainloop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Show the window; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m profiles.live_window", description=__doc__)
    parser.add_argument("uri", help="address of the service")
    feed = LiveFeed(parser.parse_args(arguments).uri, os.environ.get(KEY_VARIABLE))
    try:
        show(feed)
    finally:
        feed.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
