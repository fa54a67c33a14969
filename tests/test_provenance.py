"""The fingerprints of raw files, and when they are taken anew."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from tomoservice import provenance
from tomoservice.errors import InputError
from tomoservice.provenance import Fingerprints, fingerprint


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was written long enough ago."""
    monkeypatch.setattr(provenance, "RACY_S", 0.05)
    path = tmp_path / "scan.h5"
    path.write_bytes(b"frames")
    time.sleep(0.1)
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that have been read for their checksums."""
    paths: list[Path] = []
    whole = provenance._fingerprint

    def counted(path: Path, cancelled: object) -> dict[str, object]:
        paths.append(path)
        return whole(path, cancelled)  # type: ignore[arg-type]

    monkeypatch.setattr(provenance, "_fingerprint", counted)
    return paths


def test_a_file_is_read_once(settled: Path, read: list[Path]) -> None:
    kept = Fingerprints()
    first, second = kept.of([str(settled)]), kept.of([str(settled)])
    assert first == second == fingerprint([str(settled)])
    assert first[0]["sha256"] == hashlib.sha256(b"frames").hexdigest()
    # By the one that keeps them, and by the function that does not.
    assert read == [settled] * 2


def test_a_file_that_was_changed_is_read_again_whatever_its_times_say(settled: Path) -> None:
    kept = Fingerprints()
    kept.of([str(settled)])
    before = settled.stat()
    settled.write_bytes(b"smears")
    os.utime(settled, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert kept.of([str(settled)])[0]["sha256"] == hashlib.sha256(b"smears").hexdigest()


def test_one_that_was_put_in_its_place_is_read(settled: Path) -> None:
    kept = Fingerprints()
    kept.of([str(settled)])
    other = settled.with_name("other")
    other.write_bytes(b"others")
    other.replace(settled)
    assert kept.of([str(settled)])[0]["sha256"] == hashlib.sha256(b"others").hexdigest()


def test_what_was_written_just_now_is_not_remembered(tmp_path: Path, read: list[Path]) -> None:
    path = tmp_path / "scan.h5"
    path.write_bytes(b"frames")
    kept = Fingerprints()
    kept.of([str(path)])
    kept.of([str(path)])
    assert read == [path] * 2


def test_nor_is_what_took_long_to_read(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "RACY_S", 0.3)
    path = tmp_path / "scan.h5"
    path.write_bytes(b"frames")
    kept = Fingerprints()
    # What counts is how old the change was when the file was looked at.
    kept.of([str(path)], cancelled=lambda: time.sleep(0.4) is not None)
    kept.of([str(path)])
    assert read == [path] * 2


def test_what_is_returned_is_the_callers_own(settled: Path) -> None:
    kept = Fingerprints()
    kept.of([str(settled)])
    kept.of([str(settled)])[0]["sha256"] = "spoilt"
    assert kept.of([str(settled)])[0]["sha256"] == hashlib.sha256(b"frames").hexdigest()


def test_a_file_that_is_gone_is_an_error(settled: Path) -> None:
    kept = Fingerprints()
    kept.of([str(settled)])
    settled.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        kept.of([str(settled)])
