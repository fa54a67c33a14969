"""The window with the running slice: what it fetches, and what is to be seen on a display."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from profiles.child import child_process
from profiles.live_window import LiveFeed, as_png, has_display
from tests.service.conftest import wait_for
from tests.sessions.conftest import SLICE
from tomoservice.service.running import RunningService

SIZE = (800, 600)
NEAR = 12
"""Pixels below the edge at which a window may begin to show a picture."""
ENTRY_BYTES = 12
"""Of a colour in the table that stands before the pixels."""


@dataclass(frozen=True)
class Display:
    """A display without a screen."""

    name: str
    memory: Path

    def grey(self) -> NDArray[np.uint8]:
        """Return what is shown, (y, x): green is as good as any."""
        content = self.memory.read_bytes()
        header = np.frombuffer(content, ">u4", 25)
        width, height, stride, colours = (int(header[place]) for place in (4, 5, 12, 19))
        begin = int(header[0]) + ENTRY_BYTES * colours
        pixels = np.frombuffer(content, np.uint8, stride * height, begin).reshape(height, stride)
        return pixels[:, : 4 * width].reshape(height, width, 4)[..., 1]

    def shows(self, png: bytes) -> bool:
        """Tell whether a picture is to be seen near the upper edge."""
        with Image.open(BytesIO(png)) as picture:
            wanted = np.asarray(picture.convert("L"))
        height, width = wanted.shape
        screen = self.grey()
        parts = np.lib.stride_tricks.sliding_window_view(screen[:NEAR], width, axis=1)
        corners = np.argwhere((parts == wanted[0]).all(axis=2))
        return any(np.array_equal(screen[y : y + height, x : x + width], wanted) for y, x in corners)


@pytest.fixture
def display(tmp_path: Path) -> Iterator[Display]:
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("no Xvfb, which shows windows where there is no screen")
    reading, writing = os.pipe()
    options = ["-displayfd", str(writing), "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-fbdir", str(tmp_path)]
    with subprocess.Popen([server, *options, "-nolisten", "tcp"], pass_fds=[writing]) as running:
        os.close(writing)
        with os.fdopen(reading) as said:
            number = said.readline().strip()
        try:
            assert number, "Xvfb has not started"
            yield Display(f":{number}", tmp_path / "Xvfb_screen0")
        finally:
            running.terminate()


def test_the_window_shows_what_is_live(service: RunningService, live: Any) -> None:
    feed = LiveFeed(service.uri, None)
    shown = feed.next()
    assert shown.title == "scan 11111111"
    assert shown.caption.startswith("accumulating: 50 of 200 projections, axis 19.25 (provisional)")
    with Image.open(BytesIO(shown.png)) as picture:
        assert picture.size[0] % SLICE.shape[1] == 0
        assert picture.getpixel((0, 0)) < picture.getpixel((0, picture.size[1] - 1))
    # nothing new
    assert feed.next().png == b""
    feed.close()


def test_the_window_says_what_is_missing(service: RunningService) -> None:
    feed = LiveFeed("http://127.0.0.1:9", None)
    assert feed.next().title == "no service"
    feed = LiveFeed(service.uri, None)
    assert feed.next().title == "no live reconstruction"
    feed.close()
    assert not has_display({})


def test_the_window_is_seen_follows_and_closes(service: RunningService, live: Any, display: Display) -> None:
    environment = {"DISPLAY": display.name}
    assert has_display(environment)
    black = display.grey()
    with child_process(["profiles.live_window", service.uri], "the window", 20, environment):
        wait_for(lambda: display.shows(as_png(SLICE)))
        live["xy"].write(SLICE[::-1].copy())
        live.update_metadata({"update": 6, "frames_used": 100}, drop_revision=True)
        wait_for(lambda: display.shows(as_png(SLICE[::-1])))
    wait_for(lambda: np.array_equal(display.grey(), black))
