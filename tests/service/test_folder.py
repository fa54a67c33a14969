"""The data folder of a service."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from tomoservice.errors import SettingsError
from tomoservice.service.folder import (
    ServiceInfo,
    ensure_api_key,
    locked,
    read_info,
    stored_api_key,
    write_info,
)


def test_a_key_is_made_once_for_the_owner_only(tmp_path: Path) -> None:
    key = ensure_api_key(tmp_path, None)
    assert len(key) == 64
    assert key.isalnum()
    assert stat.S_IMODE((tmp_path / "api_key").stat().st_mode) == 0o600
    assert ensure_api_key(tmp_path, None) == key == stored_api_key(tmp_path)


def test_a_given_key_is_not_stored(tmp_path: Path) -> None:
    assert ensure_api_key(tmp_path, "abc123") == "abc123"
    assert stored_api_key(tmp_path) is None


@pytest.mark.parametrize("key", ["with space", "ü", "", "a-b"])
def test_a_key_that_tiled_would_refuse_is_refused_at_once(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError, match="letters and digits"):
        ensure_api_key(tmp_path, key)


def test_a_crash_in_the_middle_leaves_no_key_that_stops_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(SettingsError, match=r"cannot be written to .*api_key: .*No space left"):
            ensure_api_key(tmp_path, None)
    assert stored_api_key(tmp_path) is None
    key = ensure_api_key(tmp_path, None)
    assert key == stored_api_key(tmp_path)
    assert [path.name for path in tmp_path.glob("*api_key*")] == ["api_key"]


def test_an_empty_key_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "api_key").touch(mode=0o644)
    assert stored_api_key(tmp_path) is None
    key = ensure_api_key(tmp_path, None)
    assert len(key) == 64
    assert stat.S_IMODE((tmp_path / "api_key").stat().st_mode) == 0o600
    assert ensure_api_key(tmp_path, None) == key


@pytest.mark.parametrize("exists", [False, True])
def test_a_private_folder_is_closed_to_others(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "data"
    if exists:
        folder.mkdir(mode=0o755)
    with locked(folder, private=True):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_second_service_is_told_where_the_first_one_is(tmp_path: Path) -> None:
    with locked(tmp_path):
        write_info(tmp_path, ServiceInfo("http://127.0.0.1:1234", 42, "0"))
        with (
            pytest.raises(SettingsError, match=r"at http://127.0.0.1:1234 \(process 42\)"),
            locked(tmp_path),
        ):
            pass
    with locked(tmp_path):
        assert read_info(tmp_path) == ServiceInfo("http://127.0.0.1:1234", 42, "0")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="file/data"), locked(tmp_path / "file" / "data"):
        pass


@pytest.mark.parametrize("text", ["", "[]", '{"uri": 1}', "\x00"])
def test_a_torn_service_file_is_no_service(tmp_path: Path, text: str) -> None:
    (tmp_path / "service.json").write_text(text)
    assert read_info(tmp_path) is None
