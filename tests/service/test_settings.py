"""One tree of settings: file < environment < flags."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest

from tomoservice.cli import run
from tomoservice.errors import SettingsError
from tomoservice.settings import load_settings, settings_from_json
from tomoservice.settings_report import effective_settings, setting_names, variable_of


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
        ({"compute": {"memory_bytes": "much"}}, "setting 'compute.memory_bytes'.*'much'"),
    ],
)
def test_a_wrong_setting_is_named(flags: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(flags=flags)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SEVICE__PORT", r"SEVICE__PORT is no setting; after TOMOSERVICE__ comes one of .*SERVICE"),
        ("SERVICE__PROT", r"after TOMOSERVICE__SERVICE__ comes one of .*PORT"),
        ("COMPUTE__TLS__CERT", r"after TOMOSERVICE__COMPUTE__TLS__ comes one of CA, CERTIFICATE, KEY"),
        ("DATA__FOLDER", r"TOMOSERVICE__DATA is a single setting"),
        ("SERVICE__PORT__X", r"TOMOSERVICE__SERVICE__PORT is a single setting"),
        ("SERVICE__", r"TOMOSERVICE__SERVICE__ is no setting"),
    ],
)
@pytest.mark.parametrize("value", ["1", ""])
def test_a_misspelt_variable_is_not_ignored(
    name: str, message: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TOMOSERVICE__{name}", value)
    with pytest.raises(SettingsError, match=message):
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


def test_every_setting_says_where_it_came_from(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOMOSERVICE__SERVICE__PORT", "2222")
    monkeypatch.setenv("TOMOSERVICE__CONDUCTOR", '{"poll_s": 7}')
    monkeypatch.setenv("TOMOSERVICE__SERVICE__API_KEY", "abc123")
    found = {item.name: item for item in effective_settings(file, {"data": "/from/flags", "volumes": None})}
    assert {name: (item.shown, item.origin.value) for name, item in found.items()} | {
        "data": ("/from/flags", "flag"),
        "volumes": (None, "default"),
        "service.host": ("file.example", "file"),
        "service.port": (2222, "environment"),
        "service.api_key": ("**********", "environment"),
        "conductor.poll_s": (7.0, "environment"),
        "conductor.lease_s": (11.0, "file"),
        "compute.workers": (1, "default"),
        "compute.tls.ca": (None, "default"),
    } == {name: (item.shown, item.origin.value) for name, item in found.items()}
    assert "abc123" not in repr(list(found.values()))


def test_the_command_shows_and_describes(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOMOSERVICE__SERVICE__API_KEY", "abc123")
    options = ["--settings", str(file), "--set", "service.port=9000", "--set", "service.raw_folders=[/a, /b]"]
    assert run(["settings", "--show", *options]) == 0
    shown = capsys.readouterr().out
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.splitlines()}
    assert lines["service.port"] == "9000 flag"
    assert lines["service.raw_folders"] == '["/a", "/b"] flag'
    assert lines["data"] == '"/from/file" file'
    assert "abc123" not in shown
    assert run(["settings", "--show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["service.port"] == {"value": 8000, "origin": "default"}
    assert run(["settings", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$defs"]["ServiceSettings"]["properties"]["port"]["description"].startswith("Port to")
    for arguments, said in (
        (["--show", "--schema"], "give one of --show and --schema"),
        (["--show", "--set", "port"], "is not of the form NAME=VALUE"),
        (["--show", "--set", "service=1", "--set", "service.port=1"], "service is set to a single value"),
        (["--show", "--set", "service.prot=1"], "unknown setting 'service.prot'"),
    ):
        assert run(["settings", *arguments]) > 0
        assert said in capsys.readouterr().err


def test_every_setting_is_described_and_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    names = dict(setting_names())
    assert "service.port" in names
    assert all(field.description for field in names.values())
    assert variable_of("service.raw_folders") == "TOMOSERVICE__SERVICE__RAW_FOLDERS"
