"""One tree of settings: file < environment < flags."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from tomoservice.errors import SettingsError
from tomoservice.settings import load_settings, settings_from_json


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yml"
    path.write_text("data: /from/file\nservice: {port: 1111, host: file.example}\nconductor: {lease_s: 11}\n")
    return path


def test_later_sources_win_and_leave_the_rest(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOMOSERVICE__SERVICE__PORT", "2222")
    monkeypatch.setenv("TOMOSERVICE__CONDUCTOR__POLL_S", "2.5")
    settings = load_settings(file, {"conductor": {"poll_s": 3.5, "lease_s": None}, "data": "/from/flags"})
    assert settings.data == Path("/from/flags")
    assert (settings.service.port, settings.service.host) == (2222, "file.example")
    assert (settings.conductor.poll_s, settings.conductor.lease_s) == (3.5, 11)


def test_defaults_need_nothing() -> None:
    settings = load_settings()
    assert settings.service.port == 8000
    assert settings.volumes_folder == Path("tomoservice-data").resolve() / "volumes"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"sevice": {}}, "unknown setting 'sevice'"),
        ({"service": {"prot": 1}}, "unknown setting 'service.prot'"),
        ({"service": {"port": 70000}}, "setting 'service.port'.*70000"),
        ({"conductor": {"memory_bytes": "much"}}, "setting 'conductor.memory_bytes'.*'much'"),
    ],
)
def test_a_wrong_setting_is_named(flags: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(flags=flags)


@pytest.mark.parametrize("name", ["TOMOSERVICE__SEVICE__PORT", "TOMOSERVICE__SERVICE__PROT"])
def test_a_misspelt_variable_is_not_ignored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=r"(?i)se?r?vice.prot|SEVICE"):
        load_settings()


@pytest.mark.parametrize("text", ["- a list", "service: {port: [", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="settings file"):
        load_settings(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "absent.yml")


def test_another_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(flags={"service": {"api_key": "abc123"}, "volumes": "/v"})
    monkeypatch.setenv("TOMOSERVICE__SERVICE__PORT", "4444")
    assert settings_from_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    "service", ["{api_key: 12345678}", "{api_key: [12345678]}", "[12345678]", "'12345678'"]
)
def test_a_key_that_does_not_fit_does_not_show(tmp_path: Path, service: str) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(f"service: {service}\n")
    with pytest.raises(SettingsError, match="setting 'service") as caught:
        load_settings(file)
    assert "12345678" not in "".join(traceback.format_exception(caught.value))


def test_a_variable_that_is_no_section_is_named_and_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOMOSERVICE__SERVICE", '{"api_key": 12345678')
    with pytest.raises(SettingsError, match="service"):
        load_settings()


def test_the_key_does_not_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert "abc123" not in repr(load_settings(flags={"service": {"api_key": "abc123"}}))
