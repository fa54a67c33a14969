"""Small pictures that are kept, whatever becomes of their folder."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tomoservice.service import thumbnails as module
from tomoservice.service.thumbnails import Thumbnails


class Maker:
    """Makes pictures, and counts them."""

    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> NDArray[np.float32]:
        self.made += 1
        return np.eye(8, dtype=np.float32)


def test_there_is_a_picture_though_it_cannot_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with caplog.at_level(logging.WARNING):
        content = asyncio.run(Thumbnails(in_the_way / "folder").picture("a", Maker(), keep=True))
    assert content.startswith(b"\x89PNG")
    assert "a picture is not kept" in caplog.text


def test_others_may_forget_pictures_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    real = Path.glob

    def late(self: Path, pattern: str) -> Any:
        # Listed, and gone.
        return [self / "gone.png", *real(self, pattern)]

    async def work() -> None:
        kept = Thumbnails(tmp_path / "small")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "glob", late)
            for name in ("a", "b", "c"):
                await kept.picture(name, Maker(), keep=True)
        assert len(list((tmp_path / "small").iterdir())) == 1

    asyncio.run(work())


def test_a_run_that_goes_on_is_not_pictured_for_everybody_who_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        kept, make = Thumbnails(tmp_path / "small"), Maker()
        for _ in range(3):
            await kept.picture("live", make, keep=False)
        assert make.made == 1
        assert not (tmp_path / "small").exists()
        # It has ended: this is what it will look like for ever.
        await kept.picture("live", make, keep=True)
        assert make.made == 2
        monkeypatch.setattr(module, "HELD_S", -1.0)
        for _ in range(2):
            await kept.picture("other", make, keep=False)
        assert make.made == 4
        monkeypatch.setattr(module, "HELD_S", 60.0)
        monkeypatch.setattr(module, "MOST_HELD", 2)
        for name in "abcd":
            await kept.picture(name, make, keep=False)
        assert list(kept._held) == ["c", "d"]

    asyncio.run(work())
